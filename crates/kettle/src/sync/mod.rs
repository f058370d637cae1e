//! Synchronisation primitives between processes.

mod barrier;
mod condition;
mod content;
mod event;
mod exclusive;
mod lock;
mod once;
mod rlock;
mod rw_methods;
mod rwlock;
mod semaphore;

pub use barrier::{Barrier, BarrierError, BarrierWaitResult};
pub use condition::{Condition, WaitError};
pub use event::Event;
pub use kettle_core::stats::{
    BarrierStatistics, ConditionStatistics, EventStatistics, LockStatistics, RwLockStatistics, SemaphoreStatistics,
};
pub use kettle_core::sync::OnOwnerDeath;
pub use lock::{Lock, LockGuard};
pub use once::{Once, OnceLock};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, Permit, ReleasedTooOften, Semaphore};

#[cfg(feature = "tokio")]
pub(crate) use barrier::Party;
pub(crate) use barrier::barrier_methods;
pub(crate) use condition::condition_methods;
pub(crate) use event::event_methods;
pub(crate) use exclusive::{lock_methods, plain_lock_methods};
pub(crate) use rw_methods::{pass_async, rw_lock_methods};
pub(crate) use semaphore::{permit, semaphore_methods};
