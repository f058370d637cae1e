//! `Lock` and `RLock`.

use std::ffi::CStr;

use kettle_core::deadlock::Wanted;
use kettle_core::sync::{self, Heap, OnOwnerDeath};
use kettle_core::wait::{Deadline, Patience};
use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::lock_methods;
use crate::deadlock::{CreationSite, Numbered};
use crate::fast::{Exclusive, FastLock};
use crate::parameters;
use crate::sync::between_threads::{
    Truth, UNSET, acquire_deadline, key, pid_and_thread, set_name, sleep_for_lock, sleep_until_locked,
};

const ACQUIRE_DOC: &CStr = c"acquire($self, /, blocking=True, timeout=-1)\n--\n\n\
    Acquires the lock, waiting at most `timeout` seconds (-1: forever). Returns whether it was acquired.";

/// What both locks for threads have, beside [`lock_methods`].
macro_rules! thread_lock {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// Acquires the lock, waiting at most `timeout` seconds (-1: forever). Returns whether it was acquired.
            #[pyo3(signature = (blocking=Truth(true), timeout=UNSET), text_signature = "($self, blocking=True, timeout=-1)")]
            fn acquire(slf: &Bound<'_, Self>, blocking: Truth, #[pyo3(from_py_with = parameters::seconds)] timeout: f64) -> PyResult<bool> {
                let deadline = acquire_deadline(blocking.0, timeout)?;
                let this = slf.get();
                if this.try_acquire() {
                    return Ok(true);
                }
                if !blocking.0 {
                    // Succeeds even if the lock is reserved for a waiting thread.
                    return Ok(this.body.acquire::<Heap>(&Patience::none()).is_ok());
                }
                sleep_for_lock(slf, this.wanted(), deadline, |p| this.body.acquire::<Heap>(p))
            }

            /// Returns whether a thread holds the lock.
            pub(crate) fn locked(&self) -> bool {
                self.body.owner().is_some()
            }

            fn __enter__(slf: &Bound<'_, Self>) -> PyResult<bool> {
                let this = slf.get();
                let wait = || sleep_for_lock(slf, this.wanted_by_block(), Deadline::NEVER, |p| this.body.acquire::<Heap>(p));
                Ok(this.try_acquire() || wait()?)
            }

            /// Makes it free, in a forked child.
            fn _at_fork_reinit(&self) {
                self.lock().reinit();
            }

        }

        impl Numbered for $class {
            fn number(&self) -> u64 {
                self.lock().holder().place() as u64
            }
        }

        impl Exclusive for $class {
            #[inline]
            fn is_locked(&self) -> bool {
                self.locked()
            }
        }

    };
}

/// Mutual exclusion between threads. Any thread may release it, even one that did not acquire it.
#[pyclass(subclass, frozen, name = "HeapLock", module = "kettle._native")]
pub(crate) struct Lock {
    body: sync::Lock,
    made: CreationSite,
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (*args, **_kwargs), text_signature = "(*, name=None)")]
    fn new(args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Lock::new(OnOwnerDeath::Raise), made: CreationSite::here(args.py()) }
    }

    #[pyo3(signature = (*args, name=None))]
    fn __init__(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        parameters::no_positional("Lock", args)?;
        set_name(slf, name)
    }

    /// Releases the lock, whichever thread holds it.
    pub(in crate::sync) fn release(&self) -> PyResult<()> {
        if self.try_release() { Ok(()) } else { Err(PyRuntimeError::new_err("release unlocked lock")) }
    }
}

impl Lock {
    fn lock(&self) -> &sync::Lock {
        &self.body
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { holder: self.body.holder(), reentrant: false, insists: false, scoped: false }
    }

    fn is_free_for_me(&self) -> bool {
        !self.locked()
    }

    /// Acquires it, however long that takes, and whatever signal handlers raise meanwhile.
    pub(in crate::sync) fn take_surely(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.try_acquire() {
            return Ok(());
        }
        sleep_until_locked(slf, this.wanted(), |p| this.body.acquire::<Heap>(p))
    }
}

thread_lock!(Lock);
lock_methods!(Lock, Heap, acquire_doc = ACQUIRE_DOC);

/// A lock that its holder may take again. Only the thread that holds it may release it.
#[pyclass(subclass, frozen, name = "HeapRLock", module = "kettle._native")]
pub(crate) struct RLock {
    body: sync::ReentrantLock,
    made: CreationSite,
}

#[pymethods]
impl RLock {
    #[new]
    #[pyo3(signature = (*args, **_kwargs), text_signature = "(*args, name=None, **kwargs)")]
    fn new(args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::ReentrantLock::new(OnOwnerDeath::Raise), made: CreationSite::here(args.py()) }
    }

    /// Arguments were always ignored here; since 3.13 the standard library warns of them.
    #[pyo3(signature = (*args, name=None, **kwargs))]
    fn __init__(
        slf: &Bound<'_, Self>,
        args: &Bound<'_, PyTuple>,
        name: Option<Bound<'_, PyAny>>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let py = slf.py();
        if (!args.is_empty() || kwargs.is_some()) && py.version_info() >= (3, 13) {
            let text = c"Passing arguments to RLock is deprecated and will be removed in 3.15";
            PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), text, 1)?;
        }
        set_name(slf, name)
    }

    /// Gives it back once.
    fn release(&self) -> PyResult<()> {
        if self.try_release() { Ok(()) } else { Err(not_owner()) }
    }

    pub(in crate::sync) fn _is_owned(&self) -> bool {
        self.body.is_mine::<Heap>()
    }

    fn _recursion_count(&self) -> u32 {
        self.body.depth::<Heap>()
    }

    /// How often its holder holds it.
    fn _kettle_held(&self) -> u32 {
        self.body.held()
    }

    /// Leaves it altogether, for a condition's wait; gives what `_acquire_restore` takes.
    fn _release_save(&self) -> PyResult<(u32, u32)> {
        let thread = self._kettle_owner().map_or(0, |(_, thread)| thread);
        self.body.release_all::<Heap>().map(|depth| (depth, thread)).map_err(|_| not_owner())
    }

    /// Takes it as often as `_release_save` said.
    pub(in crate::sync) fn _acquire_restore(slf: &Bound<'_, Self>, state: (u32, u32)) -> PyResult<()> {
        let this = slf.get();
        sleep_until_locked(slf, this.wanted(), |p| this.body.acquire_again::<Heap>(state.0, p))
    }
}

fn not_owner() -> PyErr {
    PyRuntimeError::new_err("cannot release un-acquired lock")
}

impl RLock {
    fn lock(&self) -> &sync::Lock {
        self.body.lock()
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { holder: self.lock().holder(), reentrant: true, insists: false, scoped: false }
    }

    fn is_free_for_me(&self) -> bool {
        !self.locked() || self._is_owned()
    }

    /// Releases it completely. Returns how often it was acquired.
    pub(in crate::sync) fn release_all(&self) -> PyResult<u32> {
        self.body.release_all::<Heap>().map_err(|_| not_owner())
    }
}

thread_lock!(RLock);
lock_methods!(RLock, Heap, acquire_doc = ACQUIRE_DOC);
