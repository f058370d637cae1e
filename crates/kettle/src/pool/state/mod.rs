//! The state of a pool, behind one mutex: its jobs, which tasks to send next, and, in `staff`, its workers.
//!
//! Nothing here runs code of the program: wakers are returned, to be woken without the lock.

mod staff;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use kettle_core::wait::Deadline;

use super::call::{self, Packed};
use super::error::{Broken, SubmitError, TaskError};
use super::job::{Job, Outcome, Terms, Want};
use super::scheduler::process::{Conditions, Post, SeatId, StartFailures, Supervisor};
use super::scheduler::{Blocking, Completion, Counts, Lifecycle, Span, Statistics};
use super::worker::Tag;
use crate::process::Process;

/// A chunk: consecutive tasks of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    job: u64,
    start: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) supervisor: Supervisor<Work>,
    crew: HashMap<SeatId, Process>,
    jobs: HashMap<u64, Job>,
    /// The jobs that have something to send; each in turn sends one chunk.
    line: VecDeque<u64>,
    next_job: u64,
    lifecycle: Lifecycle<Broken>,
    /// Done when no worker is left.
    pub(super) deserted: Arc<Completion>,
    pub(super) has_deputy: bool,
    start_failures: StartFailures,
    refusals: u32,
    /// The time before which no process is to be started.
    pause: Deadline,
    counts: Counts,
    post: Post<Work>,
    scratch: Vec<u8>,
    wakers: Vec<Waker>,
}

impl State {
    pub(super) fn new(supervisor: Supervisor<Work>) -> Self {
        Self {
            supervisor,
            crew: HashMap::new(),
            jobs: HashMap::new(),
            line: VecDeque::new(),
            next_job: 1,
            lifecycle: Lifecycle::default(),
            deserted: Arc::default(),
            has_deputy: false,
            start_failures: StartFailures::default(),
            refusals: 0,
            pause: Deadline::NOW,
            counts: Counts::default(),
            post: Post::default(),
            scratch: Vec::new(),
            wakers: Vec::new(),
        }
    }

    // ---- jobs ----

    /// Checks that new jobs are accepted.
    fn admit(&self) -> Result<(), SubmitError> {
        match self.broken() {
            Some(broken) => Err(SubmitError::Broken(broken)),
            None if self.lifecycle.is_running() => Ok(()),
            None => Err(SubmitError::Closed),
        }
    }

    fn broken(&self) -> Option<Broken> {
        self.lifecycle.reason(Blocking, Broken::clone)
    }

    /// Opens a job without tasks. Returns its number and what its submitter waits on.
    pub(super) fn open_job(&mut self, terms: Terms, by_arrival: bool) -> Result<(u64, Arc<Completion>), SubmitError> {
        self.admit()?;
        let id = self.next_job;
        self.next_job += 1;
        let job = Job::new(terms, by_arrival);
        let completion = Arc::clone(&job.completion);
        self.jobs.insert(id, job);
        Ok((id, completion))
    }

    pub(super) fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// The number of tasks of a job to keep unsent, so that all workers can have long chunks.
    pub(super) fn appetite(&self, id: u64) -> u64 {
        let longest = self.jobs.get(&id).map_or(0, |job| u64::from(job.longest));
        4 * self.supervisor.size() as u64 * longest
    }

    /// Adds tasks to a job, and sends those there is room for. Returns false if adding more is pointless.
    pub(super) fn add(&mut self, id: u64, calls: impl IntoIterator<Item = Packed>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        for call in calls {
            self.counts.queued.fetch_add(1, Ordering::Relaxed);
            job.add(call);
        }
        stand_in_line(&mut self.line, id, job, false);
        match self.broken() {
            Some(broken) => self.break_down(broken),
            None if self.lifecycle.is_terminated() => self.terminate(),
            None => {
                self.dispatch();
                return true;
            }
        }
        false
    }

    /// Records that the outcomes of this job are no longer wanted. Tasks that were sent still run; with `run_on`, so do
    /// the others.
    pub(super) fn forget(&mut self, id: u64, run_on: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if run_on && job.open() > 0 {
            job.is_forgotten = true;
        } else {
            self.counts.queued.fetch_sub(job.open(), Ordering::Relaxed);
            self.jobs.remove(&id);
        }
    }

    /// Cancels a job: no further task of it begins, and running ones are ended. Returns how many had no outcome.
    pub(super) fn cancel(&mut self, id: u64) -> usize {
        let Some(job) = self.jobs.get_mut(&id) else { return 0 };
        let open = job.end();
        for &number in &open {
            let task = self.task(id, number).to_owned();
            self.conclude(id, number, Outcome::Failed(TaskError::Cancelled { task }));
        }
        if !open.is_empty() {
            self.supervisor.cancel(|work| work.job == id);
        }
        open.len()
    }

    fn task(&self, id: u64, number: u64) -> &'static str {
        self.jobs.get(&id).map_or("?", |job| job.task(number))
    }

    /// Sets the outcome of a task. Later outcomes for it are ignored.
    fn conclude(&mut self, id: u64, number: u64, outcome: Outcome) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let count = match &outcome {
            Outcome::Reported { tag: Tag::Returned, .. } => &self.counts.done,
            Outcome::Reported { .. } | Outcome::Failed(TaskError::Lost(_) | TaskError::Panicked(_)) => {
                &self.counts.failed
            }
            Outcome::Failed(TaskError::WorkerDied(_)) => &self.counts.died,
            Outcome::Failed(TaskError::TimedOut { .. }) => &self.counts.timed_out,
            Outcome::Failed(TaskError::Cancelled { .. } | TaskError::Refused(_)) => &self.counts.cancelled,
        };
        if !job.finish(number, outcome) {
            return;
        }
        self.counts.settle(count, 1);
        self.wakers.extend(job.tell());
        if job.is_forgotten && job.open() == 0 {
            self.jobs.remove(&id);
        }
    }

    // ---- sending ----

    /// Sends chunks while there is something to send and room for it.
    fn dispatch(&mut self) {
        while let Some(&id) = self.line.front() {
            let Some(seat) = self.supervisor.room() else { return };
            self.line.pop_front();
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.is_in_line = false;
            let Some(span) = job.pending.take(self.supervisor.size()) else { continue };
            let sent = call::load(job.calls(span.start).take(span.len as usize), &mut self.scratch);
            let sent = sent.and_then(|(load, count)| {
                let work = Work { job: id, start: span.start };
                let conditions = Conditions { timeout: job.timeout, batched: job.waits_for_several() };
                self.supervisor.send(seat, work, count, conditions, load).map(|()| count)
            });
            match sent {
                Ok(count) => {
                    job.longest = job.longest.max(count);
                    job.pending.give_back(Span { start: span.start + u64::from(count), len: span.len - count });
                    stand_in_line(&mut self.line, id, job, false);
                    self.wakers.extend(job.tell());
                }
                // The chunks that are being processed will free memory.
                Err(_) if self.supervisor.tally().chunks > 0 => {
                    job.pending.give_back(span);
                    stand_in_line(&mut self.line, id, job, true);
                    return;
                }
                Err(e) => {
                    stand_in_line(&mut self.line, id, job, false);
                    for number in span.start..span.start + u64::from(span.len) {
                        let why = TaskError::Refused(SubmitError::OutOfMemory(e.clone()));
                        self.conclude(id, number, Outcome::Failed(why));
                    }
                }
            }
        }
    }

    /// Takes queued chunks back for idle workers; returns whether there were any. To be called before a leader goes to
    /// sleep.
    pub(super) fn rebalance(&mut self) -> bool {
        self.line.is_empty() && self.supervisor.rebalance()
    }

    // ---- the end ----

    /// Closes the pool to new jobs.
    pub(super) fn close(&mut self) {
        self.lifecycle.close();
        self.supervisor.watch().kick();
    }

    /// Terminates the pool.
    pub(super) fn terminate(&mut self) {
        let why = |task: &str| TaskError::Cancelled { task: task.to_owned() };
        self.give_up(why);
        self.lifecycle.terminate();
    }

    pub(in crate::pool) fn break_down(&mut self, broken: Broken) {
        self.give_up(|_| TaskError::Refused(SubmitError::Broken(broken.clone())));
        // The first reason stays.
        let _ = self.lifecycle.break_for(Blocking, broken);
    }

    fn give_up(&mut self, why: impl Fn(&str) -> TaskError) {
        let ids: Vec<_> = self.jobs.keys().copied().collect();
        for id in ids {
            for number in self.jobs.get_mut(&id).map_or_else(Vec::new, Job::end) {
                let why = why(self.task(id, number));
                self.conclude(id, number, Outcome::Failed(why));
            }
        }
        self.supervisor.end_all();
    }

    /// Returns whether no further task will begin, so that the workers are to leave.
    fn is_finishing(&self) -> bool {
        let has_work = || self.queued() > 0 || !self.supervisor.is_idle();
        self.lifecycle.is_broken() || !self.lifecycle.needs_workers(has_work)
    }

    fn queued(&self) -> u64 {
        self.counts.queued.load(Ordering::Relaxed)
    }

    /// Returns whether there is anything for a leader to do.
    pub(super) fn is_busy(&self) -> bool {
        self.queued() > 0
            || !self.supervisor.is_idle()
            || self.supervisor.is_ending_some()
            || self.is_finishing() && !self.supervisor.is_deserted()
            || self.lifecycle.is_open() && self.supervisor.vacancies() > 0
    }

    pub(super) fn statistics(&self) -> Statistics {
        let tally = self.supervisor.tally();
        self.counts.statistics(tally.workers, tally.busy)
    }

    /// Sets what the submitter of a job waits for. Returns false if it need not wait.
    pub(super) fn want(&mut self, id: u64, want: Want) -> bool {
        self.jobs.get_mut(&id).is_some_and(|job| job.want(want))
    }
}

fn stand_in_line(line: &mut VecDeque<u64>, id: u64, job: &mut Job, in_front: bool) {
    if job.is_in_line || !job.pending.has_some() {
        return;
    }
    job.is_in_line = true;
    if in_front {
        line.push_front(id);
    } else {
        line.push_back(id);
    }
}
