//! Mutual exclusion around a value.

use std::convert::Infallible;
use std::fmt;
use std::ops::DerefMut;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::stats::LockStatistics;
use kettle_core::sync::{Guarded, Heap, Hold, OnOwnerDeath, ResetError};
use kettle_core::wait::Patience;

use super::value::around_a_value;
use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OwnerDied};
use crate::label::Label;
use crate::queue::until;
use crate::sync::{WaitError, lock_methods, plain_lock_methods};

/// A value that one thread at a time may look at and change.
///
/// ```
/// use std::collections::HashMap;
///
/// use kettle::threads::Lock;
///
/// let Ok(prices) = Lock::new(HashMap::new());
/// std::thread::scope(|scope| {
///     scope.spawn(|| prices.acquire().expect("no holder panicked").insert("bread", 3));
///     scope.spawn(|| prices.acquire().expect("no holder panicked").insert("milk", 1));
/// });
/// assert_eq!(prices.acquire()?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The guard is a reference to the value itself. So a holder that panics may leave it half changed, and breaks the
/// lock: see [the module](super#a-holder-that-panics).
///
/// ```
/// use kettle::threads::Lock;
///
/// let Ok(pair) = Lock::new((1, -1));
/// let panicked = std::panic::catch_unwind(|| {
///     let mut pair = pair.acquire().expect("it is free");
///     pair.0 = 2;
///     panic!("half way");
/// });
/// assert!(panicked.is_err());
/// assert!(pair.acquire().unwrap_err().to_string().contains("panicked while it held this lock"));
/// pair.reset()?;
/// *pair.acquire()? = (1, -1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Lock<T = ()> {
    body: Arc<Body<T>>,
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::from(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    /// A lock around this value, as [`new`](Self::new) makes one.
    fn from(value: T) -> Self {
        let Ok(lock) = Self::new(value);
        lock
    }
}

struct Body<T> {
    guarded: Guarded<T>,
    label: Label,
}

impl<T> Lock<T> {
    /// A free lock around `value`.
    ///
    /// # Errors
    /// Never.
    #[track_caller]
    pub fn new(value: T) -> Result<Self, Infallible> {
        Self::with_policy(value, OnOwnerDeath::Raise)
    }

    /// The same, and what is to happen when its holder panics.
    ///
    /// # Errors
    /// Never.
    #[track_caller]
    pub fn with_policy(value: T, on_owner_death: OnOwnerDeath) -> Result<Self, Infallible> {
        let (guarded, label) = (Guarded::new(value, on_owner_death), Label::here());
        Ok(Self { body: Arc::new(Body { guarded, label }) })
    }

    pub(crate) fn guarded(&self) -> &Guarded<T> {
        &self.body.guarded
    }

    fn label(&self) -> &Label {
        &self.body.label
    }

    fn state(&self) -> &Guarded<T> {
        &self.body.guarded
    }
}

impl<T> Lock<T> {
    #[inline]
    fn try_now(&self) -> Option<LockGuard<'_, T>> {
        self.body.guarded.try_acquire_now().map(|hold| LockGuard { lock: self, hold })
    }

    #[cold]
    fn wait_for(
        &self,
        patience: &Patience<'_>,
        place: &Location<'_>,
        insists: bool,
    ) -> Result<LockGuard<'_, T>, AcquireError> {
        let Body { guarded, label } = &*self.body;
        let call = Call { holder: guarded.holder(), kind: "Lock", label, reentrant: false, insists, place };
        let hold = call.wait::<Heap, _>(patience, |patience| guarded.acquire(patience))?;
        Ok(LockGuard { lock: self, hold })
    }
}

lock_methods!(
    Lock<T>,
    guard = LockGuard<'_, T>,
    reset = |this| this.body.guarded.reset(),
    when = "free",
);
plain_lock_methods!(
    Lock<T>,
    guard = LockGuard<'_, T>,
    home = Heap,
    unscope = |guard| guard.hold.unscope(),
);
around_a_value!(Lock, LockGuard);

/// The right to the value of a [`Lock`]; dropping it frees the lock.
///
/// It may go to another thread. A report of a deadlock names the thread that took the lock all the same.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
    hold: Hold<'a, T>,
}

impl<'a, T> LockGuard<'a, T> {
    pub(super) fn lock(guard: &Self) -> &'a Lock<T> {
        guard.lock
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.hold
    }
}
