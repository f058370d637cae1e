//! Tasks with a time limit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::job::Job;
use super::workers::{WorkerSlot, Workers};
use crate::pool::scheduler::Blocking;

/// A running task with a time limit.
pub(super) struct Limited {
    pub(super) job: Arc<dyn Job>,
    /// The number of the task in its job.
    pub(super) number: u64,
    pub(super) slot: Arc<WorkerSlot>,
}

impl Workers {
    /// Starts the watchdog unless it is running.
    pub(super) fn watch_timeouts(self: &Arc<Self>) -> io::Result<()> {
        self.timeouts.watch(Blocking, || {
            let workers = Arc::clone(self);
            thread::Builder::new()
                .name(format!("{}-watch", self.options.name))
                .spawn(move || workers.give_up_late())
                .map(drop)
        })
    }

    /// The watchdog's loop, until the pool is over.
    fn give_up_late(self: Arc<Self>) {
        // A worker may be running several tasks, where one waits for another; it is abandoned only once.
        let seize = |task: &Limited| !task.slot.is_abandoned.swap(true, Ordering::SeqCst);
        while let Some((task, is_first)) = self.timeouts.next_late(Blocking, || self.gone.is_done(), seize) {
            task.job.give_up(&self, task.number);
            if is_first {
                self.abandon(&task.slot);
            }
        }
    }
}
