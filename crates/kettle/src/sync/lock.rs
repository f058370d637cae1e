//! Locks that contain the value they protect.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::thread;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::stats::LockStatistics;
use kettle_core::sync::{self, Acquired, OnOwnerDeath, ResetError};
use kettle_core::wait::Patience;

use super::content;
use super::exclusive::{lock_methods, plain_lock_methods};
use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OutOfMemory, OwnerDied, SessionDamaged};
use crate::label::{Label, by_token_and_label};
use crate::plain::Plain;
use crate::queue::until;
use crate::sync::WaitError;

/// A value in shared memory that only one thread, of all threads of all processes, can access at a time.
///
/// ```
/// let tickets = kettle::Lock::new(10u32)?;
/// {
///     let mut left = tickets.acquire()?;
///     *left -= 1;
/// }
/// assert_eq!(*tickets.acquire()?, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// *All or nothing.* The guard works on a copy, and writes it back when it is dropped. A holder that panics, or is
/// killed before that, therefore leaves the value unchanged.
///
/// *Death.* If a process is killed while it holds the lock, the others do not wait forever: each `acquire` fails with
/// [`OwnerDied`] until the program calls [`reset`](Self::reset). With [`OnOwnerDeath::Recover`] the next `acquire`
/// succeeds, and [`LockGuard::recovered_from`] reports the death.
///
/// *Deadlocks* are detected; see [`deadlock`](crate::deadlock).
pub struct Lock<T: Plain = ()> {
    body: Handle<sync::Lock>,
    label: Label,
    value: PhantomData<fn(T) -> T>,
}

by_token_and_label!(Lock<T: Plain>, check = content::check::<_, T>);

impl<T: Plain> Lock<T> {
    /// Creates a free lock that contains `value`.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn new(value: T) -> Result<Self, OutOfMemory> {
        Self::with_policy(value, OnOwnerDeath::Raise)
    }

    /// As [`new`](Self::new), with the behaviour after the death of a holder.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn with_policy(value: T, on_owner_death: OnOwnerDeath) -> Result<Self, OutOfMemory> {
        let body = content::create(|| sync::Lock::new(on_owner_death), &value)?;
        Ok(Self::from_parts(body, Label::here()))
    }

    pub(super) fn from_parts(body: Handle<sync::Lock>, label: Label) -> Self {
        Self { body, label, value: PhantomData }
    }

    pub(crate) fn body(&self) -> &Handle<sync::Lock> {
        &self.body
    }

    pub(super) fn label(&self) -> &Label {
        &self.label
    }

    fn state(&self) -> &sync::Lock {
        &self.body
    }

    /// The lock is held: the guard, or none and the lock is left.
    fn guard(&self, death: Option<OwnerDied>) -> Option<LockGuard<'_, T>> {
        let guard = content::load(&self.body).map(|value| LockGuard::new(self, value, death));
        if guard.is_none() {
            let _ = self.body.release::<Processes>();
        }
        guard
    }

    #[inline]
    fn try_now(&self) -> Option<LockGuard<'_, T>> {
        if self.body.try_acquire_scoped::<Processes>() { self.guard(None) } else { None }
    }

    #[cold]
    fn wait_for(
        &self,
        patience: &Patience<'_>,
        place: &Location<'_>,
        insists: bool,
    ) -> Result<LockGuard<'_, T>, AcquireError> {
        let body: &sync::Lock = &self.body;
        let call = Call { holder: body.holder(), kind: "Lock", label: &self.label, reentrant: false, insists, place };
        match call.wait::<Processes, _>(patience, |patience| body.acquire_scoped::<Processes>(patience))? {
            Acquired::Clean => self.guard(None),
            Acquired::FromDead(owner) => self.guard(Some(owner.into())),
        }
        .ok_or_else(|| AcquireError::Damaged(SessionDamaged::found()))
    }
}

lock_methods!(
    Lock<T: Plain>,
    guard = LockGuard<'_, T>,
    reset = |this| this.body.reset::<Processes>(),
    when = "free",
);
plain_lock_methods!(
    Lock<T: Plain>,
    guard = LockGuard<'_, T>,
    home = Processes,
    unscope = |guard| guard.lock.body.unscope(),
);

/// Exclusive access to the value of a [`Lock`]. Dropping it writes the value back and releases the lock.
///
/// A guard that is dropped by a panic leaves the value unchanged.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct LockGuard<'a, T: Plain> {
    lock: &'a Lock<T>,
    value: T,
    is_changed: bool,
    was_panicking: bool,
    death: Option<OwnerDied>,
}

impl<'a, T: Plain> LockGuard<'a, T> {
    fn new(lock: &'a Lock<T>, value: T, death: Option<OwnerDied>) -> Self {
        Self { lock, value, is_changed: false, was_panicking: thread::panicking(), death }
    }

    /// Returns the previous holder if it died with the lock and the lock recovers from that.
    pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
        guard.death
    }

    pub(super) fn lock(guard: &Self) -> &'a Lock<T> {
        guard.lock
    }
}

impl<T: Plain> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Plain> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.is_changed = true;
        &mut self.value
    }
}

impl<T: Plain> Drop for LockGuard<'_, T> {
    fn drop(&mut self) {
        let is_half_done = thread::panicking() && !self.was_panicking;
        if self.is_changed && !is_half_done {
            content::store(&self.lock.body, &self.value);
        }
        // The lock may already be free, because another thread released it, for example from Python.
        let _ = self.lock.body.release::<Processes>();
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Plain + fmt::Display> fmt::Display for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
