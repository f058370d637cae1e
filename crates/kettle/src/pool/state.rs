//! What a pool knows, behind one mutex: its workers, its jobs, and what is to be sent next.
//!
//! Nothing here waits, and nothing here runs code of the program's: wakers are given out, to be woken without the lock.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use kettle_core::arena::Block;
use kettle_core::queue::Taken;
use kettle_core::wait::Deadline;

use super::call::{self, Packed};
use super::engine::{Event, Fate, Post, SeatId, Span, Supervisor, Waiter, Word};
use super::error::{Broken, Panic, SubmitError, TaskError, WorkerDied};
use super::job::{Job, Outcome, Terms, Want};
use super::worker::Tag;
use crate::codec;
use crate::process::{Process, SIGKILL};

/// A chunk: some tasks of a job that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    job: u64,
    start: u64,
}

/// How a pool is, and what it did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Workers that are there or about to be.
    pub workers: usize,
    /// Those of them with something to do.
    pub busy: usize,
    /// Tasks that have no outcome yet.
    pub queued: u64,
    /// Tasks that returned.
    pub done: u64,
    /// Tasks that panicked, or whose arguments or result did not survive the way.
    pub failed: u64,
    /// Tasks that were lost with their worker.
    pub died: u64,
    /// Tasks that were begun once more after their worker had died.
    pub retried: u64,
    /// Tasks that took longer than they might.
    pub timed_out: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
}

/// Whether the pool takes new tasks.
#[derive(Clone, Debug)]
enum Door {
    Open,
    /// What was taken in will be done.
    Closed,
    /// What had no outcome was cancelled.
    Terminated,
    Broken(Broken),
}

/// So many workers in a row may die before they are ready, until there is no hope. One that was killed says less about
/// the next than one that ended by itself: perhaps somebody kills workers at random.
const EARLY_DEATHS: u32 = 3;
const EARLY_KILLS: u32 = 30;
/// A process may be refused so many times in a row.
const REFUSALS: u32 = 3;
/// How long it takes until it is tried again to start a process, if the system refused.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct State {
    pub(super) supervisor: Supervisor<Work>,
    crew: HashMap<SeatId, Process>,
    jobs: HashMap<u64, Job>,
    /// Those that have something to send: each in turn sends one chunk.
    line: VecDeque<u64>,
    next_job: u64,
    door: Door,
    /// Tells when no worker is left.
    pub(super) deserted: Arc<Waiter>,
    pub(super) has_deputy: bool,
    /// Since a worker was ready last: each that was killed counts one, any other as much as it takes for three.
    early_deaths: u32,
    refusals: u32,
    /// No process is to be started before this.
    pause: Deadline,
    counts: Statistics,
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
            door: Door::Open,
            deserted: Arc::default(),
            has_deputy: false,
            early_deaths: 0,
            refusals: 0,
            pause: Deadline::NOW,
            counts: Statistics::default(),
            post: Post::default(),
            scratch: Vec::new(),
            wakers: Vec::new(),
        }
    }

    // ---- jobs ----

    /// Whether new tasks are taken in.
    fn admit(&self) -> Result<(), SubmitError> {
        match &self.door {
            Door::Open => Ok(()),
            Door::Closed | Door::Terminated => Err(SubmitError::Closed),
            Door::Broken(broken) => Err(SubmitError::Broken(broken.clone())),
        }
    }

    /// A job without tasks, and what its giver waits on.
    pub(super) fn open_job(&mut self, terms: Terms, by_arrival: bool) -> Result<(u64, Arc<Waiter>), SubmitError> {
        self.admit()?;
        let id = self.next_job;
        self.next_job += 1;
        let job = Job::new(terms, by_arrival);
        let waiter = Arc::clone(&job.waiter);
        self.jobs.insert(id, job);
        Ok((id, waiter))
    }

    pub(super) fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// How many tasks of a job are to wait, so that all workers can have long chunks.
    pub(super) fn appetite(&self, id: u64) -> u64 {
        let longest = self.jobs.get(&id).map_or(0, |job| u64::from(job.longest));
        4 * self.supervisor.size() as u64 * longest
    }

    /// More tasks of a job. What there is room for is sent at once. False: there is no use in bringing more.
    pub(super) fn add(&mut self, id: u64, calls: impl IntoIterator<Item = Packed>) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        for call in calls {
            self.counts.queued += 1;
            job.add(call);
        }
        stand_in_line(&mut self.line, id, job, false);
        match self.door.clone() {
            Door::Open | Door::Closed => {
                self.dispatch();
                return true;
            }
            Door::Terminated => self.terminate(),
            Door::Broken(broken) => self.break_down(broken),
        }
        false
    }

    /// Nobody wants the outcomes of this job any more. What of it was sent is done all the same, if `run_on` the rest too.
    pub(super) fn forget(&mut self, id: u64, run_on: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if run_on && job.open() > 0 {
            job.is_forgotten = true;
        } else {
            self.counts.queued -= job.open();
            self.jobs.remove(&id);
        }
    }

    /// Ends a job: no task of it is begun any more, and those that run are ended. Gives how many had no outcome.
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

    /// Gives a task its outcome. Whatever comes for it later is not heard.
    fn conclude(&mut self, id: u64, number: u64, outcome: Outcome) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let count = match &outcome {
            Outcome::Reported { tag: Tag::Returned, .. } => &mut self.counts.done,
            Outcome::Reported { .. } | Outcome::Failed(TaskError::Lost(_) | TaskError::Panicked(_)) => {
                &mut self.counts.failed
            }
            Outcome::Failed(TaskError::WorkerDied(_)) => &mut self.counts.died,
            Outcome::Failed(TaskError::TimedOut { .. }) => &mut self.counts.timed_out,
            Outcome::Failed(TaskError::Cancelled { .. } | TaskError::Refused(_)) => &mut self.counts.cancelled,
        };
        if !job.finish(number, outcome) {
            return;
        }
        *count += 1;
        self.counts.queued -= 1;
        self.wakers.extend(job.tell());
        if job.is_forgotten && job.open() == 0 {
            self.jobs.remove(&id);
        }
    }

    // ---- sending ----

    /// Sends as long as there is something to send, and room for it.
    fn dispatch(&mut self) {
        while let Some(&id) = self.line.front() {
            let Some(seat) = self.supervisor.room() else { return };
            self.line.pop_front();
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.is_in_line = false;
            let Some(span) = job.agenda.take(self.supervisor.size()) else { continue };
            let sent = call::load(job.calls(span.start).take(span.len as usize), &mut self.scratch);
            let sent = sent.and_then(|(load, count)| {
                let work = Work { job: id, start: span.start };
                self.supervisor.send(seat, work, count, job.timeout, load).map(|()| count)
            });
            match sent {
                Ok(count) => {
                    job.longest = job.longest.max(count);
                    job.agenda.give_back(Span { start: span.start + u64::from(count), len: span.len - count });
                    stand_in_line(&mut self.line, id, job, false);
                    self.wakers.extend(job.tell());
                }
                // What is being done will give memory back.
                Err(_) if self.supervisor.tally().chunks > 0 => {
                    job.agenda.give_back(span);
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

    /// Brings work to those who have none; says whether there was any. To be asked before a leader goes to sleep.
    pub(super) fn rebalance(&mut self) -> bool {
        self.line.is_empty() && self.supervisor.rebalance()
    }

    // ---- what happened ----

    /// Finds out what happened, and does what comes of it. Gives who is to be woken, without the lock.
    pub(super) fn step(&mut self, ask: bool) -> Vec<Waker> {
        let mut post = std::mem::take(&mut self.post);
        self.supervisor.sweep(&mut post, ask);
        let Post { bytes, words, events } = &mut post;
        for event in events.drain(..) {
            self.hear(event, bytes, words);
        }
        self.post = post;
        self.dispatch();
        if self.is_finishing() {
            self.supervisor.dismiss();
            if self.supervisor.is_deserted() {
                self.deserted.finish();
            }
        }
        std::mem::take(&mut self.wakers)
    }

    fn hear(&mut self, event: Event<Work>, bytes: &[u8], words: &[Word]) {
        match event {
            Event::Outcome { work, task, taken, at } => {
                let number = work.start + u64::from(task);
                self.conclude(work.job, number, Outcome::reported(taken, &bytes[at]));
            }
            Event::Words { work, from, at } => {
                let first = work.start + u64::from(from);
                for (number, word) in (first..).zip(&words[at]) {
                    self.conclude(work.job, number, Outcome::in_a_word(*word));
                }
            }
            Event::Finished { work, len, took } => {
                if let Some(job) = self.jobs.get_mut(&work.job) {
                    job.agenda.finished(len, took);
                }
            }
            Event::Undone { work, from, len } => {
                if let Some(job) = self.jobs.get_mut(&work.job) {
                    job.give_back(Span { start: work.start + u64::from(from), len: len - from });
                    stand_in_line(&mut self.line, work.job, job, true);
                }
            }
            Event::Note { seat, taken, at, .. } => self.hear_note(seat, &taken, at, bytes),
            Event::Ended { seat, pid, fate, early, victim } => {
                // It has ended, so this does not wait.
                let status = self.crew.remove(&seat).and_then(|process| process.exit_status());
                if let Some((work, task)) = victim {
                    self.mourn(work.job, work.start + u64::from(task), pid, status, fate);
                }
                if early {
                    let was_killed = status.is_some_and(|status| status.signal() == Some(SIGKILL));
                    self.early_deaths += if was_killed { 1 } else { EARLY_KILLS / EARLY_DEATHS };
                    if self.early_deaths >= EARLY_KILLS {
                        self.break_down(Broken::WorkersDie { pid, status });
                    }
                }
            }
        }
    }

    fn hear_note(&mut self, seat: SeatId, taken: &Taken<Block>, at: Range<usize>, bytes: &[u8]) {
        let body = taken.block.as_ref().map_or(&bytes[at], Block::as_slice);
        match Tag::of(taken.tag) {
            Some(Tag::Ready) => {
                self.early_deaths = 0;
                self.supervisor.is_ready(seat);
            }
            Some(Tag::NotReady) => {
                // It ends by itself, and that is no further death.
                self.supervisor.is_ready(seat);
                match codec::decode::<Panic>(body, Vec::new()) {
                    Ok(panic) => self.break_down(Broken::Initializer(panic)),
                    Err(e) => self.break_down(Broken::NoProcess(e.0)),
                }
            }
            _ => {}
        }
    }

    /// The worker of this task ended in the middle of it.
    fn mourn(&mut self, id: u64, number: u64, pid: u32, status: Option<ExitStatus>, fate: Fate) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let task = job.task(number).to_owned();
        let why = match fate {
            Fate::Died | Fate::Memory => {
                if job.died(number) {
                    self.counts.retried += 1;
                    stand_in_line(&mut self.line, id, job, true);
                    return;
                }
                TaskError::WorkerDied(WorkerDied { task, pid, status, too_big: fate == Fate::Memory })
            }
            Fate::TimedOut => TaskError::TimedOut { task, timeout: job.timeout.unwrap_or_default() },
            Fate::Cancelled => TaskError::Cancelled { task },
        };
        self.conclude(id, number, Outcome::Failed(why));
    }

    // ---- workers ----

    /// Whether a worker is to be started now.
    pub(super) fn needs_a_worker(&self) -> bool {
        let wanted = match self.door {
            Door::Open => true,
            Door::Closed => self.counts.queued > 0,
            Door::Terminated | Door::Broken(_) => false,
        };
        wanted && self.supervisor.vacancies() > 0 && self.pause.is_past()
    }

    /// The process of a worker was started.
    pub(super) fn employ(&mut self, seat: SeatId, process: Process) {
        match self.supervisor.occupy(seat, process.pid()) {
            Ok(()) => {
                self.refusals = 0;
                self.crew.insert(seat, process);
            }
            Err(e) => {
                // Not to be watched, so not to be left running.
                let _ = process.kill();
                self.could_not_start(&e.to_string());
            }
        }
    }

    /// It was not.
    pub(super) fn do_without(&mut self, seat: SeatId, why: &str) {
        self.supervisor.abandon(seat);
        self.could_not_start(why);
    }

    pub(super) fn could_not_start(&mut self, why: &str) {
        self.pause = Deadline::after(PAUSE);
        self.refusals += 1;
        if self.refusals >= REFUSALS && self.supervisor.tally().workers == 0 {
            self.break_down(Broken::NoProcess(why.to_owned()));
        }
    }

    /// When a leader that sleeps must look again at the latest.
    pub(super) fn due(&self) -> Deadline {
        let due = self.supervisor.due();
        if self.pause.is_past() { due } else { due.min(self.pause) }
    }

    // ---- the end ----

    /// No more tasks are taken in.
    pub(super) fn close(&mut self) {
        if let Door::Open = self.door {
            self.door = Door::Closed;
        }
        self.supervisor.watch().kick();
    }

    /// Ends everything.
    pub(super) fn terminate(&mut self) {
        let why = |task: &str| TaskError::Cancelled { task: task.to_owned() };
        self.give_up(why);
        if !matches!(self.door, Door::Broken(_)) {
            self.door = Door::Terminated;
        }
    }

    fn break_down(&mut self, broken: Broken) {
        self.give_up(|_| TaskError::Refused(SubmitError::Broken(broken.clone())));
        if matches!(self.door, Door::Open | Door::Closed) {
            self.door = Door::Broken(broken);
        }
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

    /// Nothing will be begun any more; the workers are to go.
    fn is_finishing(&self) -> bool {
        match self.door {
            Door::Open => false,
            Door::Closed => self.counts.queued == 0 && self.supervisor.is_idle(),
            Door::Terminated | Door::Broken(_) => true,
        }
    }

    /// Whether there is anything for a leader to do.
    pub(super) fn is_busy(&self) -> bool {
        self.counts.queued > 0
            || !self.supervisor.is_idle()
            || self.supervisor.is_ending_some()
            || self.is_finishing() && !self.supervisor.is_deserted()
            || matches!(self.door, Door::Open) && self.supervisor.vacancies() > 0
    }

    pub(super) fn statistics(&self) -> Statistics {
        let tally = self.supervisor.tally();
        Statistics { workers: tally.workers, busy: tally.busy, ..self.counts }
    }

    /// Says what the giver of a job waits for. False: it need not wait.
    pub(super) fn want(&mut self, id: u64, want: Want) -> bool {
        self.jobs.get_mut(&id).is_some_and(|job| job.want(want))
    }
}

fn stand_in_line(line: &mut VecDeque<u64>, id: u64, job: &mut Job, in_front: bool) {
    if job.is_in_line || !job.agenda.has_some() {
        return;
    }
    job.is_in_line = true;
    if in_front {
        line.push_front(id);
    } else {
        line.push_back(id);
    }
}
