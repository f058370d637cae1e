//! `Condition`.

use std::sync::OnceLock;

use kettle_core::sync::{self, Growing, Heap, Waiter};
use kettle_core::wait::Door;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};

use super::lock::{Lock, RLock};
use super::{key, wait_for_thread};
use crate::condition::condition_statistics;
use crate::door::deadline;
use crate::methods::{Quick, calls};

/// The waiters of a condition, and the lock that goes with it.
#[pyclass(subclass, frozen, name = "HeapCondition", module = "kettle._native")]
pub(crate) struct Condition {
    body: sync::Condition<Growing>,
    guard: OnceLock<Guard>,
}

/// The lock.
enum Guard {
    Lock(Py<Lock>),
    RLock(Py<RLock>),
    /// Anything with `acquire` and `release`: a subclass of ours, another library's, the standard library's.
    Foreign(Py<PyAny>),
}

/// What a lock needs to be as it was before a wait.
enum Saved {
    Lock,
    RLock(u32),
    Foreign(Option<Py<PyAny>>),
}

impl Guard {
    /// Whether the caller may wait and notify. Of a plain lock it is only known that somebody holds it.
    fn is_owned(&self, py: Python<'_>) -> PyResult<bool> {
        match self {
            Self::Lock(lock) => Ok(lock.get().locked()),
            Self::RLock(lock) => Ok(lock.get()._is_owned()),
            Self::Foreign(lock) => {
                let lock = lock.bind(py);
                if let Some(is_owned) = lock.getattr_opt(intern!(py, "_is_owned"))? {
                    return is_owned.call0()?.is_truthy();
                }
                let taken = lock.call_method1(intern!(py, "acquire"), (false,))?.is_truthy()?;
                if taken {
                    lock.call_method0(intern!(py, "release"))?;
                }
                Ok(!taken)
            }
        }
    }

    fn let_go(&self, py: Python<'_>) -> PyResult<Saved> {
        match self {
            Self::Lock(lock) => lock.get().release().map(|()| Saved::Lock),
            Self::RLock(lock) => lock.get().give_all_back().map(Saved::RLock),
            Self::Foreign(lock) => {
                let lock = lock.bind(py);
                if let Some(release_save) = lock.getattr_opt(intern!(py, "_release_save"))? {
                    return Ok(Saved::Foreign(Some(release_save.call0()?.unbind())));
                }
                lock.call_method0(intern!(py, "release"))?;
                Ok(Saved::Foreign(None))
            }
        }
    }

    fn take_back(&self, py: Python<'_>, saved: Saved) -> PyResult<()> {
        match (self, saved) {
            (Self::Lock(lock), _) => Lock::take_surely(lock.bind(py)),
            (Self::RLock(lock), Saved::RLock(depth)) => RLock::_acquire_restore(lock.bind(py), (depth, 0)),
            (Self::RLock(lock), _) => RLock::_acquire_restore(lock.bind(py), (1, 0)),
            (Self::Foreign(lock), Saved::Foreign(Some(state))) => {
                calls::call_method(lock.bind(py), "_acquire_restore", (state,)).map(drop)
            }
            (Self::Foreign(lock), _) => calls::call_method(lock.bind(py), "acquire", ()).map(drop),
        }
    }

    fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Lock(lock) => lock.as_any(),
            Self::RLock(lock) => lock.as_any(),
            Self::Foreign(lock) => lock,
        }
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Condition::growing(), guard: OnceLock::new() }
    }

    /// Says which lock goes with it, once. `plain`: its class is one of ours, not a subclass with ideas of its own.
    fn _kettle_begin(&self, lock: Bound<'_, PyAny>, plain: bool) -> PyResult<()> {
        let guard = match (lock.cast::<Lock>(), lock.cast::<RLock>()) {
            (Ok(lock), _) if plain => Guard::Lock(lock.clone().unbind()),
            (_, Ok(lock)) if plain => Guard::RLock(lock.clone().unbind()),
            _ => Guard::Foreign(lock.unbind()),
        };
        self.guard.set(guard).map_err(|_| PyRuntimeError::new_err("this condition has its lock already"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.guard.get().map_or(Ok(()), |guard| visit.call(guard.object()))
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        calls::call_method(self.guard()?.object().bind(py), "__enter__", ())
    }

    #[pyo3(signature = (*exc))]
    fn __exit__<'py>(&self, exc: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = exc.py();
        self.guard()?.object().bind(py).call_method1(intern!(py, "__exit__"), exc)
    }

    fn _is_owned(&self, py: Python<'_>) -> PyResult<bool> {
        self.guard()?.is_owned(py)
    }

    /// Leaves the lock, and waits to be notified, at most `timeout` seconds (None: for ever); then takes the lock
    /// again. Says whether it was notified.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let guard = self.guard()?;
        if !guard.is_owned(py)? {
            return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
        }
        let deadline = deadline(true, timeout);
        let waiter = self.enrol()?;
        let saved = match guard.let_go(py) {
            Ok(saved) => saved,
            Err(e) => {
                self.body.withdraw::<Heap>(waiter);
                return Err(e);
            }
        };
        let body = &self.body;
        let notified = wait_for_thread(py, deadline, |p| body.wait::<Heap>(waiter, p)).map(|r| r.is_ok());
        let again = guard.take_back(py, saved);
        if again.is_err() && matches!(notified, Ok(true)) {
            // Who raises cannot act on it.
            self.body.notify::<Heap>(1);
        }
        notified.and_then(|notified| again.map(|()| notified))
    }

    /// Wakes up to `n` waiters, the oldest first.
    #[pyo3(signature = (n=1))]
    fn notify(&self, py: Python<'_>, n: i64) -> PyResult<()> {
        if !self.guard()?.is_owned(py)? {
            return Err(PyRuntimeError::new_err("cannot notify on un-acquired lock"));
        }
        self.body.notify::<Heap>(u32::try_from(n.max(0)).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Wakes all waiters.
    fn notify_all(&self, py: Python<'_>) -> PyResult<()> {
        self.notify(py, i64::MAX)
    }

    /// Frees the lock and forgets who waits, in a forked child.
    fn _at_fork_reinit(&self, py: Python<'_>) -> PyResult<()> {
        self.guard()?.object().call_method0(py, intern!(py, "_at_fork_reinit"))?;
        self.body.reinit();
        Ok(())
    }

    /// Under the lock: becomes a waiter; gives its ticket.
    fn _kettle_enroll(&self) -> PyResult<u32> {
        self.enrol().map(Waiter::index)
    }

    /// Asks that the doorbell `door` be rung when the ticket is granted.
    fn _kettle_leave_door(&self, ticket: u32, door: u64) {
        if let Some(door) = Door::from_bits(door) {
            self.body.leave_door(Waiter::from_index(ticket), door.calling(self._kettle_key()));
        }
    }

    /// Whether the ticket was granted; if so it is taken.
    fn _kettle_poll(&self, ticket: u32) -> bool {
        self.body.poll::<Heap>(Waiter::from_index(ticket))
    }

    /// Gives the ticket up; a notification that came meanwhile goes to the next waiter.
    fn _kettle_withdraw(&self, ticket: u32) {
        self.body.withdraw::<Heap>(Waiter::from_index(ticket));
    }

    fn _kettle_waiting(&self) -> u32 {
        self.body.waiting()
    }

    #[getter]
    fn _kettle_key(&self) -> u32 {
        key(&self.body)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        condition_statistics(py, &self.body.statistics())
    }
}

impl Condition {
    fn guard(&self) -> PyResult<&Guard> {
        self.guard.get().ok_or_else(|| PyRuntimeError::new_err("Condition.__init__() was not called"))
    }

    fn enrol(&self) -> PyResult<Waiter> {
        self.body.enrol::<Heap>().map_err(|_| PyRuntimeError::new_err("too many threads wait on this condition"))
    }

    /// `__enter__` in its ordinary case.
    #[inline]
    pub(crate) fn enter_now(&self) -> bool {
        match self.guard.get() {
            Some(Guard::Lock(lock)) => lock.get().enter_now(),
            Some(Guard::RLock(lock)) => lock.get().enter_now(),
            _ => false,
        }
    }

    /// `__exit__` in its ordinary case.
    #[inline]
    pub(crate) fn give_back(&self) -> bool {
        match self.guard.get() {
            Some(Guard::Lock(lock)) => lock.get().give_back(),
            Some(Guard::RLock(lock)) => lock.get().give_back(),
            _ => false,
        }
    }

    /// `notify(count)` in its ordinary case.
    #[inline]
    pub(crate) fn notify_now(&self, count: u32) -> bool {
        let owned = match self.guard.get() {
            Some(Guard::Lock(lock)) => lock.get().locked(),
            Some(Guard::RLock(lock)) => lock.get()._is_owned(),
            _ => false,
        };
        if owned {
            self.body.notify::<Heap>(count);
        }
        owned
    }
}
