//! `Lock` and `RLock`.

use std::ffi::CStr;

use kettle_core::deadlock::Wanted;
use kettle_core::sync::{self, Heap, OnOwnerDeath};
use kettle_core::wait::{Deadline, EventCount, Line, Patience, Scope};
use pyo3::exceptions::{PyDeprecationWarning, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::lock_statistics;
use crate::deadlock::{FileAndLine, Made, Numbered};
use crate::fast::{Exclusive, Quick};
use crate::parameters;
use crate::primitive::{Waitable, waitable};
use crate::sync::between_threads::{
    Truth, UNSET, acquire_deadline, key, pid_and_thread, set_name, sleep_for_lock, sleep_until_locked,
};

/// The methods of both locks, given `release`, `lock`, `wanted` and `is_free_for_me`.
macro_rules! exclusive {
    ($class:ty) => {
        #[pymethods]
        impl $class {
            /// Acquires the lock, waiting at most `timeout` seconds (-1: forever). Returns whether it was acquired.
            #[pyo3(signature = (blocking=Truth(true), timeout=UNSET), text_signature = "($self, blocking=True, timeout=-1)")]
            fn acquire(slf: &Bound<'_, Self>, blocking: Truth, #[pyo3(from_py_with = parameters::seconds)] timeout: f64) -> PyResult<bool> {
                let deadline = acquire_deadline(blocking.0, timeout)?;
                let this = slf.get();
                if this.take_now() {
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
                Ok(this.take_now() || wait()?)
            }

            #[pyo3(signature = (_type=None, _value=None, _traceback=None, /))]
            fn __exit__(
                &self,
                _type: Option<&Bound<'_, PyAny>>,
                _value: Option<&Bound<'_, PyAny>>,
                _traceback: Option<&Bound<'_, PyAny>>,
            ) -> PyResult<()> {
                self.release()
            }

            /// Makes it free, in a forked child.
            fn _at_fork_reinit(&self) {
                self.lock().reinit();
            }

            /// Where it was made.
            fn _kettle_made(&self, py: Python<'_>) -> PyResult<Option<FileAndLine>> {
                self.made.file_and_line(py)
            }

            fn _kettle_owner(&self) -> Option<(u32, u32)> {
                pid_and_thread(self.body.owner())
            }

            fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                lock_statistics(py, self.lock(), self._kettle_owner())
            }
        }

        impl $class {
            /// What a `with` block waits for.
            fn wanted_by_block(&self) -> Wanted<'_> {
                Wanted { scoped: true, ..self.wanted() }
            }
        }

        impl Quick for $class {
            const ACQUIRE_DOC: &'static CStr = c"acquire($self, /, blocking=True, timeout=-1)\n--\n\n\
                Acquires the lock, waiting at most `timeout` seconds (-1: forever). Returns whether it was acquired.";
            const MORTAL: bool = false;

            #[inline(always)]
            fn take_now(&self) -> bool {
                self.body.try_acquire_now::<Heap>()
            }
            #[inline(always)]
            fn give_back(&self) -> bool {
                self.body.release::<Heap>().is_ok()
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

        impl Waitable for $class {
            fn ready(&self) -> bool {
                self.is_free_for_me()
            }
            fn events(&self) -> &EventCount {
                self.body.freed().events()
            }
            fn line(&self) -> Option<&Line> {
                Some(self.body.freed())
            }
            fn scope(&self) -> Scope {
                Scope::Private
            }
            fn call(&self) -> u32 {
                key(&self.body)
            }
        }
        waitable!($class);
    };
}

/// Mutual exclusion between threads. Any thread may release it, even one that did not acquire it.
#[pyclass(subclass, frozen, name = "HeapLock", module = "kettle._native")]
pub(crate) struct Lock {
    body: sync::Lock,
    made: Made,
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (*args, **_kwargs), text_signature = "(*, name=None)")]
    fn new(args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::Lock::new(OnOwnerDeath::Raise), made: Made::here(args.py()) }
    }

    #[pyo3(signature = (*args, name=None))]
    fn __init__(slf: &Bound<'_, Self>, args: &Bound<'_, PyTuple>, name: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        parameters::no_positional("Lock", args)?;
        set_name(slf, name)
    }

    /// Releases the lock, whichever thread holds it.
    pub(in crate::sync) fn release(&self) -> PyResult<()> {
        if self.give_back() { Ok(()) } else { Err(PyRuntimeError::new_err("release unlocked lock")) }
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
        if this.take_now() {
            return Ok(());
        }
        sleep_until_locked(slf, this.wanted(), |p| this.body.acquire::<Heap>(p))
    }
}

exclusive!(Lock);

/// A lock that its holder may take again. Only the thread that holds it may release it.
#[pyclass(subclass, frozen, name = "HeapRLock", module = "kettle._native")]
pub(crate) struct RLock {
    body: sync::ReentrantLock,
    made: Made,
}

#[pymethods]
impl RLock {
    #[new]
    #[pyo3(signature = (*args, **_kwargs), text_signature = "(*args, name=None, **kwargs)")]
    fn new(args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { body: sync::ReentrantLock::new(OnOwnerDeath::Raise), made: Made::here(args.py()) }
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
        if self.give_back() { Ok(()) } else { Err(not_owner()) }
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
    pub(in crate::sync) fn give_all_back(&self) -> PyResult<u32> {
        self.body.release_all::<Heap>().map_err(|_| not_owner())
    }
}

exclusive!(RLock);
