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
use crate::lock::{Lock, RLock};
use crate::memory::Cell;
use crate::objects::ObjectQueue;
use crate::semaphore::Semaphore;
use crate::threads;

/// Adds the fast methods to `cls`, a subclass of one of ours, where it does not define its own.
#[pyfunction]
pub(crate) fn quicken<'py>(cls: Bound<'py, PyType>) -> PyResult<Bound<'py, PyType>> {
    if cls.is_subclass_of::<Lock>()? {
        locks::install::<Lock>(&cls)?;
    } else if cls.is_subclass_of::<RLock>()? {
        locks::install::<RLock>(&cls)?;
    } else if cls.is_subclass_of::<Semaphore>()? {
        locks::install::<Semaphore>(&cls)?;
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
    if cls.is_subclass_of::<threads::lock::Lock>()? {
        locks::install::<threads::lock::Lock>(cls)?;
        locks::install_locked::<threads::lock::Lock>(cls)?;
        making::install::<threads::lock::Lock>(cls);
    } else if cls.is_subclass_of::<threads::lock::RLock>()? {
        locks::install::<threads::lock::RLock>(cls)?;
        locks::install_locked::<threads::lock::RLock>(cls)?;
        making::install::<threads::lock::RLock>(cls);
    } else if cls.is_subclass_of::<threads::semaphore::Semaphore>()? {
        locks::install::<threads::semaphore::Semaphore>(cls)?;
    } else if cls.is_subclass_of::<threads::event::Event>()? {
        events::install_event(cls)?;
    } else if cls.is_subclass_of::<threads::condition::Condition>()? {
        events::install_condition(cls)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}
