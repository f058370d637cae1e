//! Hand-written methods for the hottest calls.
//!
//! PyO3's methods are safe in every case and pay some nanoseconds for that, more than an uncontended lock costs. So
//! `acquire()`, `release()` and the entry and exit of a `with` block first go through a function of this module, which
//! handles the ordinary case and leaves everything else to PyO3's method of the same name.
//!
//! The interpreter also has a fast path for methods of an object's own class, as opposed to those of a base class. So
//! these methods are added to the Python classes themselves, by the decorator [`quicken`].

mod cells;
mod events;
mod futures;
pub(crate) mod handles;
mod install;
mod locks;
mod making;
mod queues;
mod scheduling;
pub(crate) mod streams;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(crate) use making::LockMaker;

use crate::event_loop::EventLoop;
use crate::memory::Cell;
use crate::queue::thread::ObjectQueue;
use crate::sync::{condition, event, lock, semaphore};

/// Adds the fast methods to `cls`, a subclass of one of ours, where it does not define its own.
#[pyfunction]
pub(crate) fn quicken<'py>(cls: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    if cls.is_subclass_of::<lock::process::Lock>()? {
        locks::install::<lock::process::Lock>(&cls)?;
    } else if cls.is_subclass_of::<lock::process::RLock>()? {
        locks::install::<lock::process::RLock>(&cls)?;
    } else if cls.is_subclass_of::<semaphore::process::Semaphore>()? {
        locks::install::<semaphore::process::Semaphore>(&cls)?;
    } else if cls.is_subclass_of::<EventLoop>()? {
        scheduling::install(&cls)?;
        futures::install(&cls)?;
    } else if cls.is_subclass_of::<ObjectQueue>()? {
        queues::install(&cls)?;
        making::install::<ObjectQueue>(&cls);
    } else if cls.is_subclass_of::<Cell>()? {
        cells::install(&cls)?;
    } else if !install_between_threads(&cls)? {
        return Err(PyTypeError::new_err(format!("{} has nothing to quicken", cls.repr()?)));
    }
    Ok(cls)
}

/// Adds the fast methods to `cls` if it is a subclass of a primitive between threads. Returns whether it is.
fn install_between_threads(cls: &Bound<'_, PyType>) -> PyResult<bool> {
    if cls.is_subclass_of::<lock::thread::Lock>()? {
        locks::install::<lock::thread::Lock>(cls)?;
        locks::install_locked::<lock::thread::Lock>(cls)?;
        making::install::<lock::thread::Lock>(cls);
    } else if cls.is_subclass_of::<lock::thread::RLock>()? {
        locks::install::<lock::thread::RLock>(cls)?;
        locks::install_locked::<lock::thread::RLock>(cls)?;
        making::install::<lock::thread::RLock>(cls);
    } else if cls.is_subclass_of::<semaphore::thread::Semaphore>()? {
        locks::install::<semaphore::thread::Semaphore>(cls)?;
    } else if cls.is_subclass_of::<event::thread::Event>()? {
        events::install_event(cls)?;
    } else if cls.is_subclass_of::<condition::thread::Condition>()? {
        events::install_condition(cls)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}
