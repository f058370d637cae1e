//! Snapshots of each primitive's counters: plain records, cheap to take.
//!
//! The fields are read one by one while other threads keep working, so they may be slightly inconsistent with each
//! other. Counts of waiters include threads that were killed while asleep.

use crate::sys::Owner;

/// Statistics of a lock, re-entrant or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockStatistics {
    /// The holder, alive or dead.
    pub owner: Option<Owner>,
    /// Whether the holder died with the lock held.
    pub broken: bool,
    /// Threads that are waiting for the lock.
    pub waiting: u32,
    /// Acquisitions that found the lock held.
    pub contended: u32,
    /// Holders that died with the lock held.
    pub owners_died: u32,
}

/// Statistics of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatistics {
    /// Permits that are available now.
    pub value: u32,
    /// The maximum number of permits.
    pub limit: u32,
    /// Threads that are waiting for a permit.
    pub waiting: u32,
    /// Permits recovered from processes that died.
    pub recovered: u32,
}

/// Statistics of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventStatistics {
    /// Whether the event is set.
    pub is_set: bool,
    /// Threads that are waiting for the event.
    pub waiting: u32,
}

/// Statistics of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConditionStatistics {
    /// Threads that are waiting.
    pub waiting: u32,
    /// Notifications sent so far.
    pub notified: u32,
}

/// Statistics of a lock for readers and writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RwLockStatistics {
    /// The writer, or the one that died with the lock.
    pub writer: Option<Owner>,
    /// Whether a writer died with the lock, which was not repaired since.
    pub broken: bool,
    /// Readers, including those whose processes have died since a writer last looked.
    pub readers: u32,
    /// Threads that are waiting for the lock.
    pub waiting: u32,
    /// How often a thread found another one at the gate.
    pub contended: u32,
}

/// Statistics of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierStatistics {
    /// Parties that complete a round.
    pub parties: u32,
    /// Parties that have arrived in this round.
    pub waiting: u32,
    /// Whether the barrier is broken.
    pub broken: bool,
    /// Rounds completed so far.
    pub rounds: u32,
}

/// Statistics of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatistics {
    /// Messages in the queue.
    pub size: u32,
    /// The capacity; 0 if unbounded.
    pub maxsize: u32,
    /// Messages put so far, modulo 2³².
    pub put: u32,
    /// Messages received so far, modulo 2³².
    pub got: u32,
    /// For a joinable queue: messages that are in the queue, or were received and not yet marked as done.
    pub unfinished: u32,
    /// Threads that are waiting for a message.
    pub getters_waiting: u32,
    /// Threads that are waiting for room.
    pub putters_waiting: u32,
    /// Whether the queue is shut down.
    pub shut_down: bool,
    /// Processes that died inside a put or a get.
    pub owners_died: u32,
    /// Bytes of shared memory held by the messages in the queue; 0 for a queue of in-process values.
    pub bytes: u64,
}
