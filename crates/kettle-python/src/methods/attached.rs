//! A lock for threads that are attached to the interpreter, which costs nothing where the interpreter has a GIL.
//!
//! An uncontended mutex costs two locked instructions, which is as much as all the rest of a `put`. With a GIL it is
//! never contended if only attached threads take it and none of them lets the GIL go meanwhile. Then the GIL *is* the
//! lock; that the rule is kept is not taken on trust, but checked each time.
//!
//! Without a GIL one locked instruction remains: it is let go by a mere store, which does not ask whether somebody
//! waits. So who waits is not woken, but comes back by itself: at once, since the lock is held for so short a time, or
//! after a nap if whoever holds it was just taken off its processor.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use kettle_core::queue::local::Lock;
use pyo3::Python;
use pyo3::pyclass::PyVisit;

use taken::Taken;

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

pub(crate) struct AttachedLock<S> {
    state: UnsafeCell<S>,
    taken: Taken,
}

// SAFETY: the state is touched by whoever has a `Guard`, one thread at a time: with a GIL `lock` wants to see an
// `Attached`, a `Guard` has one inside and cannot leave its thread, and should that thread let the GIL go meanwhile,
// `taken` keeps everybody out; without one `taken` does, to whom letting go and taking are release and acquire.
unsafe impl<S: Send> Sync for AttachedLock<S> {}

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
        Self { state: UnsafeCell::new(state), taken: Taken::default() }
    }

    #[inline(always)]
    fn lock<'a>(&'a self, key: Attached<'a>) -> Guard<'a, S> {
        self.taken.take();
        Guard { lock: self, _attached: key }
    }
}

pub(crate) struct Guard<'a, S> {
    lock: &'a AttachedLock<S>,
    _attached: Attached<'a>,
}

impl<S> Deref for Guard<'_, S> {
    type Target = S;

    #[inline(always)]
    fn deref(&self) -> &S {
        // SAFETY: `taken` is ours until we are dropped, so nobody else has a reference, and that of `deref_mut` is
        // bound to us.
        unsafe { &*self.lock.state.get() }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: as above, and nobody has another reference of ours.
        unsafe { &mut *self.lock.state.get() }
    }
}

impl<S> Drop for Guard<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.taken.let_go();
    }
}

#[cfg(not(Py_GIL_DISABLED))]
mod taken {
    use std::cell::Cell;

    /// Whether somebody has the lock. For attached threads only, of which there is one at a time.
    #[derive(Default)]
    pub(super) struct Taken(Cell<bool>);

    impl Taken {
        #[inline(always)]
        pub(super) fn take(&self) {
            assert!(!self.0.replace(true), "the interpreter was let go, or called, under a queue's lock");
        }

        #[inline(always)]
        pub(super) fn let_go(&self) {
            self.0.set(false);
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
mod taken {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    /// Whether somebody has the lock.
    #[derive(Default)]
    pub(super) struct Taken(AtomicBool);

    /// So often the processor is offered to others before each nap.
    const TRIES: usize = 40;
    /// Short against the time that a thread is off its processor.
    const NAP: Duration = Duration::from_micros(50);

    impl Taken {
        #[inline(always)]
        pub(super) fn take(&self) {
            if self.0.swap(true, Ordering::Acquire) {
                self.take_later();
            }
        }

        #[cold]
        fn take_later(&self) {
            loop {
                for _ in 0..TRIES {
                    thread::yield_now();
                    if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire) {
                        return;
                    }
                }
                thread::sleep(NAP);
            }
        }

        #[inline(always)]
        pub(super) fn let_go(&self) {
            self.0.store(false, Ordering::Release);
        }
    }
}
