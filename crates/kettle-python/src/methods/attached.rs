//! A lock for threads that are attached to the interpreter, which costs nothing where the interpreter has a GIL.
//!
//! An uncontended mutex costs two locked instructions, which is as much as all the rest of a `put`. With a GIL it is
//! never contended if only attached threads take it and none of them lets the GIL go meanwhile. Then the GIL *is* the
//! lock; that the rule is kept is not taken on trust, but checked each time.
//!
//! Without a GIL one locked instruction remains: it is let go by a mere store, which does not ask whether somebody
//! waits. So who waits is not woken, but comes back by itself. Who had not waited of late comes back at once, since the
//! lock is held for so short a time. Who has to wait again soon shares the queue with a thread that is as busy there as
//! itself; taking turns, from one processor's cache to the other's, both would get less done than one of them alone. So
//! it stays away for a while, in which the other one goes through hundreds of items undisturbed. And when all that did
//! not help, whoever holds the lock was just taken off its processor: time for a nap.

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
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use kettle_core::sys::clock;

    /// Whether somebody has the lock.
    #[derive(Default)]
    pub(super) struct Taken(AtomicBool);

    /// So long a thread stays away that has to wait again, in nanoseconds: some hundreds of operations of another one.
    const AWAY: u64 = 20_000;
    /// So short a time after its last wait, in nanoseconds.
    const LATELY: u64 = 50_000;
    /// So long the processor is offered to others before each nap, in nanoseconds.
    const PATIENCE: u64 = 50_000;
    /// Short against the time that a thread is off its processor.
    const NAP: Duration = Duration::from_micros(50);

    thread_local! {
        /// When this thread last got the lock of some queue after a wait.
        static WAITED: Cell<u64> = const { Cell::new(0) };
    }

    impl Taken {
        #[inline(always)]
        pub(super) fn take(&self) {
            if self.0.swap(true, Ordering::Acquire) {
                self.take_later();
            }
        }

        #[cold]
        fn take_later(&self) {
            let begun = clock::now();
            let away = if begun - WAITED.get() < LATELY { AWAY } else { 0 };
            let (mut next_look, mut next_nap) = (begun + away, begun + PATIENCE);
            loop {
                thread::yield_now();
                let now = clock::now();
                if now < next_look {
                    continue;
                }
                if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire) {
                    WAITED.set(now);
                    return;
                }
                next_look = now + away;
                if now > next_nap {
                    thread::sleep(NAP);
                    next_nap = clock::now() + PATIENCE;
                }
            }
        }

        #[inline(always)]
        pub(super) fn let_go(&self) {
            self.0.store(false, Ordering::Release);
        }
    }
}
