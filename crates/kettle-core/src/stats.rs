//! What each primitive tells about itself: frozen records, cheap to make.
//!
//! The numbers are read one after another while others go on, so they need not fit together to the last unit. Counts
//! of waiters include those that were killed asleep.

use crate::sys::Owner;

/// Of a lock, re-entrant or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockStatistics {
    /// Who holds it, or died with it.
    pub owner: Option<Owner>,
    /// Whether its holder died with it.
    pub broken: bool,
    /// How many wait for it.
    pub waiting: u32,
    /// How often somebody found it taken.
    pub contended: u32,
    /// How many holders died with it.
    pub owners_died: u32,
}

/// Of a semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SemaphoreStatistics {
    /// Permits that can be taken now.
    pub value: u32,
    /// The most there can be.
    pub limit: u32,
    /// How many wait for one.
    pub waiting: u32,
    /// Permits that came back from processes that died.
    pub recovered: u32,
}

/// Of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventStatistics {
    /// Whether it is set.
    pub is_set: bool,
    /// How many wait for that.
    pub waiting: u32,
}

/// Of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionStatistics {
    /// How many wait.
    pub waiting: u32,
    /// How many notifications were given.
    pub notified: u32,
}

/// Of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierStatistics {
    /// How many must come.
    pub parties: u32,
    /// How many have come.
    pub waiting: u32,
    /// Whether it is broken.
    pub broken: bool,
    /// How many rounds have ended.
    pub rounds: u32,
}

/// Of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Messages inside.
    pub size: u32,
    /// The bound, 0 for none.
    pub maxsize: u32,
    /// Messages ever put, modulo 2³².
    pub put: u32,
    /// Messages ever got, modulo 2³².
    pub got: u32,
    /// Of a joinable queue: messages inside, or got and not done with.
    pub unfinished: u32,
    /// How many wait for a message.
    pub getters_waiting: u32,
    /// How many wait for room.
    pub putters_waiting: u32,
    /// Whether it was shut down.
    pub shut_down: bool,
    /// How many processes died inside a put or a get.
    pub owners_died: u32,
    /// How many bytes wait inside, of shared memory: 0 for a queue of values, which stay where they are.
    pub bytes: u64,
}
