//! The jobs of a pool, and the line of those that have something to send.

use std::collections::{HashMap, VecDeque};

use crate::pool::job::Job;

#[derive(Debug, Default)]
pub(super) struct Jobs {
    all: HashMap<u64, Job>,
    /// Each in turn sends one chunk.
    line: VecDeque<u64>,
    /// The number of the newest job; there is no job 0.
    newest: u64,
}

impl Jobs {
    /// Adds a job, and returns its number.
    pub(super) fn add(&mut self, job: Job) -> u64 {
        self.newest += 1;
        self.all.insert(self.newest, job);
        self.newest
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Job> {
        self.all.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.all.remove(&id);
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.all.keys().copied().collect()
    }

    /// The name of the function of an open task.
    pub(super) fn task(&self, id: u64, number: u64) -> &'static str {
        self.all.get(&id).map_or("?", |job| job.task(number))
    }

    /// Returns whether a job is in the line.
    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Puts a job into the line, unless it is there or has nothing to send.
    pub(super) fn line_up(&mut self, id: u64, in_front: bool) {
        let lines_up = |job: &mut Job| job.tasks.pending.has_some() && job.tasks.enter_line();
        if !self.get(id).is_some_and(lines_up) {
            return;
        }
        if in_front {
            self.line.push_front(id);
        } else {
            self.line.push_back(id);
        }
    }

    /// Takes the first job out of the line that still exists.
    pub(super) fn first_in_line(&mut self) -> Option<u64> {
        while let Some(id) = self.line.pop_front() {
            if let Some(job) = self.get(id) {
                job.tasks.leave_line();
                return Some(id);
            }
        }
        None
    }
}
