//! Tasks that may take only so long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::job::Job;
use super::workers::{WorkerSlot, Workers};
use crate::pool::scheduler::Blocking;

/// A task that runs and may take only so long.
pub(super) struct Limited {
    pub(super) job: Arc<dyn Job>,
    /// Which one of the job's.
    pub(super) number: u64,
    pub(super) slot: Arc<WorkerSlot>,
}

impl Workers {
    /// Has a thread watch the time of tasks.
    pub(super) fn watch_timeouts(self: &Arc<Self>) -> io::Result<()> {
        self.timeouts.watch(Blocking, || {
            let workers = Arc::clone(self);
            thread::Builder::new()
                .name(format!("{}-watch", self.options.name))
                .spawn(move || workers.give_up_late())
                .map(drop)
        })
    }

    /// The life of that thread: until the pool is over.
    fn give_up_late(self: Arc<Self>) {
        // A worker is not abandoned twice, should it be in the middle of several tasks, one of which waits for another.
        let seize = |task: &Limited| !task.slot.is_abandoned.swap(true, Ordering::SeqCst);
        while let Some((task, is_first)) = self.timeouts.next_late(Blocking, || self.gone.is_done(), seize) {
            task.job.give_up(&self, task.number);
            if is_first {
                self.abandon(&task.slot);
            }
        }
    }
}
