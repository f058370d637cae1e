//! Locks that wrap the value they protect.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;

use super::{Acquired, Heap, Holder, Lock, LockError, OnOwnerDeath, ReentrantLock, ResetError};
use crate::atomics::const_fn;
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
    const_fn! {
        /// Creates a free lock around `value`.
        pub fn new(value: T, policy: OnOwnerDeath) -> Self {
            Self { lock: Lock::new(policy), value: UnsafeCell::new(value) }
        }
    }

    /// The value, for its only owner.
    ///
    /// # Errors
    /// If a holder abandoned the lock and it does not recover from that; the error names it.
    pub fn get_mut(&mut self) -> Result<&mut T, Owner> {
        match self.lock.broken_by() {
            Some(owner) => Err(owner),
            None => Ok(self.value.get_mut()),
        }
    }

    /// The value, out of its lock.
    ///
    /// # Errors
    /// As [`get_mut`](Self::get_mut).
    pub fn into_inner(self) -> Result<T, Owner> {
        match self.lock.broken_by() {
            Some(owner) => Err(owner),
            None => Ok(self.value.into_inner()),
        }
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

impl<'a, T> Hold<'a, T> {
    /// See [`Lock::unscope`].
    pub fn unscope(&self) {
        self.guarded.lock.unscope();
    }

    /// Restricts the hold to the part of the value that `f` returns. If `f` panics, the lock is abandoned.
    pub fn map<U: ?Sized>(mut self, f: impl FnOnce(&mut T) -> &mut U) -> PartHold<'a, U> {
        let part = NonNull::from(f(&mut self));
        let Self { guarded, from, panics, .. } = &self;
        let part = PartHold { lock: &guarded.lock, part, from: *from, panics: *panics, value: PhantomData };
        // The lock stays acquired: from now on the part's hold will release it.
        mem::forget(self);
        part
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
        end(&self.guarded.lock, self.panics);
    }
}

/// The end of a hold.
#[inline]
fn end(lock: &Lock, panics: Panics) {
    if panics.began_since() {
        return lock.abandon::<Heap>();
    }
    // Cannot fail: the hold holds the lock.
    let _ = lock.release::<Heap>();
}

/// Exclusive access to a part of the value of a [`Guarded`]; see [`Hold::map`]. Dropping it releases the lock.
#[must_use = "the lock is released as soon as its hold is dropped"]
pub struct PartHold<'a, T: ?Sized> {
    lock: &'a Lock,
    /// Not a reference, since it dangles for the moment between the release of the lock and the end of `drop`.
    part: NonNull<T>,
    from: Owner,
    panics: Panics,
    value: PhantomData<&'a mut T>,
}

// SAFETY: it stands for a `&mut T` and a lock, which any thread may release.
unsafe impl<T: ?Sized + Send> Send for PartHold<'_, T> {}
// SAFETY: shared, it gives away `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for PartHold<'_, T> {}

impl<'a, T: ?Sized> PartHold<'a, T> {
    /// Restricts the hold further. If `f` panics, the lock is abandoned.
    pub fn map<U: ?Sized>(mut self, f: impl FnOnce(&mut T) -> &mut U) -> PartHold<'a, U> {
        let part = NonNull::from(f(&mut self));
        let part = PartHold { lock: self.lock, part, from: self.from, panics: self.panics, value: PhantomData };
        mem::forget(self);
        part
    }

    /// The thread that abandoned the lock before this hold acquired it, if any.
    pub fn recovered_from(&self) -> Option<Owner> {
        (!self.from.is_none()).then_some(self.from)
    }
}

impl<T: ?Sized> Deref for PartHold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it was made from a `&mut T` into the value of a lock that outlives this hold, which has held the lock
        // ever since and is its only hold; and it stays borrowed while the reference lives.
        unsafe { self.part.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for PartHold<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and it is borrowed exclusively for this reference.
        unsafe { self.part.as_mut() }
    }
}

impl<T: ?Sized> Drop for PartHold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        end(self.lock, self.panics);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for PartHold<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
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
pub(super) fn dead_in(how: Acquired) -> Owner {
    match how {
        Acquired::Clean => Owner::default(),
        Acquired::FromDead(owner) => owner,
    }
}

/// Whether this thread was panicking when a hold was created. A hold that is created in a destructor during a panic is
/// not abandoned because of that panic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panics(bool);

impl Panics {
    #[inline]
    pub(super) fn now() -> Self {
        Self(thread::panicking())
    }

    #[inline]
    pub(super) fn began_since(self) -> bool {
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
