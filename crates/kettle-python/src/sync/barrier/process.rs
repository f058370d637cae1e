//! `Barrier`.

use std::sync::Mutex;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::sync;
use kettle_core::wait::EventCount;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::arrival::Arrival;
use super::{barrier_methods, number_of_parties, wait_at};
use crate::door::deadline;
use crate::errors;
use crate::parameters;
use crate::primitive::{self, Waitable, picklable, waitable};

/// The part of a barrier that each process has for itself.
struct Settings {
    action: Option<Py<PyAny>>,
    timeout: Option<f64>,
}

/// A place where a fixed number of parties wait for each other.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Barrier {
    body: Handle<sync::Barrier>,
    settings: Mutex<Settings>,
    name: Option<String>,
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (parties=1, action=None, timeout=None, *, name=None, _token=None))]
    fn new(
        #[pyo3(from_py_with = parameters::parties)] parties: i64,
        #[pyo3(from_py_with = parameters::action)] action: Option<Py<PyAny>>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
        name: Option<String>,
        _token: Option<&[u8]>,
    ) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => {
                let parties = number_of_parties(parties)?;
                Handle::new(|| sync::Barrier::new(parties)).map_err(errors::arena)?
            }
        };
        Ok(Self { body, settings: Mutex::new(Settings { action, timeout }), name })
    }

    /// Starts with `parties`, before any other thread knows the barrier.
    fn _kettle_begin(&self, #[pyo3(from_py_with = parameters::parties)] parties: i64) -> PyResult<()> {
        let (parties, before) = (number_of_parties(parties)?, self.body.parties());
        if parties == before {
            return Ok(());
        }
        if self.body.entries_beyond() == 0 {
            self.body.reinit(parties);
            if self.body.entries_beyond() == 0 {
                return Ok(());
            }
            self.body.reinit(before);
        }
        // Its list of parties has the length that was given when the object was created.
        Err(PyTypeError::new_err(format!("{parties} parties must be given to the class: it is too late in __init__()")))
    }

    /// The action and the default time-out, which travel beside the token.
    fn _kettle_configure(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = parameters::action)] action: Option<Py<PyAny>>,
        #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
    ) {
        let settings = Settings { action, timeout };
        let mut place = self.settings.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
        let before = std::mem::replace(&mut *place, settings);
        // Dropping an action may run user code, so it is dropped after the lock is released.
        drop(place);
        drop(before);
    }

    /// Waits for the other parties. Returns the order of arrival, 0 for the first. The last party to arrive runs the
    /// action.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<u32> {
        errors::take_part()?;
        let (action, default) = {
            let s = self.settings.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
            (s.action.as_ref().map(|a| a.clone_ref(py)), s.timeout)
        };
        wait_at::<Processes>(py, &self.body, action.as_ref(), deadline(true, timeout.or(default)))
    }

    /// Arrives without waiting: None if the round before is still being ended.
    fn _kettle_arrive(slf: &Bound<'_, Self>) -> PyResult<Option<Arrival>> {
        errors::take_part()?;
        Arrival::at_arena(slf)
    }
}
barrier_methods!(Barrier, Processes);
picklable!(Barrier);

impl Barrier {
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
    fn call(&self) -> u32 {
        primitive::key(&self.body)
    }
}
waitable!(Barrier);
