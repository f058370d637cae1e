//! The workers of a pool: their messages, their ends, and their replacement.

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use kettle_core::arena::Block;
use kettle_core::damage;
use kettle_core::queue::Taken;
use kettle_core::sys::child::Child;
use kettle_core::sys::futex::Scope;
use kettle_core::wait::Deadline;

use super::State;
use crate::codec;
use crate::error::SessionDamaged;
use crate::panic::Panic;
use crate::pool::error::{Broken, TaskError, WorkerDied};
use crate::pool::job::Outcome;
use crate::pool::scheduler::process::{Event, Fate, Post, SeatId, StartFailures, Word};
use crate::pool::worker::Tag;
use crate::process::{Process, SIGKILL};

/// After this many failures in a row to start a process, a pool without workers is broken.
const REFUSALS: u32 = 3;
/// The delay before the next attempt to start a process after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// The processes of the workers, and the failures to start some.
#[derive(Debug)]
pub(super) struct Staff {
    processes: HashMap<SeatId, Process>,
    start_failures: StartFailures,
    refusals: u32,
    /// The time before which no process is to be started.
    pause: Deadline,
}

impl Default for Staff {
    fn default() -> Self {
        let start_failures = StartFailures::default();
        Self { processes: HashMap::new(), start_failures, refusals: 0, pause: Deadline::NOW }
    }
}

impl State {
    /// Sweeps and processes the events. Returns the wakers, which must be woken without the lock.
    pub(in crate::pool) fn step(&mut self, ask: bool) -> Vec<Waker> {
        let mut post = std::mem::take(&mut self.post);
        self.supervisor.sweep(&mut post, ask);
        let Post { bytes, words, events, shortage } = &mut post;
        for event in events.drain(..) {
            self.hear(event, bytes, words);
        }
        if damage::is_marked(Scope::Shared) {
            self.break_down(Broken::Damaged(SessionDamaged::found()));
        } else if let Some(shortage) = shortage.take() {
            self.break_down(Broken::OutOfMemory(shortage));
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

    fn hear(&mut self, event: Event<u64>, bytes: &[u8], words: &[Word]) {
        match event {
            Event::Outcome { job, task, taken, at } => self.conclude(job, task, Outcome::reported(taken, &bytes[at])),
            Event::Words { job, first, at } => {
                for (number, word) in (first..).zip(&words[at]) {
                    self.conclude(job, number, Outcome::in_a_word(*word));
                }
            }
            Event::Finished { job, len, took } => {
                if let Some(job) = self.jobs.get(job) {
                    job.tasks.pending.finished(len, took);
                }
            }
            Event::Undone { job: id, span, .. } => {
                if let Some(job) = self.jobs.get(id) {
                    job.give_back(span);
                    self.jobs.line_up(id, true);
                }
            }
            Event::Note { seat, taken, at, .. } => self.hear_note(seat, &taken, at, bytes),
            Event::Ended { seat, pid, fate, early, lost, preparing, victim } => {
                self.counts.workers_lost.fetch_add(lost.into(), Ordering::Relaxed);
                // The process has ended, so this does not wait.
                let status = self.staff.processes.remove(&seat).and_then(|process| process.exit_status());
                if let Some((job, task)) = victim {
                    self.mourn(job, task, pid, status, fate);
                }
                if early {
                    let was_killed = status.is_some_and(|status| status.signal() == Some(SIGKILL));
                    if self.staff.start_failures.add(was_killed, preparing) {
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
                self.staff.start_failures.forget();
                self.supervisor.is_ready(seat);
            }
            Some(Tag::NotReady) => {
                // The worker ends by itself, which must not count as a start failure.
                self.supervisor.is_ready(seat);
                match codec::decode::<Panic>(body, Vec::new()) {
                    Ok(panic) => self.break_down(Broken::Initializer(panic)),
                    Err(e) => self.break_down(Broken::NoProcess(e.0)),
                }
            }
            _ => {}
        }
    }

    /// Concludes or retries a task whose worker ended while running it.
    fn mourn(&mut self, id: u64, number: u64, pid: u32, status: Option<ExitStatus>, fate: Fate) {
        let Some(job) = self.jobs.get(id) else { return };
        let task = job.task(number).to_owned();
        let why = match fate {
            Fate::Died | Fate::Memory => {
                if job.died(number) {
                    self.counts.retried.fetch_add(1, Ordering::Relaxed);
                    self.jobs.line_up(id, true);
                    return;
                }
                TaskError::WorkerDied(WorkerDied { task, pid, status, too_big: fate == Fate::Memory })
            }
            Fate::TimedOut => TaskError::TimedOut { task, timeout: job.timeout.unwrap_or_default() },
            Fate::Cancelled => TaskError::Cancelled { task },
        };
        self.conclude(id, number, Outcome::Failed(why));
    }

    // ---- who is there ----

    /// Returns whether a worker is to be started now.
    pub(in crate::pool) fn needs_a_worker(&self) -> bool {
        let wanted = self.lifecycle.needs_workers(|| self.queued() > 0) && !self.lifecycle.is_broken();
        wanted && self.supervisor.vacancies() > 0 && self.staff.pause.is_past()
    }

    /// Registers the process of a worker that was started.
    pub(in crate::pool) fn employ(&mut self, seat: SeatId, process: Process) {
        match Child::adopt(process.pid()) {
            Ok(child) => {
                self.supervisor.occupy(seat, child);
                self.staff.refusals = 0;
                self.staff.processes.insert(seat, process);
            }
            Err(e) => {
                // A process that cannot be watched must not be left running.
                let _ = process.kill();
                self.do_without(seat, &e.to_string());
            }
        }
    }

    /// Releases the seat of a worker that could not be started.
    pub(in crate::pool) fn do_without(&mut self, seat: SeatId, why: &str) {
        self.supervisor.abandon(seat);
        self.could_not_start(why);
    }

    pub(in crate::pool) fn could_not_start(&mut self, why: &str) {
        self.staff.pause = Deadline::after(PAUSE);
        self.staff.refusals += 1;
        if self.staff.refusals >= REFUSALS && self.supervisor.tally().workers == 0 {
            self.break_down(Broken::NoProcess(why.to_owned()));
        }
    }

    /// The time at which a sleeping leader must sweep again at the latest.
    pub(in crate::pool) fn due(&self) -> Deadline {
        let due = self.supervisor.due();
        if self.staff.pause.is_past() { due } else { due.min(self.staff.pause) }
    }
}
