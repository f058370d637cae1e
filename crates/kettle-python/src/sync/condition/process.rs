//! The waiting half of `Condition`; the lock is a separate object, which Python holds.

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::sync::{self, EnrolError, Waiter};
use kettle_core::wait::Door;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::condition_statistics;
use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::primitive::{self, picklable};

/// The waiters of a condition.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Condition {
    body: Handle<sync::Condition>,
    name: Option<String>,
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*, name=None, _token=None))]
    fn new(name: Option<String>, _token: Option<&[u8]>) -> PyResult<Self> {
        let body = match _token {
            Some(token) => primitive::from_token(token)?,
            None => Handle::new(sync::Condition::new).map_err(errors::arena)?,
        };
        Ok(Self { body, name })
    }

    /// Registers a waiter, under the lock; returns its ticket.
    fn _kettle_enroll(&self) -> PyResult<u32> {
        errors::check()?;
        self.body.enrol::<Processes>().map(Waiter::index).map_err(|e| match e {
            EnrolError::NoPart => errors::no_part(),
            EnrolError::TooManyWaiters => {
                let most = sync::Condition::MAX_WAITERS;
                PyRuntimeError::new_err(format!("{most} threads wait on this condition already, the most there can be"))
            }
        })
    }

    /// Without the lock: until notified (True) or late (False). The ticket is given up in any case.
    #[pyo3(signature = (ticket, timeout=None))]
    fn _kettle_await(&self, py: Python<'_>, ticket: u32, timeout: Option<f64>) -> PyResult<bool> {
        let body = &self.body;
        let waiter = Waiter::from_index(ticket);
        errors::in_time(wait_outside(py, deadline(true, timeout), |p| body.wait::<Processes>(waiter, p))?)
    }

    /// Asks that the doorbell `door` be rung when the ticket is granted.
    fn _kettle_leave_door(&self, ticket: u32, door: u64) {
        if let Some(door) = Door::from_bits(door) {
            self.body.leave_door(Waiter::from_index(ticket), door.calling(self._kettle_key()));
        }
    }

    /// Returns whether the ticket was granted, and if so uses it.
    fn _kettle_poll(&self, ticket: u32) -> PyResult<bool> {
        errors::check()?;
        Ok(self.body.poll::<Processes>(Waiter::from_index(ticket)))
    }

    /// Gives the ticket up; a notification that came meanwhile goes to the next waiter.
    fn _kettle_withdraw(&self, ticket: u32) {
        self.body.withdraw::<Processes>(Waiter::from_index(ticket));
    }

    /// Notifies up to `n` waiters, the oldest first; says how many.
    fn _kettle_notify(&self, n: u32) -> PyResult<u32> {
        errors::check()?;
        Ok(self.body.notify::<Processes>(n))
    }

    fn _kettle_waiting(&self) -> u32 {
        self.body.waiting()
    }

    #[getter]
    fn _kettle_key(&self) -> u32 {
        primitive::key(&self.body)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        condition_statistics(py, &self.body.statistics())
    }
}
picklable!(Condition);
