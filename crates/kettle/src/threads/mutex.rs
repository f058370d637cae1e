//! Mutual exclusion around a value, in place.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

use kettle_core::stats::LockStatistics;
use kettle_core::sync::{Guarded, Heap, Hold, OnOwnerDeath, PartHold, ResetError};
use kettle_core::wait::Patience;

use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OwnerDied};
use crate::label::Label;
use crate::queue::until;
use crate::sync::{WaitError, lock_methods, plain_lock_methods};

/// A value that one thread at a time may look at and change: a [`Lock`](super::Lock) that is no handle.
///
/// It needs no allocation, so it can be a `static` or a field of what it protects, and several threads share it by
/// reference or in an `Arc`. In all else it is a `Lock`: there are time limits, it can be awaited and held across an
/// `.await`, threads that wait for each other's are [told so](crate::deadlock), a
/// [`Condition`](super::Condition) waits with its guard, and a holder that panics
/// [breaks](super#a-holder-that-panics) it.
///
/// ```
/// use kettle::threads::Mutex;
///
/// static SEEN: Mutex<Vec<u32>> = Mutex::new(Vec::new());
///
/// std::thread::scope(|scope| {
///     scope.spawn(|| SEEN.lock().expect("no thread panicked").push(1));
///     scope.spawn(|| SEEN.lock().expect("no thread panicked").push(2));
/// });
/// assert_eq!(SEEN.lock()?.len(), 2);
/// # Ok::<(), kettle::AcquireError>(())
/// ```
pub struct Mutex<T = ()> {
    guarded: Guarded<T>,
    label: Label,
    /// What a report calls it.
    kind: &'static str,
}

impl<T> Mutex<T> {
    /// A free mutex around `value`.
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self::with_policy(value, OnOwnerDeath::Raise)
    }

    /// The same, and what is to happen when its holder panics.
    ///
    /// ```
    /// use kettle::threads::{Mutex, MutexGuard, OnOwnerDeath};
    ///
    /// static TOTAL: Mutex<u32> = Mutex::with_policy(0, OnOwnerDeath::Recover);
    ///
    /// let panicked = std::thread::spawn(|| {
    ///     let _total = TOTAL.lock();
    ///     panic!("half way");
    /// });
    /// assert!(panicked.join().is_err());
    /// let total = TOTAL.lock()?;
    /// assert!(MutexGuard::recovered_from(&total).is_some());
    /// # Ok::<(), kettle::AcquireError>(())
    /// ```
    #[track_caller]
    pub const fn with_policy(value: T, on_owner_death: OnOwnerDeath) -> Self {
        Self::of_kind("Mutex", value, on_owner_death)
    }

    #[track_caller]
    pub(super) const fn of_kind(kind: &'static str, value: T, on_owner_death: OnOwnerDeath) -> Self {
        Self { guarded: Guarded::new(value, on_owner_death), label: Label::here(), kind }
    }

    /// Takes the value out.
    ///
    /// ```
    /// let mutex = kettle::threads::Mutex::new("value".to_string());
    /// mutex.lock()?.push('s');
    /// assert_eq!(mutex.into_inner()?, "values");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a holder panicked and broke the mutex. Then the value is dropped; [`reset`](Self::reset) the mutex before to
    /// get it all the same.
    pub fn into_inner(self) -> Result<T, OwnerDied> {
        Ok(self.guarded.into_inner()?)
    }

    /// Gives the value without locking: no other thread can have the mutex while it is borrowed exclusively.
    ///
    /// ```
    /// let mut mutex = kettle::threads::Mutex::new(1);
    /// *mutex.get_mut()? += 1;
    /// assert_eq!(*mutex.lock()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a holder panicked and broke the mutex.
    pub fn get_mut(&mut self) -> Result<&mut T, OwnerDied> {
        Ok(self.guarded.get_mut()?)
    }

    pub(crate) fn guarded(&self) -> &Guarded<T> {
        &self.guarded
    }

    pub(super) fn label(&self) -> &Label {
        &self.label
    }

    fn state(&self) -> &Guarded<T> {
        &self.guarded
    }

    #[inline]
    pub(super) fn try_now(&self) -> Option<MutexGuard<'_, T>> {
        self.guarded.try_acquire_now().map(|hold| MutexGuard { mutex: self, hold })
    }

    #[cold]
    pub(super) fn wait_for(
        &self,
        patience: &Patience<'_>,
        place: &Location<'_>,
        insists: bool,
    ) -> Result<MutexGuard<'_, T>, AcquireError> {
        let Self { guarded, label, kind } = self;
        let call = Call { holder: guarded.holder(), kind, label, reentrant: false, insists, place };
        let hold = call.wait::<Heap, _>(patience, |patience| guarded.acquire(patience))?;
        Ok(MutexGuard { mutex: self, hold })
    }
}

lock_methods!(
    Mutex<T>,
    guard = MutexGuard<'_, T>,
    reset = |this| this.guarded.reset(),
    when = "free",
);
plain_lock_methods!(
    Mutex<T>,
    guard = MutexGuard<'_, T>,
    home = Heap,
    unscope = |guard| guard.unscope(),
);

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// The right to the value of a [`Mutex`] or a [`Lock`](super::Lock); dropping it frees the lock.
///
/// It may go to another thread. A report of a deadlock names the thread that took the lock all the same.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    hold: Hold<'a, T>,
}

impl<'a, T> MutexGuard<'a, T> {
    /// Restricts the guard to a part of the value. If `part` panics, it breaks the lock, as a holder that panics does.
    ///
    /// ```
    /// use kettle::threads::{MappedMutexGuard, Mutex, MutexGuard};
    ///
    /// struct Account {
    ///     owner: String,
    ///     balance: i64,
    /// }
    ///
    /// fn balance(account: &Mutex<Account>) -> Result<MappedMutexGuard<'_, i64>, kettle::AcquireError> {
    ///     Ok(MutexGuard::map(account.lock()?, |account| &mut account.balance))
    /// }
    ///
    /// let account = Mutex::new(Account { owner: "Ada".to_string(), balance: 10 });
    /// *balance(&account)? += 5;
    /// assert_eq!(account.lock()?.balance, 15);
    /// # Ok::<(), kettle::AcquireError>(())
    /// ```
    pub fn map<U: ?Sized>(guard: Self, part: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        MappedMutexGuard { hold: guard.hold.map(part) }
    }

    /// The holder that panicked before the lock came here, if the lock is one that recovers.
    pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
        guard.hold.recovered_from().map(OwnerDied::from)
    }

    pub(super) fn lock(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }

    /// It is a task's, so no scope of this thread ends it.
    #[cfg(feature = "tokio")]
    pub(super) fn unscope(&self) {
        self.hold.unscope();
    }
}

/// The right to a part of the value of a [`Mutex`] or a [`Lock`](super::Lock): see [`MutexGuard::map`]. Dropping it
/// frees the lock.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    hold: PartHold<'a, T>,
}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// Restricts the guard further. If `part` panics, it breaks the lock, as a holder that panics does.
    ///
    /// ```
    /// use kettle::threads::{MappedMutexGuard, Mutex, MutexGuard};
    ///
    /// let pairs = Mutex::new(vec![(1, 2), (3, 4)]);
    /// let second = MutexGuard::map(pairs.lock()?, |pairs| &mut pairs[1]);
    /// let mut four = MappedMutexGuard::map(second, |pair| &mut pair.1);
    /// *four = 5;
    /// drop(four);
    /// assert_eq!(*pairs.lock()?, [(1, 2), (3, 5)]);
    /// # Ok::<(), kettle::AcquireError>(())
    /// ```
    pub fn map<U: ?Sized>(guard: Self, part: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        MappedMutexGuard { hold: guard.hold.map(part) }
    }

    /// The holder that panicked before the lock came here, if the lock is one that recovers.
    pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
        guard.hold.recovered_from().map(OwnerDied::from)
    }
}

macro_rules! seen_through {
    ($($guard:ident $(: $unsized:tt)?),+) => {$(
        impl<T $(: $unsized Sized)?> Deref for $guard<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.hold
            }
        }

        impl<T $(: $unsized Sized)?> DerefMut for $guard<'_, T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.hold
            }
        }

        impl<T: $($unsized Sized +)? fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: $($unsized Sized +)? fmt::Display> fmt::Display for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )+};
}

seen_through!(MutexGuard, MappedMutexGuard: ?);
