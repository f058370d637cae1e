//! `Barrier`.

use std::sync::OnceLock;

use kettle_core::sync::{self, Heap};
use kettle_core::wait::{EventCount, Scope};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::{key, set_name};
use crate::barrier::{Arrival, barrier_methods, number_of_parties, wait_at};
use crate::door::deadline;
use crate::primitive::{Waitable, waitable};

/// A place where a fixed number of threads wait for each other.
#[pyclass(subclass, frozen, name = "HeapBarrier", module = "kettle._native")]
pub(crate) struct Barrier {
    body: sync::Barrier,
    settings: OnceLock<Settings>,
}

/// What `__init__` is told besides.
struct Settings {
    action: Option<Py<PyAny>>,
    timeout: Option<f64>,
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(parties, action=None, timeout=None, *, name=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Barrier::new(1), settings: OnceLock::new() }
    }

    #[pyo3(signature = (parties, action=None, timeout=None, *, name=None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        parties: i64,
        action: Option<Py<PyAny>>,
        timeout: Option<f64>,
        name: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let parties = number_of_parties(parties)?;
        let this = slf.get();
        let again = |_| PyRuntimeError::new_err("this barrier has its parties already");
        this.settings.set(Settings { action, timeout }).map_err(again)?;
        this.body.reinit(parties);
        set_name(slf, name)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.settings.get().and_then(|s| s.action.as_ref()).map_or(Ok(()), |action| visit.call(action))
    }

    /// Waits for the other parties; the number says who came when, 0 first. The last to come runs the action.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u32> {
        let (action, default) = self.settings.get().map_or((None, None), |s| (s.action.as_ref(), s.timeout));
        wait_at::<Heap>(py, &self.body, action, deadline(true, timeout.or(default)))
    }

    /// Arrives without waiting: None if the round before is still being ended.
    fn _kettle_arrive(slf: &Bound<'_, Self>) -> PyResult<Option<Arrival>> {
        Arrival::at_heap(slf)
    }

    /// The action and the time-out that it was made with.
    #[getter]
    fn _kettle_settings(&self, py: Python<'_>) -> (Option<Py<PyAny>>, Option<f64>) {
        self.settings.get().map_or((None, None), |s| (s.action.as_ref().map(|a| a.clone_ref(py)), s.timeout))
    }
}
barrier_methods!(Barrier, Heap);

impl Barrier {
    pub(crate) fn body(&self) -> &sync::Barrier {
        &self.body
    }
}

impl Waitable for Barrier {
    fn ready(&self) -> bool {
        self.body.is_broken() || self.body.waiting() + 1 >= self.body.parties()
    }
    fn events(&self) -> &EventCount {
        self.body.changed()
    }
    fn scope(&self) -> Scope {
        Scope::Private
    }
    fn call(&self) -> u32 {
        key(&self.body)
    }
}
waitable!(Barrier);
