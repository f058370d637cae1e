//! Re-entrant locks.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::stats::LockStatistics;
use kettle_core::sync::{self, Acquired, OnOwnerDeath, ResetError};
use kettle_core::wait::Patience;

use super::exclusive::lock_methods;
use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OutOfMemory, OwnerDied};
use crate::label::{Label, by_token_and_label};
use crate::queue::until;
use crate::session;

/// A lock for the threads of all processes, which the thread that holds it can acquire again.
///
/// It contains no value, because two guards of one thread would have two copies of it. The death of a holder has the
/// same consequences as for a [`Lock`](crate::Lock).
///
/// ```
/// let lock = kettle::RLock::new()?;
/// let outer = lock.acquire()?;
/// let inner = lock.acquire()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Only the holder can release it. Threads that wait for each other's `RLock`s would therefore wait forever, so one of
/// them gets an error; see [`deadlock`](crate::deadlock).
pub struct RLock {
    body: Handle<sync::ReentrantLock>,
    label: Label,
}

by_token_and_label!(RLock);

impl RLock {
    /// Creates a free lock.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn new() -> Result<Self, OutOfMemory> {
        Self::with_policy(OnOwnerDeath::Raise)
    }

    /// As [`new`](Self::new), with the behaviour after the death of a holder.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn with_policy(on_owner_death: OnOwnerDeath) -> Result<Self, OutOfMemory> {
        session::join()?;
        Ok(Self::from_parts(Handle::new(|| sync::ReentrantLock::new(on_owner_death))?, Label::here()))
    }

    fn from_parts(body: Handle<sync::ReentrantLock>, label: Label) -> Self {
        Self { body, label }
    }

    fn label(&self) -> &Label {
        &self.label
    }

    fn state(&self) -> &sync::Lock {
        self.body.lock()
    }

    #[inline]
    fn try_now(&self) -> Option<RLockGuard<'_>> {
        self.body.try_acquire_now::<Processes>().then(|| RLockGuard::new(self, None))
    }

    #[cold]
    fn wait_for(
        &self,
        patience: &Patience<'_>,
        place: &Location<'_>,
        insists: bool,
    ) -> Result<RLockGuard<'_>, AcquireError> {
        let body: &sync::ReentrantLock = &self.body;
        let call = Call { holder: body.holder(), kind: "RLock", label: &self.label, reentrant: true, insists, place };
        match call.wait::<Processes, _>(patience, |patience| body.acquire::<Processes>(patience))? {
            Acquired::Clean => Ok(RLockGuard::new(self, None)),
            Acquired::FromDead(owner) => Ok(RLockGuard::new(self, Some(owner.into()))),
        }
    }
}

lock_methods!(
    RLock,
    guard = RLockGuard<'_>,
    reset = |this| this.body.reset::<Processes>(),
    when = "free or this thread's",
);

/// One acquisition of an [`RLock`]. Dropping it releases the lock once. It cannot be sent to another thread.
#[must_use = "the lock is left again as soon as its guard is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    death: Option<OwnerDied>,
    /// Not `Send`: only the thread that acquired the lock may release it.
    same_thread: PhantomData<*const ()>,
}

impl<'a> RLockGuard<'a> {
    fn new(lock: &'a RLock, death: Option<OwnerDied>) -> Self {
        Self { lock, death, same_thread: PhantomData }
    }

    /// Returns the previous holder if it died with the lock and the lock recovers from that.
    pub fn recovered_from(&self) -> Option<OwnerDied> {
        self.death
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        // It is this thread's, unless a process of another kind broke the rules.
        let _ = self.lock.body.release::<Processes>();
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").field("recovered_from", &self.death).finish_non_exhaustive()
    }
}
