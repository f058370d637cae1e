//! Many readers or one writer of a value, in place.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

use kettle_core::stats::RwLockStatistics;
use kettle_core::sync::{Heap, OnOwnerDeath, ReadHold, ResetError, RwGuarded, WriteHold};
#[cfg(feature = "tokio")]
use kettle_core::sync::{LockError, RwPassed};
use kettle_core::wait::Patience;
#[cfg(feature = "tokio")]
use kettle_core::wait::{EventCount, Line};

use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OwnerDied};
use crate::label::Label;
use crate::queue::until;
use crate::sync::{pass_async, rw_lock_methods};

/// A value that many threads may look at together, or one may change.
///
/// It is no handle and needs no allocation: it can be a `static` or a field, and threads share it by reference or in an
/// `Arc`. A writer that panics [breaks](super#a-holder-that-panics) it; a reader does not.
///
/// ```
/// use std::collections::HashMap;
///
/// use kettle::threads::RwLock;
///
/// let prices = RwLock::new(HashMap::from([("bread", 3)]));
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| assert_eq!(prices.read().expect("no writer panicked")["bread"], 3));
///     }
/// });
/// prices.write()?.insert("milk", 1);
/// assert_eq!(prices.read()?.len(), 2);
/// # Ok::<(), kettle::AcquireError>(())
/// ```
///
/// Threads are served in the order of arrival: a writer that waits keeps later readers out. So a thread must not ask
/// for a second guard while it has one. Threads that wait for each other's writers are
/// [told so](crate::deadlock); of readers it is not known who they are.
pub struct RwLock<T = ()> {
    guarded: RwGuarded<T>,
    label: Label,
}

impl<T> RwLock<T> {
    /// A free lock around `value`.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self::with_policy(value, OnOwnerDeath::Raise)
    }

    /// The same, and what is to happen when a writer panics.
    #[track_caller]
    pub const fn with_policy(value: T, on_owner_death: OnOwnerDeath) -> Self {
        Self { guarded: RwGuarded::new(value, on_owner_death), label: Label::here() }
    }

    /// Takes the value out.
    ///
    /// ```
    /// let lock = kettle::threads::RwLock::new(5);
    /// assert_eq!(lock.into_inner()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a writer panicked and broke the lock. Then the value is dropped; [`reset`](Self::reset) the lock before to
    /// get it all the same.
    pub fn into_inner(self) -> Result<T, OwnerDied> {
        Ok(self.guarded.into_inner()?)
    }

    /// Gives the value without locking: no other thread can have the lock while it is borrowed exclusively.
    ///
    /// # Errors
    /// If a writer panicked and broke the lock.
    pub fn get_mut(&mut self) -> Result<&mut T, OwnerDied> {
        Ok(self.guarded.get_mut()?)
    }

    fn label(&self) -> &Label {
        &self.label
    }

    fn state(&self) -> &RwGuarded<T> {
        &self.guarded
    }

    #[inline]
    fn try_read_now(&self) -> Option<Result<RwLockReadGuard<'_, T>, AcquireError>> {
        self.guarded.try_read_now().map(|hold| Ok(RwLockReadGuard { hold }))
    }

    #[inline]
    fn try_write_now(&self) -> Option<Result<RwLockWriteGuard<'_, T>, AcquireError>> {
        self.guarded.try_write_now().map(|hold| Ok(RwLockWriteGuard { hold }))
    }

    #[cfg(feature = "tokio")]
    fn try_pass(&self) -> Result<RwPassed<'_, T>, LockError> {
        self.guarded.try_pass()
    }

    #[cfg(feature = "tokio")]
    fn opened(&self) -> &Line {
        self.guarded.opened()
    }
}

rw_lock_methods!(
    RwLock<T>,
    read = RwLockReadGuard<'_, T>, |_this, hold| Ok(RwLockReadGuard { hold }),
    write = RwLockWriteGuard<'_, T>, |_this, hold| Ok(RwLockWriteGuard { hold }),
    home = Heap, begin = [],
);
pass_async!(RwLock<T>, RwPassed<'_, T>, Heap);

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Shared access to the value of a [`RwLock`]; dropping it frees the lock.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct RwLockReadGuard<'a, T> {
    hold: ReadHold<'a, T>,
}

/// Exclusive access to the value of a [`RwLock`]; dropping it frees the lock.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct RwLockWriteGuard<'a, T> {
    hold: WriteHold<'a, T>,
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.hold
    }
}

macro_rules! guards {
    ($($guard:ident),+) => {$(
        impl<T> $guard<'_, T> {
            /// The writer that panicked before, if the lock is one that recovers and this is the first guard since.
            pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
                guard.hold.recovered_from().map(OwnerDied::from)
            }
        }

        impl<T> Deref for $guard<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.hold
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: fmt::Display> fmt::Display for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )+};
}

guards!(RwLockReadGuard, RwLockWriteGuard);
