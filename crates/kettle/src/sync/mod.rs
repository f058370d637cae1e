//! Locks and their kin, between processes.

mod barrier;
mod condition;
mod event;
mod lock;
mod rlock;
mod semaphore;

pub use barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use condition::{Condition, WaitError};
pub use event::Event;
pub use kettle_core::stats::{
    BarrierStatistics, ConditionStatistics, EventStatistics, LockStatistics, SemaphoreStatistics,
};
pub use kettle_core::sync::OnOwnerDeath;
pub use lock::{Lock, LockGuard};
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, Permit, ReleasedTooOften, Semaphore};

use kettle_core::sync::{Acquired, LockError};
use kettle_core::wait::Stopped;

use crate::error::{AcquireError, OwnerDied};

/// What the core says of a lock, in our words: on success, who died with it before.
fn acquired(result: Result<Acquired, LockError>) -> Result<Option<OwnerDied>, AcquireError> {
    match result {
        Ok(Acquired::Clean) => Ok(None),
        Ok(Acquired::FromDead(owner)) => Ok(Some(owner.into())),
        Err(LockError::OwnerDied(owner)) => Err(AcquireError::OwnerDied(owner.into())),
        Err(LockError::Stopped(Stopped::TimedOut | Stopped::Interrupted)) => Err(AcquireError::TimedOut),
    }
}

/// For waits without a time limit, which nothing interrupts.
fn only_death<T>(result: Result<T, AcquireError>) -> Result<T, OwnerDied> {
    match result {
        Ok(t) => Ok(t),
        Err(AcquireError::OwnerDied(e)) => Err(e),
        Err(AcquireError::TimedOut) => unreachable!("a wait without a limit does not run out of time"),
    }
}
