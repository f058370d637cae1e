//! A lock for threads that are attached to the interpreter, which costs nothing where the interpreter has a GIL.
//!
//! An uncontended mutex costs two locked instructions, which is as much as all the rest of a `put`. With a GIL it is
//! never contended if only attached threads take it and none of them lets the GIL go meanwhile. Then the GIL *is* the
//! lock; that the rule is kept is not taken on trust, but checked each time. Without a GIL it is a mutex.

use std::marker::PhantomData;

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::{Cell, UnsafeCell};
#[cfg(not(Py_GIL_DISABLED))]
use std::ops::{Deref, DerefMut};
#[cfg(Py_GIL_DISABLED)]
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use kettle_core::queue::local::Lock;
use pyo3::Python;
use pyo3::pyclass::PyVisit;

/// Says that this thread is attached to the interpreter; it cannot be sent to another one.
#[derive(Clone, Copy)]
pub(crate) struct Attached<'a>(PhantomData<(&'a (), *const ())>);

impl<'py> From<Python<'py>> for Attached<'py> {
    fn from(_: Python<'py>) -> Self {
        Self(PhantomData)
    }
}

impl<'a> Attached<'a> {
    /// Who collects garbage is attached.
    pub(crate) fn by(_: &'a PyVisit<'_>) -> Self {
        Self(PhantomData)
    }
}

/// So often the processor is offered to others before sleeping: the lock is held for so short a time that to sleep, and
/// to be woken, would take many times longer.
#[cfg(Py_GIL_DISABLED)]
const TRIES: usize = 40;

#[cfg(Py_GIL_DISABLED)]
pub(crate) struct AttachedLock<S>(Mutex<S>);

#[cfg(Py_GIL_DISABLED)]
impl<S> Lock<S> for AttachedLock<S> {
    type Key<'k>
        = Attached<'k>
    where
        S: 'k;
    type Guard<'a>
        = MutexGuard<'a, S>
    where
        S: 'a;

    fn new(state: S) -> Self {
        Self(Mutex::new(state))
    }

    #[inline]
    fn lock<'a>(&'a self, _: Attached<'a>) -> MutexGuard<'a, S> {
        for _ in 0..TRIES {
            match self.0.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(e)) => return e.into_inner(),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(Py_GIL_DISABLED))]
pub(crate) struct AttachedLock<S> {
    state: UnsafeCell<S>,
    taken: Cell<bool>,
}

// SAFETY: both fields are touched by attached threads only, of which there is one at a time: `lock` wants to see an
// `Attached`, and a `Guard`, which has one inside, cannot leave its thread. Should that thread let the GIL go while it
// has a guard, `taken` keeps everybody out.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<S: Send> Sync for AttachedLock<S> {}

#[cfg(not(Py_GIL_DISABLED))]
impl<S> Lock<S> for AttachedLock<S> {
    type Key<'k>
        = Attached<'k>
    where
        S: 'k;
    type Guard<'a>
        = Guard<'a, S>
    where
        S: 'a;

    fn new(state: S) -> Self {
        Self { state: UnsafeCell::new(state), taken: Cell::new(false) }
    }

    #[inline]
    fn lock<'a>(&'a self, key: Attached<'a>) -> Guard<'a, S> {
        assert!(!self.taken.replace(true), "the interpreter was let go, or called, under a queue's lock");
        Guard { lock: self, _attached: key }
    }
}

#[cfg(not(Py_GIL_DISABLED))]
pub(crate) struct Guard<'a, S> {
    lock: &'a AttachedLock<S>,
    _attached: Attached<'a>,
}

#[cfg(not(Py_GIL_DISABLED))]
impl<S> Deref for Guard<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        // SAFETY: `taken` is ours until we are dropped, so nobody else has a reference, and that of `deref_mut` is
        // bound to us.
        unsafe { &*self.lock.state.get() }
    }
}

#[cfg(not(Py_GIL_DISABLED))]
impl<S> DerefMut for Guard<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: as above, and nobody has another reference of ours.
        unsafe { &mut *self.lock.state.get() }
    }
}

#[cfg(not(Py_GIL_DISABLED))]
impl<S> Drop for Guard<'_, S> {
    fn drop(&mut self) {
        self.lock.taken.set(false);
    }
}
