//! `Event`.

use kettle_core::sync::{self, Heap};
use kettle_core::wait::{EventCount, Scope};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{key, set_name, wait_for_thread};
use crate::door::deadline;
use crate::event::event_statistics;
use crate::primitive::{Waitable, waitable};

/// A flag for threads.
#[pyclass(subclass, frozen, name = "HeapEvent", module = "kettle._native")]
pub(crate) struct Event {
    body: sync::Event,
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(*, name=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Event::new() }
    }

    #[pyo3(signature = (*, name=None))]
    fn __init__(slf: &Bound<'_, Self>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        set_name(slf, name)
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.body.is_set()
    }

    /// Sets it, and wakes all who wait.
    pub(crate) fn set(&self) {
        self.body.set::<Heap>();
    }

    /// Takes that back.
    pub(crate) fn clear(&self) {
        self.body.clear();
    }

    /// Waits until it is set, at most `timeout` seconds (None: for ever). Says whether it was.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        if self.is_set() {
            return Ok(true);
        }
        let body = &self.body;
        Ok(wait_for_thread(py, deadline(true, timeout), |p| body.wait::<Heap>(p))?.is_ok())
    }

    /// Forgets who waits, in a forked child.
    fn _at_fork_reinit(&self) {
        self.body.reinit();
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        event_statistics(py, &self.body.statistics())
    }
}

impl Waitable for Event {
    fn scope(&self) -> Scope {
        Scope::Private
    }
    fn ready(&self) -> bool {
        self.is_set()
    }
    fn events(&self) -> &EventCount {
        self.body.changed()
    }
    fn call(&self) -> u32 {
        key(&self.body)
    }
}
waitable!(Event);
