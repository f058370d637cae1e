//! The outcomes of a pool's tasks, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// The current state of a pool, and the outcomes of its tasks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Workers that are running or starting. While worker threads wait for tasks of their own pool, this may exceed the
    /// requested number.
    pub workers: usize,
    /// How many of them have something to do.
    pub busy: usize,
    /// Tasks that have no outcome yet.
    pub queued: u64,
    /// Tasks that returned.
    pub done: u64,
    /// Tasks that panicked, or whose arguments or result could not be transferred to or from a process.
    pub failed: u64,
    /// Tasks that were lost because their worker process died.
    pub died: u64,
    /// The number of times a task was started again: after its worker process died or, in a thread, after a panic.
    pub retried: u64,
    /// Tasks that exceeded their time limit.
    pub timed_out: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Worker processes that ended although the pool did not end them: they were killed, crashed, or called `exit`, while
    /// they ran a task or had none. Stays zero in a pool of threads.
    pub workers_lost: u64,
}

/// The counts that a pool keeps. See [`Statistics`].
#[derive(Debug, Default)]
pub struct Counts {
    pub queued: AtomicU64,
    pub done: AtomicU64,
    pub failed: AtomicU64,
    pub died: AtomicU64,
    pub retried: AtomicU64,
    pub timed_out: AtomicU64,
    pub cancelled: AtomicU64,
    pub workers_lost: AtomicU64,
}

impl Counts {
    /// Moves `tasks` tasks from the queued ones to the counter `at`.
    pub fn settle(&self, at: &AtomicU64, tasks: u64) {
        if tasks > 0 {
            self.queued.fetch_sub(tasks, Ordering::Relaxed);
            at.fetch_add(tasks, Ordering::Relaxed);
        }
    }

    /// Returns the counts, together with the number of workers and of busy ones.
    pub fn statistics(&self, workers: usize, busy: usize) -> Statistics {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self { queued, done, failed, died, retried, timed_out, cancelled, workers_lost } = self;
        Statistics {
            workers,
            busy,
            queued: of(queued),
            done: of(done),
            failed: of(failed),
            died: of(died),
            retried: of(retried),
            timed_out: of(timed_out),
            cancelled: of(cancelled),
            workers_lost: of(workers_lost),
        }
    }
}
