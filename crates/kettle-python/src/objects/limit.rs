//! How long a `put` or a `get` may wait, by a clock that a program may have replaced.
//!
//! The standard library's queues ask `queue.time`, which is `time.monotonic`. Tests put something else there, so that a
//! time-out is over at once. So who is about to wait for so many seconds looks first whether that was done. Then the
//! replacement is asked each time before it waits, as the standard library does it. (`SimpleQueue` has no such clock
//! there either.)

use kettle_core::wait::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyType};

use crate::door::deadline;
use crate::methods::calls;

/// Until when to wait, and how many seconds those were.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    deadline: Deadline,
    timeout: Option<f64>,
}

impl Limit {
    /// Not at all.
    pub(super) const NOW: Self = Self { deadline: Deadline::NOW, timeout: None };

    pub(super) fn new(block: bool, timeout: Option<f64>) -> PyResult<Self> {
        match timeout {
            Some(t) if block && t < 0.0 => Err(PyValueError::new_err("'timeout' must be a non-negative number")),
            _ => Ok(Self { deadline: deadline(block, timeout), timeout: timeout.filter(|_| block) }),
        }
    }

    /// Whether it is not to be waited at all.
    pub(super) fn is_now(self) -> bool {
        self.deadline == Deadline::NOW
    }

    /// `block` and `timeout` of what is left, for the methods in Python.
    pub(super) fn block_and_timeout(self) -> (bool, Option<f64>) {
        (!self.is_now(), self.deadline.remaining().map(|left| left.as_secs_f64()))
    }
}

/// What tells one call of `put` or `get` the time.
#[derive(Default)]
pub(super) enum Clock<'py> {
    /// It has not had to wait yet.
    #[default]
    Unknown,
    Own,
    /// A program's, and when it is to be over by that one.
    Replaced {
        time: Bound<'py, PyAny>,
        end: Bound<'py, PyAny>,
    },
}

impl<'py> Clock<'py> {
    /// Until when to wait now; None: no longer.
    pub(super) fn next(&mut self, queue: &Bound<'py, PyAny>, limit: Limit) -> PyResult<Option<Deadline>> {
        if matches!(self, Self::Unknown) {
            *self = match limit.timeout {
                Some(timeout) => Self::of(queue, timeout)?,
                None => Self::Own,
            };
        }
        let Self::Replaced { time, end } = self else { return Ok(Some(limit.deadline)) };
        let left: f64 = end.sub(calls::call(time)?)?.extract()?;
        Ok((left > 0.0).then(|| deadline(true, Some(left))))
    }

    /// Whether the end of a wait is the end of the time for sure.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Self::Replaced { .. })
    }

    fn of(queue: &Bound<'py, PyAny>, timeout: f64) -> PyResult<Self> {
        let py = queue.py();
        let modules = Modules::get(py)?;
        let Some(time) = modules.replacement(py)? else { return Ok(Self::Own) };
        if !queue.is_instance(modules.queue.bind(py))? {
            return Ok(Self::Own);
        }
        let end = calls::call(&time)?.add(timeout)?;
        Ok(Self::Replaced { time, end })
    }
}

/// Where the clock is looked for.
struct Modules {
    ours: Py<PyDict>,
    standard: Py<PyDict>,
    original: Py<PyAny>,
    /// The class of queues that have a clock.
    queue: Py<PyType>,
}

impl Modules {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static MODULES: PyOnceLock<Modules> = PyOnceLock::new();
        MODULES.get_or_try_init(py, || {
            let ours = PyModule::import(py, "kettle.queue")?;
            let standard = ours.getattr("_standard")?.cast_into::<PyModule>()?;
            Ok(Self {
                ours: ours.dict().unbind(),
                standard: standard.dict().unbind(),
                original: PyModule::import(py, "time")?.getattr("monotonic")?.unbind(),
                queue: ours.getattr("Queue")?.cast_into::<PyType>()?.unbind(),
            })
        })
    }

    fn replacement<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        for module in [&self.ours, &self.standard] {
            match module.bind(py).get_item(intern!(py, "time"))? {
                Some(time) if !time.is(&self.original) => return Ok(Some(time)),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// What a program has put in place of the clock of queues, if it has.
#[pyfunction]
pub(crate) fn replaced_clock(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    Modules::get(py)?.replacement(py)
}
