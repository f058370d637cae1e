//! What became of the tasks of a pool so far.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Statistics;
use super::error::TaskError;

#[derive(Default)]
pub(super) struct Counts {
    pub(super) queued: AtomicU64,
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) cancelled: AtomicU64,
}

impl Counts {
    /// The count that this failure belongs to.
    pub(super) fn of(&self, failure: &TaskError) -> &AtomicU64 {
        match failure {
            TaskError::Panicked(_) => &self.failed,
            TaskError::TimedOut { .. } => &self.timed_out,
            TaskError::Cancelled { .. } | TaskError::Refused(_) => &self.cancelled,
        }
    }

    /// So many tasks have an outcome.
    pub(super) fn settle(&self, of: &AtomicU64, tasks: u64) {
        if tasks > 0 {
            self.queued.fetch_sub(tasks, Ordering::Relaxed);
            of.fetch_add(tasks, Ordering::Relaxed);
        }
    }

    /// With how many workers there are, and how many of them are busy.
    pub(super) fn statistics(&self, (workers, busy): (usize, usize)) -> Statistics {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self { queued, done, failed, retried, timed_out, cancelled } = self;
        Statistics {
            workers,
            busy,
            queued: of(queued),
            done: of(done),
            failed: of(failed),
            retried: of(retried),
            timed_out: of(timed_out),
            cancelled: of(cancelled),
        }
    }
}
