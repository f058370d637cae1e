//! Mutual exclusion around a value.

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::stats::LockStatistics;
use kettle_core::sync::{Guarded, OnOwnerDeath, ResetError};
use kettle_core::wait::Patience;

use super::mutex::{Mutex, MutexGuard};
use crate::error::{AcquireError, HeldByTheLiving, OwnerDied};
use crate::label::Label;
use crate::queue::until;
use crate::sync::lock_methods;

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
    body: Arc<Mutex<T>>,
}

/// The right to the value of a [`Lock`]; dropping it frees the lock.
pub type LockGuard<'a, T = ()> = MutexGuard<'a, T>;

impl<T: Default> Default for Lock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::from(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    /// A lock around this value, as [`new`](Self::new) makes one.
    #[track_caller]
    fn from(value: T) -> Self {
        let Ok(lock) = Self::new(value);
        lock
    }
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
        Ok(Self { body: Arc::new(Mutex::of_kind("Lock", value, on_owner_death)) })
    }

    /// Takes the value out, if this is the last handle to the lock.
    ///
    /// ```
    /// let Ok(lock) = kettle::threads::Lock::new(vec![1, 2]);
    /// let other = lock.clone();
    /// let lock = lock.into_inner().unwrap_err(); // there is another handle
    /// drop(other);
    /// assert_eq!(lock.into_inner().expect("the last handle")?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The handle, if there are others. The inner error: a holder panicked and broke the lock; see
    /// [`Mutex::into_inner`].
    pub fn into_inner(self) -> Result<Result<T, OwnerDied>, Self> {
        Arc::try_unwrap(self.body).map(Mutex::into_inner).map_err(|body| Self { body })
    }

    pub(crate) fn guarded(&self) -> &Guarded<T> {
        self.body.guarded()
    }

    fn label(&self) -> &Label {
        self.body.label()
    }

    fn state(&self) -> &Guarded<T> {
        self.body.guarded()
    }

    #[inline]
    fn try_now(&self) -> Option<LockGuard<'_, T>> {
        self.body.try_now()
    }

    #[cold]
    fn wait_for(
        &self,
        patience: &Patience<'_>,
        place: &Location<'_>,
        insists: bool,
    ) -> Result<LockGuard<'_, T>, AcquireError> {
        self.body.wait_for(patience, place, insists)
    }
}

lock_methods!(
    Lock<T>,
    guard = LockGuard<'_, T>,
    reset = |this| this.body.guarded().reset(),
    when = "free",
);

impl<T> Lock<T> {
    /// Takes the lock, waiting until it is free without blocking the thread. If the future is dropped before it is
    /// ready, the lock was not taken.
    ///
    /// # Errors
    /// If its holder died with it.
    #[cfg(feature = "tokio")]
    pub async fn acquire_async(&self) -> Result<LockGuard<'_, T>, AcquireError> {
        self.body.acquire_async().await
    }

    /// As [`acquire_async`](Self::acquire_async), by the name that it has elsewhere in Rust.
    ///
    /// # Errors
    /// If its holder died with it.
    #[cfg(feature = "tokio")]
    pub async fn lock_async(&self) -> Result<LockGuard<'_, T>, AcquireError> {
        self.body.acquire_async().await
    }
}

impl<T> Clone for Lock<T> {
    /// Another handle to the same lock.
    fn clone(&self) -> Self {
        Self { body: Arc::clone(&self.body) }
    }
}
