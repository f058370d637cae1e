//! The lock for readers and writers that wraps the value they access.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::guarded::{Panics, dead_in};
use super::{Acquired, Counted, Heap, Holder, LockError, OnOwnerDeath, Passed, Reader, ResetError, RwLock};
use crate::atomics::const_fn;
use crate::stats::RwLockStatistics;
use crate::sys::Owner;
use crate::wait::{EventCount, Line, Patience};

/// A lock for readers and writers among the threads of one process, wrapping a value that only they can access.
///
/// A writer that panics breaks it, since it may have left the value half changed: see [`RwLock::abandon_write`].
pub struct RwGuarded<T> {
    lock: RwLock<Counted>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is accessible through holds only. A `WriteHold` exists alone: it is created after the lock was
// acquired for writing, and the lock is released when it is dropped; `ReadHold`s, likewise, exist beside each other
// only, and give shared access. So threads pass the value from one to the next, for which `Send` is needed, and look at
// it together, for which `Sync` is. Each sees the writes before it: see the orderings of `RwLock`.
unsafe impl<T: Send + Sync> Sync for RwGuarded<T> {}

// A panic in the middle of a change cannot go unnoticed: it breaks the lock.
impl<T> UnwindSafe for RwGuarded<T> {}
impl<T> RefUnwindSafe for RwGuarded<T> {}

/// Shared access to the value of a [`RwGuarded`]. Dropping it releases the lock.
#[must_use = "the lock is released as soon as its hold is dropped"]
pub struct ReadHold<'a, T> {
    guarded: &'a RwGuarded<T>,
    reader: Reader,
    from: Owner,
}

/// Exclusive access to the value of a [`RwGuarded`]. Dropping it releases the lock.
#[must_use = "the lock is released as soon as its hold is dropped"]
pub struct WriteHold<'a, T> {
    guarded: &'a RwGuarded<T>,
    from: Owner,
    panics: Panics,
    /// Gives it the auto traits of a `&mut T`.
    value: PhantomData<&'a mut T>,
}

impl<T> RwGuarded<T> {
    const_fn! {
        /// Creates a free lock around `value`.
        pub fn new(value: T, policy: OnOwnerDeath) -> Self {
            Self { lock: RwLock::counted(policy), value: UnsafeCell::new(value) }
        }
    }

    /// The value, for its only owner.
    ///
    /// # Errors
    /// If a writer abandoned the lock and it does not recover from that; the error names it.
    pub fn get_mut(&mut self) -> Result<&mut T, Owner> {
        self.lock.check()?;
        Ok(self.value.get_mut())
    }

    /// The value, out of its lock.
    ///
    /// # Errors
    /// As [`get_mut`](Self::get_mut).
    pub fn into_inner(mut self) -> Result<T, Owner> {
        self.lock.check()?;
        Ok(self.value.into_inner())
    }
}

impl<T> RwGuarded<T> {
    fn read_hold(&self, (reader, how): (Reader, Acquired)) -> ReadHold<'_, T> {
        ReadHold { guarded: self, reader, from: dead_in(how) }
    }

    fn write_hold(&self, how: Acquired) -> WriteHold<'_, T> {
        WriteHold { guarded: self, from: dead_in(how), panics: Panics::now(), value: PhantomData }
    }

    /// Acquires the lock for reading if that is possible now.
    #[inline]
    pub fn try_read_now(&self) -> Option<ReadHold<'_, T>> {
        self.lock.try_read_now::<Heap>().map(|reader| self.read_hold((reader, Acquired::Clean)))
    }

    /// Acquires the lock for writing if that is possible now.
    #[inline]
    pub fn try_write_now(&self) -> Option<WriteHold<'_, T>> {
        self.lock.try_write_now::<Heap>().then(|| self.write_hold(Acquired::Clean))
    }

    /// Acquires the lock for reading, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn read(&self, patience: &Patience<'_>) -> Result<ReadHold<'_, T>, LockError> {
        self.lock.read::<Heap>(patience).map(|read| self.read_hold(read))
    }

    /// Acquires the lock for writing, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn write(&self, patience: &Patience<'_>) -> Result<WriteHold<'_, T>, LockError> {
        self.lock.write::<Heap>(patience).map(|how| self.write_hold(how))
    }

    /// Passes the gate if that is possible now, for a task, which may move between threads.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn try_pass(&self) -> Result<RwPassed<'_, T>, LockError> {
        let passed = self.lock.pass::<Heap>(&Patience::none())?;
        self.lock.gate().unscope();
        Ok(RwPassed { guarded: self, passed })
    }

    /// Makes a broken lock free again. Does nothing if it is free.
    ///
    /// # Errors
    /// If a writer has it.
    pub fn reset(&self) -> Result<(), ResetError> {
        self.lock.reset::<Heap>()
    }

    /// To be asked which thread has the gate, as a writer has.
    pub fn holder(&self) -> Holder<'_> {
        self.lock.holder()
    }

    /// The line of threads that wait at the gate.
    pub fn opened(&self) -> &Line {
        self.lock.gate().freed()
    }

    /// Where the one that has passed the gate waits for readers to leave.
    pub fn left(&self) -> &EventCount {
        self.lock.left()
    }

    /// Whether a writer abandoned the lock.
    pub fn is_broken(&self) -> bool {
        self.lock.is_broken()
    }

    /// A snapshot of its counters.
    pub fn statistics(&self) -> RwLockStatistics {
        self.lock.statistics()
    }
}

/// The gate of a [`RwGuarded`] is passed, which keeps all others out. Dropped, it is left as it was.
#[must_use]
#[derive(Debug)]
pub struct RwPassed<'a, T> {
    guarded: &'a RwGuarded<T>,
    passed: Passed<'a, Heap, Counted>,
}

impl<'a, T> RwPassed<'a, T> {
    /// Does nothing: no reader dies alone.
    pub fn bury(&self) {}

    /// Becomes a reader.
    ///
    /// # Errors
    /// If there are too many, the same again.
    pub fn read(self) -> Result<ReadHold<'a, T>, Self> {
        let guarded = self.guarded;
        self.passed.read().map(|read| guarded.read_hold(read)).map_err(|passed| Self { guarded, passed })
    }

    /// Becomes the writer.
    ///
    /// # Errors
    /// If there are readers, the same again.
    pub fn write(self) -> Result<WriteHold<'a, T>, Self> {
        let guarded = self.guarded;
        self.passed.write().map(|how| guarded.write_hold(how)).map_err(|passed| Self { guarded, passed })
    }
}

impl<T> Deref for ReadHold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: there is no `WriteHold` beside this hold (see `Sync`), which stays borrowed while the reference
        // lives.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> Deref for WriteHold<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the only hold (see `Sync`), and it stays borrowed while the reference lives.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for WriteHold<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the only hold (see `Sync`), and it is borrowed exclusively for this reference.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for ReadHold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.guarded.lock.end_read::<Heap>(self.reader);
    }
}

impl<T> Drop for WriteHold<'_, T> {
    #[inline]
    fn drop(&mut self) {
        match self.panics.began_since() {
            true => self.guarded.lock.abandon_write::<Heap>(),
            false => self.guarded.lock.end_write::<Heap>(),
        }
    }
}

macro_rules! both {
    ($($hold:ident),+) => {$(
        impl<T> $hold<'_, T> {
            /// The writer that abandoned the lock before this hold acquired it, if any.
            pub fn recovered_from(&self) -> Option<Owner> {
                (!self.from.is_none()).then_some(self.from)
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $hold<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )+};
}

both!(ReadHold, WriteHold);

impl<T> fmt::Debug for RwGuarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwGuarded").field("lock", &self.lock).finish_non_exhaustive()
    }
}
