//! The lock that its holder may take again.

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::stats::LockStatistics;
use kettle_core::sync::{Heap, OnOwnerDeath, ReentrantGuarded, ReentrantHold, ResetError};
use kettle_core::wait::Patience;

use super::value::around_a_value;
use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OwnerDied};
use crate::label::Label;
use crate::queue::until;
use crate::sync::lock_methods;

/// Mutual exclusion between threads, which the thread that holds it may take again.
///
/// Around a value, it gives `&T` alone, since its holder may have several guards; a `Cell` or `RefCell` in it can be
/// changed all the same. Like that of a [`Lock`](super::Lock), a holder that panics breaks it.
///
/// ```
/// use std::cell::Cell;
///
/// use kettle::threads::RLock;
///
/// let Ok(depth) = RLock::around(Cell::new(0));
/// fn descend(depth: &RLock<Cell<u32>>) -> Result<(), kettle::AcquireError> {
///     let here = depth.acquire()?;
///     here.set(here.get() + 1);
///     if here.get() < 3 { descend(depth) } else { Ok(()) }
/// }
/// descend(&depth)?;
/// assert_eq!(depth.acquire()?.get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Only its holder may leave it. So threads that wait for each other's `RLock`s wait for ever, and one of them is told
/// so by an error; see [`deadlock`](crate::deadlock).
pub struct RLock<T = ()> {
    body: Arc<Body<T>>,
}

struct Body<T> {
    guarded: ReentrantGuarded<T>,
    label: Label,
}

impl RLock {
    /// A free lock.
    ///
    /// # Errors
    /// Never.
    #[track_caller]
    pub fn new() -> Result<Self, Infallible> {
        Self::with_policy(OnOwnerDeath::Raise)
    }

    /// The same, and what is to happen when its holder panics.
    ///
    /// # Errors
    /// Never.
    #[track_caller]
    pub fn with_policy(on_owner_death: OnOwnerDeath) -> Result<Self, Infallible> {
        Self::make((), on_owner_death)
    }
}

impl<T> RLock<T> {
    /// A free lock around `value`.
    ///
    /// # Errors
    /// Never.
    #[track_caller]
    pub fn around(value: T) -> Result<Self, Infallible> {
        Self::make(value, OnOwnerDeath::Raise)
    }

    #[track_caller]
    fn make(value: T, on_owner_death: OnOwnerDeath) -> Result<Self, Infallible> {
        let (guarded, label) = (ReentrantGuarded::new(value, on_owner_death), Label::here());
        Ok(Self { body: Arc::new(Body { guarded, label }) })
    }

    fn label(&self) -> &Label {
        &self.body.label
    }

    fn state(&self) -> &ReentrantGuarded<T> {
        &self.body.guarded
    }

    #[inline]
    fn try_now(&self) -> Option<RLockGuard<'_, T>> {
        self.body.guarded.try_acquire_now().map(|hold| RLockGuard { hold })
    }

    #[cold]
    fn wait_for(
        &self,
        patience: &Patience<'_>,
        place: &Location<'_>,
        insists: bool,
    ) -> Result<RLockGuard<'_, T>, AcquireError> {
        let Body { guarded, label } = &*self.body;
        let call = Call { holder: guarded.holder(), kind: "RLock", label, reentrant: true, insists, place };
        let hold = call.wait::<Heap, _>(patience, |patience| guarded.acquire(patience))?;
        Ok(RLockGuard { hold })
    }
}

lock_methods!(
    RLock<T>,
    guard = RLockGuard<'_, T>,
    reset = |this| this.body.guarded.reset(),
    when = "free or this thread's",
);
around_a_value!(RLock, RLockGuard);

/// One hold of an [`RLock`]. It stays with its thread.
#[must_use = "the lock is left again as soon as its guard is dropped"]
pub struct RLockGuard<'a, T = ()> {
    hold: ReentrantHold<'a, T>,
}
