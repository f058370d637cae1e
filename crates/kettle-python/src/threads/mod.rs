//! The primitives for the threads of one process: the bodies of `kettle_core::sync` at home on the heap, inside the
//! Python objects themselves.
//!
//! What differs from their siblings for processes is what Python sees: arguments, errors, and that nothing travels.
//! Nobody dies here without all the others, so no lock is ever broken.
//!
//! As in Python's own classes `__new__` takes everything and does nothing, and `__init__` says what there may be: a
//! subclass may have an `__init__` with another signature.

pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod event;
pub(crate) mod lock;
pub(crate) mod semaphore;

use kettle_core::deadlock::Wanted;
use kettle_core::sync::{Acquired, Heap, LockError};
use kettle_core::sys::{Owner, process, thread};
use kettle_core::wait::{Deadline, Patience};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::deadlock::wait_watched;
use crate::door::wait_outside;

/// Whatever Python takes for true or false.
pub(crate) struct Truth(pub(crate) bool);

impl<'py> FromPyObject<'_, 'py> for Truth {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        object.is_truthy().map(Self)
    }
}

/// `threading.TIMEOUT_MAX` and the fraction that it leaves out, in seconds.
const TIMEOUT_MAX: f64 = i64::MAX as f64 / 1e9;
/// The time-out of a lock that means none.
const UNSET: f64 = -1.0;

/// When an `acquire` of a lock ends, by the rules of `threading`.
fn acquire_deadline(blocking: bool, timeout: f64) -> PyResult<Deadline> {
    if timeout == UNSET {
        return Ok(if blocking { Deadline::NEVER } else { Deadline::NOW });
    }
    if timeout.is_nan() {
        return Err(PyValueError::new_err("Invalid value NaN (not a number)"));
    }
    if !blocking {
        return Err(PyValueError::new_err("can't specify a timeout for a non-blocking call"));
    }
    if timeout < 0.0 {
        return Err(PyValueError::new_err("timeout value must be a non-negative number"));
    }
    if timeout > TIMEOUT_MAX {
        return Err(PyOverflowError::new_err("timeout value is too large"));
    }
    Ok(Deadline::after_seconds(Some(timeout)))
}

/// As `wait_outside`. Whoever wakes us here holds the interpreter, which we need before we can do anything with what we
/// waited for. So it does not pay to look a little longer before going to sleep, but in free-threaded Python.
fn wait_for_thread<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    wait: impl FnOnce(&Patience<'_>) -> T + Send,
) -> PyResult<T> {
    wait_outside(py, deadline, |p| wait(&p.among_threads(cfg!(Py_GIL_DISABLED))))
}

/// Where every thread goes to sleep for a lock that another one holds. Says whether it got it.
fn sleep_for_lock<C>(
    lock: &Bound<'_, C>,
    wanted: Wanted<'_>,
    deadline: Deadline,
    acquire: impl FnOnce(&Patience<'_>) -> Result<Acquired, LockError> + Send,
) -> PyResult<bool> {
    let py = lock.py();
    Ok(wait_watched::<Heap, _>(lock.as_any(), wanted, acquire, |f| wait_for_thread(py, deadline, f))?.is_ok())
}

/// The same for one who must have it: what a signal handler raises meanwhile is raised when the lock is held.
fn sleep_until_locked<C>(
    lock: &Bound<'_, C>,
    wanted: Wanted<'_>,
    acquire: impl Fn(&Patience<'_>) -> Result<Acquired, LockError> + Send + Sync,
) -> PyResult<()> {
    let wanted = Wanted { insists: true, ..wanted };
    let mut raised = None;
    loop {
        match sleep_for_lock(lock, wanted, Deadline::NEVER, &acquire) {
            Ok(true) => return raised.map_or(Ok(()), Err),
            Ok(false) => {}
            Err(e) => raised = raised.or(Some(e)),
        }
    }
}

/// The holder of a lock on the heap, as (process, thread) in the kernel's numbers.
fn pid_and_thread(owner: Option<Owner>) -> Option<(u32, u32)> {
    owner.map(|owner| (process::id(), thread::kernel_id(owner.thread())))
}

/// Tells primitives apart for a doorbell; see `primitive::key`.
fn key<T>(body: &T) -> u32 {
    (std::ptr::from_ref(body).addr() >> 4) as u32 & 0xf_ffff
}

/// The `name=` of a primitive is an attribute like any other: a subclass may use it for something else.
pub(crate) fn set_name(object: &Bound<'_, PyAny>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    match name {
        Some(name) => object.setattr(intern!(object.py(), "name"), name),
        None => Ok(()),
    }
}
