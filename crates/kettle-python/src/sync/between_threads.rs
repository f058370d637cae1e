//! What the primitives for the threads of one process have in common: the types of `kettle_core::sync`, stored on the
//! heap inside the Python objects themselves.
//!
//! They differ from their siblings for processes in what Python sees: arguments, errors, and that they cannot be
//! pickled. No thread dies without the whole process, so no lock ever has a dead holder.
//!
//! As in Python's own classes, `__new__` accepts any arguments and ignores them, and `__init__` checks them: a subclass
//! may have an `__init__` with another signature.

use kettle_core::deadlock::Wanted;
use kettle_core::sync::{Acquired, Heap, LockError};
use kettle_core::sys::{Owner, process, thread};
use kettle_core::wait::{Deadline, Patience};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::deadlock::wait_watched;
use crate::door::wait_outside;
use crate::parameters;

/// Any value, converted to its truth value.
pub(crate) struct Truth(pub(crate) bool);

impl<'py> FromPyObject<'_, 'py> for Truth {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        object.is_truthy().map(Self)
    }
}

/// `threading.TIMEOUT_MAX` and the fraction that it omits, in seconds.
const TIMEOUT_MAX: f64 = i64::MAX as f64 / 1e9;
/// The time-out of a lock that stands for none.
pub(super) const UNSET: f64 = -1.0;

/// The deadline of a lock's `acquire`, by the rules of `threading`.
pub(super) fn acquire_deadline(blocking: bool, timeout: f64) -> PyResult<Deadline> {
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

/// Like `wait_outside`. The thread that wakes this one holds the interpreter, which this one needs before it can do
/// anything with the result. So spinning before sleep is useful only in free-threaded Python.
pub(super) fn wait_for_thread<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    wait: impl FnOnce(&Patience<'_>) -> T + Send,
) -> PyResult<T> {
    wait_outside(py, deadline, |p| wait(&p.among_threads(cfg!(Py_GIL_DISABLED))))
}

/// The slow path of every acquisition: sleeps until the lock is acquired or the time is over. Returns whether it was
/// acquired.
pub(super) fn sleep_for_lock<C>(
    lock: &Bound<'_, C>,
    wanted: Wanted<'_>,
    deadline: Deadline,
    acquire: impl FnOnce(&Patience<'_>) -> Result<Acquired, LockError> + Send,
) -> PyResult<bool> {
    let py = lock.py();
    Ok(wait_watched::<Heap, _>(lock.as_any(), wanted, acquire, |f| wait_for_thread(py, deadline, f))?.is_ok())
}

/// The same for a thread that must get the lock. An exception of a signal handler is raised once the lock is held.
pub(super) fn sleep_until_locked<C>(
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

/// The holder of a lock on the heap, as (process, thread) in the kernel's numbering.
pub(super) fn pid_and_thread(owner: Option<Owner>) -> Option<(u32, u32)> {
    owner.map(|owner| (process::id(), thread::kernel_id(owner.thread())))
}

/// Identifies a primitive to a doorbell; see `primitive::key`.
pub(super) fn key<T>(body: &T) -> u32 {
    (std::ptr::from_ref(body).addr() >> 4) as u32 & 0xf_ffff
}

/// The `name=` of a primitive is an ordinary attribute: a subclass may use it for something else.
pub(crate) fn set_name(object: &Bound<'_, PyAny>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    match name {
        Some(name) => {
            parameters::name(&name)?;
            object.setattr(intern!(object.py(), "name"), name)
        }
        None => Ok(()),
    }
}
