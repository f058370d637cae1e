//! What became of the tasks of a pool so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a pool is, and what it did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Workers that are there or about to be. While some threads wait for tasks of their own pool, there may be more than
    /// were asked for.
    pub workers: usize,
    /// Those of them with something to do.
    pub busy: usize,
    /// Tasks that have no outcome yet.
    pub queued: u64,
    /// Tasks that returned.
    pub done: u64,
    /// Tasks that panicked, or whose arguments or result did not survive the way to a process or back.
    pub failed: u64,
    /// Tasks that were lost with their worker, a process.
    pub died: u64,
    /// How often a task was begun once more: after its worker had died, or, in a thread, after a panic.
    pub retried: u64,
    /// Tasks that took longer than they might.
    pub timed_out: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
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
}

impl Counts {
    /// So many tasks have an outcome, which is counted there.
    pub fn settle(&self, at: &AtomicU64, tasks: u64) {
        if tasks > 0 {
            self.queued.fetch_sub(tasks, Ordering::Relaxed);
            at.fetch_add(tasks, Ordering::Relaxed);
        }
    }

    /// With so many workers, so many of which are busy.
    pub fn statistics(&self, workers: usize, busy: usize) -> Statistics {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self { queued, done, failed, died, retried, timed_out, cancelled } = self;
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
        }
    }
}
