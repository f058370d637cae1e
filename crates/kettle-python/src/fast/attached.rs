//! A lock for threads that are attached to the interpreter. It costs nothing if the interpreter has a GIL.
//!
//! An uncontended mutex costs two locked instructions, as much as the rest of a `put`. With a GIL the mutex is never
//! contended if only attached threads lock it and none of them releases the GIL meanwhile. Then the GIL *is* the lock.
//! Each acquisition checks that this rule is kept.
//!
//! Without a GIL, one locked instruction remains: unlocking is a plain store, which does not check for waiting threads.
//! So waiting threads are not woken; they poll. A thread that has not waited recently retries at once, because the lock
//! is held so briefly. A thread that soon has to wait again shares the queue with another thread that is as busy on it.
//! Taking turns would move the data between the two processors' caches, and both together would get less done than one
//! of them alone. So the thread backs off for a while, in which the other one completes hundreds of operations
//! undisturbed. If none of this helps, the lock's holder was probably preempted, and the thread sleeps.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use kettle_core::queue::local::Lock;
use pyo3::Python;
use pyo3::pyclass::PyVisit;

use taken::Taken;

/// Proof that this thread is attached to the interpreter. It cannot be sent to another thread.
#[derive(Clone, Copy)]
pub(crate) struct Attached<'a>(PhantomData<(&'a (), *const ())>);

impl<'py> From<Python<'py>> for Attached<'py> {
    fn from(_: Python<'py>) -> Self {
        Self(PhantomData)
    }
}

impl<'a> Attached<'a> {
    /// A thread that collects garbage is attached.
    pub(crate) fn by(_: &'a PyVisit<'_>) -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct AttachedLock<S> {
    state: UnsafeCell<S>,
    taken: Taken,
}

// SAFETY: only the holder of a `Guard` touches the state, one thread at a time. With a GIL, `lock` requires an
// `Attached`; a `Guard` contains one and cannot leave its thread; and if that thread releases the GIL meanwhile,
// `taken` keeps all others out. Without a GIL, `taken` does, and unlocking and locking are release and acquire on it.
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
        // SAFETY: `taken` is ours until the guard is dropped, so there is no other reference, and that of `deref_mut`
        // is bound to the guard.
        unsafe { &*self.lock.state.get() }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut S {
        // SAFETY: as above, and there is no other reference through this guard.
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

    /// Whether the lock is held. For attached threads only, of which there is one at a time.
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

    /// Whether the lock is held.
    #[derive(Default)]
    pub(super) struct Taken(AtomicBool);

    /// How long a thread backs off when it has to wait again, in nanoseconds: some hundreds of another thread's
    /// operations.
    const AWAY: u64 = 20_000;
    /// How soon after the last wait a new one counts as waiting again, in nanoseconds.
    const LATELY: u64 = 50_000;
    /// How long the thread yields the processor before each sleep, in nanoseconds.
    const PATIENCE: u64 = 50_000;
    /// Short compared with the time that a preempted thread is off its processor.
    const NAP: Duration = Duration::from_micros(50);

    thread_local! {
        /// When this thread last acquired the lock of any queue after a wait.
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
