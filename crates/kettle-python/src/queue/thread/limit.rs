//! How long a `put` or a `get` may wait, by a clock that a program may have replaced.
//!
//! The standard library's queues use `queue.time`, which is `time.monotonic`. Tests replace it to make a time-out
//! expire at once. So a call that is about to wait with a time-out first checks for a replacement. If there is one, it
//! is called before each wait, as in the standard library. (A `SimpleQueue` does not use this clock there either.)

use kettle_core::wait::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyType};

use crate::door::deadline;
use crate::fast::calls;

/// The deadline of a wait, and the time-out in seconds that it was computed from.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    deadline: Deadline,
    timeout: Option<f64>,
}

impl Limit {
    /// No waiting.
    pub(super) const NOW: Self = Self { deadline: Deadline::NOW, timeout: None };

    pub(super) fn new(block: bool, timeout: Option<f64>) -> PyResult<Self> {
        match timeout {
            Some(t) if block && t < 0.0 => Err(PyValueError::new_err("'timeout' must be a non-negative number")),
            _ => Ok(Self { deadline: deadline(block, timeout), timeout: timeout.filter(|_| block) }),
        }
    }

    /// Whether the call must not wait.
    pub(super) fn is_now(self) -> bool {
        self.deadline == Deadline::NOW
    }

    /// The remaining `block` and `timeout`, for the methods in Python.
    pub(super) fn block_and_timeout(self) -> (bool, Option<f64>) {
        (!self.is_now(), self.deadline.remaining().map(|left| left.as_secs_f64()))
    }
}

/// The clock of one call of `put` or `get`.
#[derive(Default)]
pub(super) enum Clock<'py> {
    /// The call has not had to wait yet.
    #[default]
    Unknown,
    Own,
    /// The program's clock, and the end of the wait by that clock.
    Replaced {
        time: Bound<'py, PyAny>,
        end: Bound<'py, PyAny>,
    },
}

impl<'py> Clock<'py> {
    /// The deadline of the next wait, or None if the time is over.
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

    /// Whether the end of a wait is certainly the end of the time.
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

/// The places where the clock is looked up.
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

/// The program's replacement for the clock of queues, if there is one.
#[pyfunction]
pub(crate) fn replaced_clock(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    Modules::get(py)?.replacement(py)
}
