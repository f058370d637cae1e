//! What stands in line for the workers of a pool.

use std::sync::Arc;

use super::error::{Broken, SubmitError, TaskError};
use super::workers::{WorkerSlot, Workers};

/// One task or many, some of which a worker takes and does at a time.
pub(super) trait Job: Send + Sync {
    /// Does some of it, in the thread that has this seat. If there is more, it stands in line again before that.
    fn run(self: Arc<Self>, workers: &Arc<Workers>, slot: &Arc<WorkerSlot>);

    /// Gives an outcome to whatever of it was not begun: it will not be.
    fn refuse(&self, workers: &Workers, why: &Refusal);

    /// Gives an outcome to the task `number`, which takes too long. Nobody hears what comes of it later.
    fn give_up(&self, workers: &Workers, number: u64);
}

/// Why what stood in line is not begun.
pub(super) enum Refusal {
    Terminated,
    Broken(Broken),
}

impl Refusal {
    pub(super) fn of(&self, task: &'static str) -> TaskError {
        match self {
            Self::Terminated => TaskError::Cancelled { task },
            Self::Broken(broken) => TaskError::Refused(SubmitError::Broken(broken.clone())),
        }
    }
}
