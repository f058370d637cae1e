//! `Event`.

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::sync;
use kettle_core::wait::EventCount;
use pyo3::prelude::*;

use super::event_statistics;
use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::parameters;
use crate::primitive::{self, Waitable, picklable, waitable};

/// A flag shared by processes.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Event {
    body: Handle<sync::Event>,
    name: Option<String>,
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*, name=None, _token=None))]
    fn new(name: Option<String>, _token: Option<&[u8]>) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => Handle::new(sync::Event::new).map_err(errors::arena)?,
        };
        Ok(Self { body, name })
    }

    /// Returns whether the flag is set.
    fn is_set(&self) -> PyResult<bool> {
        errors::check()?;
        Ok(self.body.is_set())
    }

    /// Sets the flag, and wakes all waiters.
    fn set(&self) -> PyResult<()> {
        errors::check()?;
        self.body.set::<Processes>();
        Ok(())
    }

    /// Clears the flag: later waits last until it is set again.
    fn clear(&self) -> PyResult<()> {
        errors::check()?;
        self.body.clear();
        Ok(())
    }

    /// Waits until the flag is set, at most `timeout` seconds (None: forever). Returns whether it was set.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<bool> {
        errors::check()?;
        if self.body.is_set() {
            return Ok(true);
        }
        let body = &self.body;
        errors::in_time(wait_outside(py, deadline(true, timeout), |p| body.wait::<Processes>(p))?)
    }

    /// A number that changes whenever the event is set or cleared.
    fn _kettle_version(&self) -> u32 {
        self.body.version()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        event_statistics(py, &self.body.statistics())
    }
}
picklable!(Event);

impl Waitable for Event {
    fn ready(&self) -> bool {
        self.body.is_set()
    }
    fn events(&self) -> &EventCount {
        self.body.changed()
    }
    fn call(&self) -> u32 {
        primitive::key(&self.body)
    }
}
waitable!(Event);
