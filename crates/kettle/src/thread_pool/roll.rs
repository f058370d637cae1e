//! Who belongs to a crew, what stands in line for them, and whether more is taken in.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::{Broken, SubmitError};
use super::job::{Job, Refusal};

/// So many workers are hired at most in the place of others that wait for tasks. Where more wait, none is lost for good:
/// whoever waits for a task that nobody has begun does it himself.
const SPARE: usize = 64;

pub(super) struct Roll {
    pub(super) line: VecDeque<Arc<dyn Job>>,
    pub(super) door: Door,
    /// Workers that belong to the crew, whatever they do.
    pub(super) present: usize,
    /// Those of them that are at a job.
    pub(super) busy: usize,
    /// Those of the busy that wait for another task.
    pub(super) away: usize,
    /// So many are to be there that are not away.
    size: usize,
}

/// Whether the pool takes new tasks.
pub(super) enum Door {
    Open,
    /// What was taken in will be done.
    Closed,
    /// What had not begun was cancelled.
    Terminated,
    Broken(Broken),
}

/// What a worker does next.
pub(super) enum Next {
    Work(Arc<dyn Job>),
    Rest,
    Leave,
}

impl Roll {
    /// Of nobody yet.
    pub(super) fn new(size: usize) -> Self {
        Self { line: VecDeque::new(), door: Door::Open, present: 0, busy: 0, away: 0, size }
    }

    pub(super) fn admit(&self) -> Result<(), SubmitError> {
        match &self.door {
            Door::Open => Ok(()),
            Door::Closed | Door::Terminated => Err(SubmitError::Closed),
            Door::Broken(broken) => Err(SubmitError::Broken(broken.clone())),
        }
    }

    /// Why nothing is begun any more.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match &self.door {
            Door::Open | Door::Closed => None,
            Door::Terminated => Some(Refusal::Terminated),
            Door::Broken(broken) => Some(Refusal::Broken(broken.clone())),
        }
    }

    /// Puts those on the roll that are to be hired now, and says how many that are.
    pub(super) fn expect(&mut self) -> usize {
        let vacancies = self.vacancies();
        self.present += vacancies;
        vacancies
    }

    fn vacancies(&self) -> usize {
        match self.door {
            Door::Terminated | Door::Broken(_) => return 0,
            Door::Open if self.present < self.size => return self.size - self.present,
            Door::Open | Door::Closed => {}
        }
        let has_room = self.present - self.away < self.size && self.present < self.size + SPARE;
        usize::from(has_room && self.line.len() > self.present - self.busy)
    }

    /// What a worker does next that is not busy.
    pub(super) fn next(&mut self) -> Next {
        let has_room = self.present - self.away <= self.size;
        let is_wanted = match self.door {
            Door::Open => has_room,
            Door::Closed => has_room && !self.line.is_empty(),
            Door::Terminated | Door::Broken(_) => false,
        };
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
