//! The tasks of one job, as every kind of pool tracks them.

use super::pending::{PendingTasks, Span};

/// The tasks of one job: which are still to be sent, how many have no outcome, and whether the job is in the line of
/// jobs that may have something to send.
#[derive(Debug)]
pub struct JobTasks {
    pub pending: PendingTasks,
    /// The number of tasks without an outcome.
    open: u64,
    has_failure: bool,
    /// The length of the longest span so far.
    longest: u32,
    is_in_line: bool,
}

/// What the submitter of a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing.
    Nothing,
    /// All outcomes.
    All,
    /// An outcome that can be taken.
    Some,
    /// Fewer than this many tasks that were never sent, or no task without an outcome; or the first failure.
    Room(u64),
    /// The same, or an outcome that can be taken.
    SomeOrRoom(u64),
}

impl JobTasks {
    /// Creates the state of a job with these tasks, which were not sent.
    pub fn new(pending: PendingTasks) -> Self {
        let open = pending.count();
        Self { pending, open, has_failure: false, longest: 0, is_in_line: false }
    }

    /// Adds `count` tasks.
    pub fn add(&mut self, count: u64) {
        self.pending.extend(count);
        self.open += count;
    }

    /// The number of tasks without an outcome.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Returns whether a task failed.
    pub fn has_failure(&self) -> bool {
        self.has_failure
    }

    /// Records that `count` tasks have an outcome now.
    #[inline]
    pub fn settle(&mut self, count: u64) {
        self.open -= count;
    }

    /// Records that a task failed.
    pub fn fail(&mut self) {
        self.has_failure = true;
    }

    /// Records that these tasks are sent together, or claimed by a worker.
    pub fn sends(&mut self, span: Span) {
        self.longest = self.longest.max(span.len);
    }

    /// Returns whether a task was ever sent.
    pub fn was_sent(&self) -> bool {
        self.longest > 0
    }

    /// The number of tasks to keep unsent, so that each of `workers` workers can have long chunks.
    pub fn demand(&self, workers: usize) -> u64 {
        4 * workers as u64 * u64::from(self.longest)
    }

    /// Returns whether what is wanted is there; `has_next` tells whether there is an outcome that can be taken.
    pub fn satisfy(&self, want: Want, has_next: impl FnOnce() -> bool) -> bool {
        match want {
            Want::Nothing => false,
            Want::All => self.open == 0,
            Want::Some => has_next(),
            Want::Room(low) => self.has_room(low),
            Want::SomeOrRoom(low) => self.has_room(low) || has_next(),
        }
    }

    fn has_room(&self, low: u64) -> bool {
        self.open == 0 || self.has_failure || self.pending.unsent() < low
    }

    /// Marks the job as being in the line. Returns false if it was marked before, so that it is not to be added.
    pub fn enter_line(&mut self) -> bool {
        !std::mem::replace(&mut self.is_in_line, true)
    }

    /// Marks the job as not being in the line. Returns whether it was marked as being there.
    pub fn leave_line(&mut self) -> bool {
        std::mem::take(&mut self.is_in_line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pending::Chunking;
    use super::*;

    #[test]
    fn a_wish_is_fulfilled_by_outcomes_by_room_or_by_a_failure() {
        let mut tasks = JobTasks::new(PendingTasks::new(Chunking::Fixed(4), 0));
        tasks.add(8);
        let satisfied = |tasks: &JobTasks, want| tasks.satisfy(want, || false);
        assert!(!satisfied(&tasks, Want::Room(8)) && satisfied(&tasks, Want::Room(9)));
        let span = tasks.pending.take(1).expect("tasks are pending");
        tasks.sends(span);
        assert!(satisfied(&tasks, Want::Room(5)) && !satisfied(&tasks, Want::Room(0)));
        assert_eq!(tasks.demand(2), 32, "four of the longest chunks for each worker");
        tasks.settle(1);
        tasks.fail();
        assert!(satisfied(&tasks, Want::Room(0)) && !satisfied(&tasks, Want::All));
        tasks.settle(7);
        assert!(satisfied(&tasks, Want::All) && tasks.has_failure());
        assert!(!satisfied(&tasks, Want::Some) && tasks.satisfy(Want::Some, || true));
        assert!(!satisfied(&tasks, Want::Nothing));
    }

    #[test]
    fn a_job_is_in_the_line_once() {
        let mut tasks = JobTasks::new(PendingTasks::new(Chunking::Measured, 0));
        assert!(!tasks.leave_line() && tasks.enter_line() && !tasks.enter_line());
        assert!(tasks.leave_line() && tasks.enter_line());
    }
}
