//! The state of a pool, behind one mutex: its jobs, which tasks to send next, and, in `staff`, its workers.
//!
//! Nothing here runs code of the program: wakers are returned, to be woken without the lock.

mod jobs;
mod staff;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::call::{self, Packed};
use super::error::{Broken, SubmitError, TaskError};
use super::job::{Job, Outcome, Terms};
use super::scheduler::process::{Conditions, Post, Supervisor};
use super::scheduler::{Blocking, Completion, Counts, Lifecycle, Order, Span, Statistics, Want};
use super::worker::Tag;
use jobs::Jobs;
use staff::Staff;

#[derive(Debug)]
pub(super) struct State {
    pub(super) supervisor: Supervisor<u64>,
    staff: Staff,
    jobs: Jobs,
    lifecycle: Lifecycle<Broken>,
    /// Done when no worker is left.
    pub(super) deserted: Arc<Completion>,
    pub(super) has_deputy: bool,
    counts: Counts,
    post: Post<u64>,
    scratch: Vec<u8>,
    wakers: Vec<Waker>,
}

impl State {
    pub(super) fn new(supervisor: Supervisor<u64>) -> Self {
        Self {
            supervisor,
            staff: Staff::default(),
            jobs: Jobs::default(),
            lifecycle: Lifecycle::default(),
            deserted: Arc::default(),
            has_deputy: false,
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
    pub(super) fn open_job(&mut self, terms: Terms, order: Order) -> Result<(u64, Arc<Completion>), SubmitError> {
        self.admit()?;
        let job = Job::new(terms, order);
        let completion = Arc::clone(&job.completion);
        Ok((self.jobs.add(job), completion))
    }

    pub(super) fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.get(id)
    }

    /// The number of tasks of a job to keep unsent, so that all workers can have long chunks.
    pub(super) fn demand(&mut self, id: u64) -> u64 {
        self.jobs.get(id).map_or(0, |job| job.tasks.demand(self.supervisor.size()))
    }

    /// Adds tasks to a job, and sends those there is room for. Returns false if adding more is pointless.
    pub(super) fn add(&mut self, id: u64, calls: impl IntoIterator<Item = Packed>) -> bool {
        let Some(job) = self.jobs.get(id) else { return false };
        for call in calls {
            self.counts.queued.fetch_add(1, Ordering::Relaxed);
            job.add(call);
        }
        self.jobs.line_up(id, false);
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
        let Some(job) = self.jobs.get(id) else { return };
        if run_on && job.tasks.open() > 0 {
            job.is_forgotten = true;
        } else {
            self.counts.queued.fetch_sub(job.tasks.open(), Ordering::Relaxed);
            self.jobs.remove(id);
        }
    }

    /// Cancels a job: no further task of it begins, and running ones are ended. Returns how many had no outcome.
    pub(super) fn cancel(&mut self, id: u64) -> usize {
        let Some(job) = self.jobs.get(id) else { return 0 };
        let open = job.end();
        for &number in &open {
            let task = self.jobs.task(id, number).to_owned();
            self.conclude(id, number, Outcome::Failed(TaskError::Cancelled { task }));
        }
        if !open.is_empty() {
            self.supervisor.cancel(|job| *job == id);
        }
        open.len()
    }

    /// Sets the outcome of a task. Later outcomes for it are ignored.
    fn conclude(&mut self, id: u64, number: u64, outcome: Outcome) {
        let Some(job) = self.jobs.get(id) else { return };
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
        if job.is_forgotten && job.tasks.open() == 0 {
            self.jobs.remove(id);
        }
    }

    // ---- sending ----

    /// Sends chunks while there is something to send and room for it.
    fn dispatch(&mut self) {
        while self.jobs.has_line() {
            let Some(seat) = self.supervisor.room() else { return };
            let Some(id) = self.jobs.first_in_line() else { return };
            let Some(job) = self.jobs.get(id) else { continue };
            let Some(span) = job.tasks.pending.take(self.supervisor.size()) else { continue };
            let sent = call::load(job.calls(span.start).take(span.len as usize), &mut self.scratch);
            let sent = sent.and_then(|(load, count)| {
                let conditions = Conditions { timeout: job.timeout, batched: job.waits_for_several() };
                let sent = Span { len: count, ..span };
                self.supervisor.send(seat, id, sent, conditions, load).map(|()| sent)
            });
            match sent {
                Ok(sent) => {
                    job.tasks.sends(sent);
                    let len = span.len - sent.len;
                    job.tasks.pending.give_back(Span { start: span.start + u64::from(sent.len), len });
                    self.wakers.extend(job.tell());
                    self.jobs.line_up(id, false);
                }
                // The chunks that are being processed will free memory.
                Err(_) if self.supervisor.tally().chunks > 0 => {
                    job.tasks.pending.give_back(span);
                    self.jobs.line_up(id, true);
                    return;
                }
                Err(e) => {
                    self.jobs.line_up(id, false);
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
        !self.jobs.has_line() && self.supervisor.rebalance()
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
        for id in self.jobs.numbers() {
            for number in self.jobs.get(id).map_or_else(Vec::new, Job::end) {
                let why = why(self.jobs.task(id, number));
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
        self.jobs.get(id).is_some_and(|job| job.want(want))
    }
}
