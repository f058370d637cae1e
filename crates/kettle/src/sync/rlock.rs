//! The lock that its holder may take again.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

use kettle_core::arena::{Handle, participants};
use kettle_core::deadlock::Wanted;
use kettle_core::shared::Processes;
use kettle_core::stats::LockStatistics;
use kettle_core::sync::{self, OnOwnerDeath};
use kettle_core::wait::Patience;

use super::{acquired, only_death};
use crate::codec::by_token;
use crate::deadlock;
use crate::error::{AcquireError, HeldByTheLiving, OutOfMemory, OwnerDied};
use crate::queue::until;
use crate::session;

/// Mutual exclusion between threads of all processes, which the thread that holds it may take again.
///
/// It protects no value of its own: two guards of one thread would have two copies of it. What has been said of death
/// at [`Lock`](crate::Lock) holds here too.
///
/// ```
/// let lock = kettle::RLock::new()?;
/// let outer = lock.acquire()?;
/// let inner = lock.acquire()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RLock {
    body: Handle<sync::ReentrantLock>,
}

by_token!(RLock);

impl RLock {
    /// A free lock.
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn new() -> Result<Self, OutOfMemory> {
        Self::with_policy(OnOwnerDeath::Raise)
    }

    /// The same, and what is to happen when its holder dies.
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn with_policy(on_owner_death: OnOwnerDeath) -> Result<Self, OutOfMemory> {
        session::join()?;
        Ok(Self::from_body(Handle::new(|| sync::ReentrantLock::new(on_owner_death))?))
    }

    fn from_body(body: Handle<sync::ReentrantLock>) -> Self {
        Self { body }
    }

    #[track_caller]
    fn acquire_with(&self, patience: &Patience<'_>) -> Result<RLockGuard<'_>, AcquireError> {
        let body = &self.body;
        if body.try_acquire_now::<Processes>() {
            return Ok(RLockGuard { lock: self, death: None, same_thread: PhantomData });
        }
        let wanted = Wanted { lock: body.lock(), reentrant: true, insists: true };
        let acquire = |p: &Patience<'_>| body.acquire::<Processes>(p);
        let death = acquired(deadlock::acquire(body, ("RLock", wanted), patience, Location::caller(), acquire))?;
        Ok(RLockGuard { lock: self, death, same_thread: PhantomData })
    }

    /// Waits until the lock is free or this thread's, and takes it.
    ///
    /// # Errors
    /// When its holder died with it.
    #[track_caller]
    pub fn acquire(&self) -> Result<RLockGuard<'_>, OwnerDied> {
        only_death(self.acquire_with(&Patience::forever()))
    }

    /// Takes the lock if it is free or this thread's now.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn try_acquire(&self) -> Result<RLockGuard<'_>, AcquireError> {
        self.acquire_with(&Patience::none())
    }

    /// Waits for so long until the lock is free or this thread's, and takes it.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_>, AcquireError> {
        self.acquire_with(&until(timeout))
    }

    /// Makes a lock free again whose holder died. Nothing if it is free.
    ///
    /// # Errors
    /// When its holder lives.
    pub fn reset(&self) -> Result<(), HeldByTheLiving> {
        let living = |e: sync::ResetError| HeldByTheLiving { pid: participants::pid_of(e.0) };
        self.body.reset::<Processes>().map_err(living)
    }

    /// Whether somebody holds it, or died with it.
    pub fn is_locked(&self) -> bool {
        self.body.owner().is_some()
    }

    /// How it is.
    pub fn statistics(&self) -> LockStatistics {
        self.body.lock().statistics()
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

/// One hold of an [`RLock`]. It stays with its thread.
#[must_use = "the lock is left again as soon as its guard is dropped"]
#[derive(Debug)]
pub struct RLockGuard<'a> {
    lock: &'a RLock,
    death: Option<OwnerDied>,
    /// Only the thread that took the lock may leave it.
    same_thread: PhantomData<*const ()>,
}

impl RLockGuard<'_> {
    /// The holder that died with the lock before it came here, if the lock is one that recovers.
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
