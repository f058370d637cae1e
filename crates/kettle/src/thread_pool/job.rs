//! Jobs that wait in line for the workers of a pool.

use std::sync::Arc;

use super::error::{Broken, SubmitError, TaskError};
use super::workers::{WorkerSlot, Workers};

/// One task or many; a worker takes and runs some at a time.
pub(super) trait Job: Send + Sync {
    /// Runs some of its tasks in the worker thread of this slot. If there are more, first puts the job into the line
    /// again.
    fn run(self: Arc<Self>, workers: &Arc<Workers>, slot: &Arc<WorkerSlot>);

    /// Fails all tasks that have not begun; they will not be run.
    fn refuse(&self, workers: &Workers, why: &Refusal);

    /// Fails the task `number`, which takes too long. Its later result is ignored.
    fn give_up(&self, workers: &Workers, number: u64);
}

/// Why a job in the line is not begun.
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
