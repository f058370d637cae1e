//! The number of a pool's workers, and the line of jobs for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::{Broken, SubmitError};
use super::job::{Job, Refusal};
use crate::pool::scheduler::{Blocking, Lifecycle};

/// The maximum number of workers started in place of those that wait for tasks. More waiting workers cannot block the
/// pool: a worker that waits for a task that has not begun runs it itself.
const SPARE: usize = 64;

pub(super) struct Roster {
    pub(super) line: VecDeque<Arc<dyn Job>>,
    /// Workers that belong to the pool, whatever they are doing.
    pub(super) present: usize,
    /// Workers that are running a job.
    pub(super) busy: usize,
    /// Busy workers that wait for another task.
    pub(super) away: usize,
    /// The requested number of workers that are not away.
    size: usize,
}

/// What a worker does next.
pub(super) enum Next {
    Work(Arc<dyn Job>),
    Rest,
    Leave,
}

impl Roster {
    /// Creates a roster without workers.
    pub(super) fn new(size: usize) -> Self {
        Self { line: VecDeque::new(), present: 0, busy: 0, away: 0, size }
    }

    /// Adds the workers that are to be started now, and returns their number.
    pub(super) fn expect(&mut self, life: &Lifecycle<Broken>) -> usize {
        let vacancies = self.vacancies(life);
        self.present += vacancies;
        vacancies
    }

    fn vacancies(&self, life: &Lifecycle<Broken>) -> usize {
        if life.is_over() {
            return 0;
        }
        if life.is_running() && self.present < self.size {
            return self.size - self.present;
        }
        let has_room = self.present - self.away < self.size && self.present < self.size + SPARE;
        usize::from(has_room && self.line.len() > self.present - self.busy)
    }

    /// Decides what a worker that is not busy does next.
    pub(super) fn next(&mut self, life: &Lifecycle<Broken>) -> Next {
        let has_room = self.present - self.away <= self.size;
        let is_wanted = has_room && !life.is_broken() && life.needs_workers(|| !self.line.is_empty());
        if !is_wanted {
            // Removed here, so that no other worker considers itself surplus as well.
            self.present -= 1;
            return Next::Leave;
        }
        match self.line.pop_front() {
            Some(job) => {
                self.busy += 1;
                Next::Work(job)
            }
            None => Next::Rest,
        }
    }
}

/// Checks that new tasks are accepted.
pub(super) fn admit(life: &Lifecycle<Broken>) -> Result<(), SubmitError> {
    match life.reason(Blocking, Broken::clone) {
        Some(broken) => Err(SubmitError::Broken(broken)),
        None if life.is_running() => Ok(()),
        None => Err(SubmitError::Closed),
    }
}

/// The reason for which no further task begins, if there is one.
pub(super) fn refusal(life: &Lifecycle<Broken>) -> Option<Refusal> {
    match life.reason(Blocking, Broken::clone) {
        Some(broken) => Some(Refusal::Broken(broken)),
        None => life.is_terminated().then_some(Refusal::Terminated),
    }
}
