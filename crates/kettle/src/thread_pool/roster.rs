//! How many workers a pool has, and which jobs stand in line for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::{Broken, SubmitError};
use super::job::{Job, Refusal};
use crate::pool::scheduler::{Blocking, Lifecycle};

/// The most workers that are started in the place of others that wait for tasks. Where more wait, none is lost for good: a
/// worker that waits for a task runs it itself if it has not begun.
const SPARE: usize = 64;

pub(super) struct Roster {
    pub(super) line: VecDeque<Arc<dyn Job>>,
    /// Workers that belong to the pool, whatever they do.
    pub(super) present: usize,
    /// Those of them that are at a job.
    pub(super) busy: usize,
    /// Those of the busy that wait for another task.
    pub(super) away: usize,
    /// How many are to be there that are not away.
    size: usize,
}

/// What a worker does next.
pub(super) enum Next {
    Work(Arc<dyn Job>),
    Rest,
    Leave,
}

impl Roster {
    /// Without workers yet.
    pub(super) fn new(size: usize) -> Self {
        Self { line: VecDeque::new(), present: 0, busy: 0, away: 0, size }
    }

    /// Counts those in that are to be started now, and returns how many they are.
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

    /// What a worker does next that is not busy.
    pub(super) fn next(&mut self, life: &Lifecycle<Broken>) -> Next {
        let has_room = self.present - self.away <= self.size;
        let is_wanted = has_room && !life.is_broken() && life.needs_workers(|| !self.line.is_empty());
        if !is_wanted {
            // Here, so that no other one thinks that it is one too many, too.
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

/// Whether new tasks are taken in.
pub(super) fn admit(life: &Lifecycle<Broken>) -> Result<(), SubmitError> {
    match life.reason(Blocking, Broken::clone) {
        Some(broken) => Err(SubmitError::Broken(broken)),
        None if life.is_running() => Ok(()),
        None => Err(SubmitError::Closed),
    }
}

/// Why nothing is begun any more.
pub(super) fn refusal(life: &Lifecycle<Broken>) -> Option<Refusal> {
    match life.reason(Blocking, Broken::clone) {
        Some(broken) => Some(Refusal::Broken(broken)),
        None => life.is_terminated().then_some(Refusal::Terminated),
    }
}
