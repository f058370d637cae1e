//! `Barrier`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::sync::{self, Heap};
use kettle_core::wait::{EventCount, Scope};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::arrival::Arrival;
use super::{barrier_methods, number_of_parties, wait_at};
use crate::door::deadline;
use crate::errors;
use crate::fast::{Called, Ours, calls};
use crate::parameters;
use crate::primitive::{Waitable, waitable};
use crate::sync::between_threads::{key, set_name};
use crate::sync::condition::thread::has_our_ways;

/// A place where a fixed number of threads wait for each other.
///
/// When a program asks for what the standard library's barrier is made of, or has its own way to come and to go, the
/// parties *move out* and meet there; see `kettle.threading.Barrier`, whose methods named `_kettle_...` take over.
#[pyclass(subclass, frozen, name = "HeapBarrier", module = "kettle._native")]
pub(crate) struct Barrier {
    body: sync::Barrier,
    settings: OnceLock<Settings>,
    is_outside: AtomicBool,
    ours: Ours,
}

/// What `wait` calls; see `_kettle_is_different`.
static WAYS: Called = Called::new(&[]);

/// Further arguments of `__init__`.
struct Settings {
    action: Option<Py<PyAny>>,
    timeout: Option<f64>,
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(parties, action=None, timeout=None, *, name=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            body: sync::Barrier::new(1),
            settings: OnceLock::new(),
            is_outside: AtomicBool::new(false),
            ours: Ours::new(),
        }
    }

    #[pyo3(signature = (parties, action=None, timeout=None, *, name=None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = parameters::parties)] parties: i64,
        #[pyo3(from_py_with = parameters::action)] action: Option<Py<PyAny>>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
        name: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let parties = number_of_parties(parties)?;
        let this = slf.get();
        let again = |_| PyRuntimeError::new_err("this barrier has its parties already");
        this.settings.set(Settings { action, timeout }).map_err(again)?;
        this.body.reinit(parties);
        if this.is_outside.swap(false, Ordering::SeqCst) {
            calls::call_method(slf, "_kettle_forget", ())?;
        }
        set_name(slf, name)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.settings.get().and_then(|s| s.action.as_ref()).map_or(Ok(()), |action| visit.call(action))
    }

    /// Waits for the other parties. Returns the order of arrival, 0 for the first. The last party to arrive runs the
    /// action.
    #[pyo3(signature = (timeout=None))]
    fn wait<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let is_ours = this.ours.in_class(slf, &WAYS, has_our_ways);
        if this.is_outside() || !is_ours {
            calls::call_method(slf, "_kettle_move_out", ())?;
            return calls::call_method(slf, "_kettle_wait", (timeout,));
        }
        let (action, default) = this.settings.get().map_or((None, None), |s| (s.action.as_ref(), s.timeout));
        let deadline = deadline(true, timeout.or(default));
        match wait_at::<Heap>(py, &this.body, action, deadline) {
            Ok(index) => Ok(index.into_pyobject(py)?.into_any()),
            // The barrier was broken to make the parties move out.
            Err(e) if this.is_outside() && e.is_instance(py, errors::broken_barrier_class(py)?) => {
                let left = deadline.remaining().map(|left| left.as_secs_f64());
                calls::call_method(slf, "_kettle_wait", (left,))
            }
            Err(e) => Err(e),
        }
    }

    /// Makes later parties meet outside.
    fn _kettle_leave(&self) {
        self.is_outside.store(true, Ordering::SeqCst);
    }

    /// Whether they do.
    fn _kettle_is_outside(&self) -> bool {
        self.is_outside()
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
    fn is_outside(&self) -> bool {
        self.is_outside.load(Ordering::SeqCst)
    }

    pub(super) fn body(&self) -> &sync::Barrier {
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
