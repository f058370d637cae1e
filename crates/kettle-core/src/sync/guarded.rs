//! Locks that wrap the value they protect.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;

use super::{Acquired, Heap, Holder, Lock, LockError, OnOwnerDeath, ReentrantLock, ResetError};
use crate::stats::LockStatistics;
use crate::sys::Owner;
use crate::wait::{Line, Patience};

/// A lock for the threads of one process, wrapping a value that only its holder can access.
///
/// A holder that panics abandons the [`Lock`], since it may have left the value half changed: see [`Lock::abandon`].
/// The lock itself is never exposed, because any thread could release it. A hold is a scope.
pub struct Guarded<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is accessible through a `Hold` only, and at most one `Hold` exists at a time: it is created after
// the lock was acquired, and the lock is released when it is dropped. Threads therefore only pass the value from one to
// the next, for which `Send` suffices. Each sees the previous holder's writes: acquiring is an acquire, releasing a
// release.
unsafe impl<T: Send> Sync for Guarded<T> {}

// A panic in the middle of a change cannot go unnoticed: it breaks the lock.
impl<T> UnwindSafe for Guarded<T> {}
impl<T> RefUnwindSafe for Guarded<T> {}

/// Exclusive access to the value of a [`Guarded`]. Dropping it releases the lock.
#[must_use = "the lock is released as soon as its hold is dropped"]
pub struct Hold<'a, T> {
    guarded: &'a Guarded<T>,
    from: Owner,
    panics: Panics,
    /// Gives it the auto traits of a `&mut T`.
    value: PhantomData<&'a mut T>,
}

impl<T> Guarded<T> {
    /// Creates a free lock around `value`.
    pub fn new(value: T, policy: OnOwnerDeath) -> Self {
        Self { lock: Lock::new(policy), value: UnsafeCell::new(value) }
    }

    /// Wraps a lock that this thread has just acquired.
    #[inline]
    fn hold(&self, how: Acquired) -> Hold<'_, T> {
        Hold { guarded: self, from: dead_in(how), panics: Panics::now(), value: PhantomData }
    }

    /// Acquires the lock if it is free.
    #[inline]
    pub fn try_acquire_now(&self) -> Option<Hold<'_, T>> {
        self.lock.try_acquire_scoped::<Heap>().then(|| self.hold(Acquired::Clean))
    }

    /// Acquires the lock, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(&self, patience: &Patience<'_>) -> Result<Hold<'_, T>, LockError> {
        self.lock.acquire_scoped::<Heap>(patience).map(|how| self.hold(how))
    }
}

impl<T> Hold<'_, T> {
    /// See [`Lock::unscope`].
    pub fn unscope(&self) {
        self.guarded.lock.unscope();
    }
}

impl<T> Deref for Hold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the only hold (see `Sync`), and it stays borrowed while the reference lives.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Hold<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the only hold (see `Sync`), and it is borrowed exclusively for this reference.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for Hold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.panics.began_since() {
            return self.guarded.lock.abandon::<Heap>();
        }
        // Cannot fail: this hold holds the lock.
        let _ = self.guarded.lock.release::<Heap>();
    }
}

/// A re-entrant lock for the threads of one process, wrapping a value that only its holder can access. Access is
/// shared, since the holder may have several holds.
pub struct ReentrantGuarded<T> {
    lock: ReentrantLock,
    value: T,
}

// SAFETY: the value is accessible through `ReentrantHold`s only. These belong to one thread at a time and cannot leave
// it. Threads therefore only pass the value from one to the next, for which `Send` suffices; interior mutability is
// used by one thread at a time.
unsafe impl<T: Send> Sync for ReentrantGuarded<T> {}

impl<T> UnwindSafe for ReentrantGuarded<T> {}
impl<T> RefUnwindSafe for ReentrantGuarded<T> {}

/// Shared access to the value of a [`ReentrantGuarded`], confined to its thread. Dropping it releases the lock once.
#[must_use = "the lock is released as soon as its hold is dropped"]
pub struct ReentrantHold<'a, T> {
    guarded: &'a ReentrantGuarded<T>,
    from: Owner,
    panics: Panics,
    /// Only the thread that acquired the lock may release it.
    same_thread: PhantomData<*const ()>,
}

impl<T> ReentrantGuarded<T> {
    /// Creates a free lock around `value`.
    pub fn new(value: T, policy: OnOwnerDeath) -> Self {
        Self { lock: ReentrantLock::new(policy), value }
    }

    /// Wraps a lock that this thread has just acquired.
    #[inline]
    fn hold(&self, how: Acquired) -> ReentrantHold<'_, T> {
        ReentrantHold { guarded: self, from: dead_in(how), panics: Panics::now(), same_thread: PhantomData }
    }

    /// Acquires the lock if it is free, or if this thread already holds it.
    #[inline]
    pub fn try_acquire_now(&self) -> Option<ReentrantHold<'_, T>> {
        self.lock.try_acquire_now::<Heap>().then(|| self.hold(Acquired::Clean))
    }

    /// Acquires the lock, or acquires it once more, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(&self, patience: &Patience<'_>) -> Result<ReentrantHold<'_, T>, LockError> {
        self.lock.acquire::<Heap>(patience).map(|how| self.hold(how))
    }

    fn lock(&self) -> &Lock {
        self.lock.lock()
    }
}

impl<T> Deref for ReentrantHold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guarded.value
    }
}

impl<T> Drop for ReentrantHold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Cannot fail: this hold holds the lock, and has stayed on its thread.
        let _ = match self.panics.began_since() {
            true => self.guarded.lock.abandon::<Heap>(),
            false => self.guarded.lock.release::<Heap>(),
        };
    }
}

#[inline]
fn dead_in(how: Acquired) -> Owner {
    match how {
        Acquired::Clean => Owner::default(),
        Acquired::FromDead(owner) => owner,
    }
}

/// Whether this thread was panicking when a hold was created. A hold that is created in a destructor during a panic is
/// not abandoned because of that panic.
#[derive(Clone, Copy, Debug)]
struct Panics(bool);

impl Panics {
    #[inline]
    fn now() -> Self {
        Self(thread::panicking())
    }

    #[inline]
    fn began_since(self) -> bool {
        thread::panicking() && !self.0
    }
}

macro_rules! both {
    ($guarded:ident, $hold:ident, |$this:ident| $lock:expr) => {
        impl<T> $guarded<T> {
            /// Makes a broken lock free again. Does nothing if it is free.
            ///
            /// # Errors
            /// If it is held.
            pub fn reset(&self) -> Result<(), ResetError> {
                let $this = self;
                $lock.reset::<Heap>()
            }

            /// The current holder, or the thread that abandoned the lock.
            pub fn owner(&self) -> Option<Owner> {
                let $this = self;
                $lock.owner()
            }

            /// A handle for asking that again later.
            pub fn holder(&self) -> Holder<'_> {
                let $this = self;
                $lock.holder()
            }

            /// Whether the lock was abandoned.
            pub fn is_broken(&self) -> bool {
                let $this = self;
                $lock.is_broken()
            }

            /// The line of threads that wait for the lock.
            pub fn freed(&self) -> &Line {
                let $this = self;
                $lock.freed()
            }

            /// A snapshot of its counters.
            pub fn statistics(&self) -> LockStatistics {
                let $this = self;
                $lock.statistics()
            }
        }

        impl<T> $hold<'_, T> {
            /// The thread that abandoned the lock before this hold acquired it, if any.
            pub fn recovered_from(&self) -> Option<Owner> {
                (!self.from.is_none()).then_some(self.from)
            }
        }

        impl<T> fmt::Debug for $guarded<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guarded)).field("owner", &self.owner()).finish_non_exhaustive()
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $hold<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}

both!(Guarded, Hold, |this| this.lock);
both!(ReentrantGuarded, ReentrantHold, |this| this.lock());
