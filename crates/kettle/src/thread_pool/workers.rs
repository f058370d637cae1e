//! The workers of a pool, and the line of jobs for them.
//!
//! ```text
//!              takes a job                  its task is given up
//!   free ──────────────────────► busy ──────────────────────────► abandoned: belongs to the pool no more
//!    ▲ ▲       is done            │ ▲
//!    │ └──────────────────────────┘ │ waits for another task of this pool, and is back
//!    │                             away
//!   started, if there is room for one                 left: one too many, or nothing more to do
//! ```
//!
//! There is *room* while fewer than `size` workers are free or busy. A task that waits for another one therefore does
//! not reduce the number of workers for other tasks. When it continues, there may be one worker too many, and the next
//! one that finishes its job leaves.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use kettle_core::wait::{Idle, Patience, Stopped};

use super::error::{Broken, SubmitError};
use super::job::Job;
use super::roster::{Next, Roster, admit, refusal};
use super::timeouts::Limited;
use super::worker;
use crate::pool::scheduler::thread::Timeouts;
use crate::pool::scheduler::{Blocking, Completion, Counts, Lifecycle, Locking, Statistics};

/// The configuration of a pool.
pub(super) struct Options {
    pub(super) size: usize,
    pub(super) name: String,
    pub(super) stack_size: Option<usize>,
    pub(super) initializer: Option<Box<dyn Fn() + Send + Sync>>,
    pub(super) max_tasks: Option<u32>,
}

pub(super) struct Workers {
    pub(super) options: Options,
    pub(super) idle: Idle,
    pub(super) timeouts: Timeouts<Limited>,
    pub(super) counts: Counts,
    roster: Mutex<Roster>,
    /// Changed under the lock of the roster.
    lifecycle: Lifecycle<Broken>,
    /// The number of workers started so far.
    ever_started: AtomicUsize,
    /// Done once a pool that accepts no more tasks has no worker left.
    pub(super) gone: Completion,
}

/// The pool's data on one worker.
#[derive(Default)]
pub(super) struct WorkerSlot {
    /// One of its tasks was given up, so it no longer belongs to the pool. Set while that task cannot end.
    pub(super) is_abandoned: AtomicBool,
    /// Changed under the lock of the roster.
    is_away: AtomicBool,
}

impl Workers {
    pub(super) fn new(options: Options) -> Arc<Self> {
        let roster = Mutex::new(Roster::new(options.size));
        Arc::new(Self {
            options,
            idle: Idle::new(),
            timeouts: Timeouts::default(),
            counts: Counts::default(),
            roster,
            lifecycle: Lifecycle::default(),
            ever_started: AtomicUsize::new(0),
            gone: Completion::default(),
        })
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        Blocking.lock(&self.roster)
    }

    // ---- jobs ----

    /// Checks that new tasks are accepted.
    pub(super) fn admit(&self) -> Result<(), SubmitError> {
        admit(&self.lifecycle)
    }

    /// Puts a new job into the line.
    pub(super) fn submit(self: &Arc<Self>, job: Arc<dyn Job>) -> Result<(), SubmitError> {
        let roster = self.roster();
        admit(&self.lifecycle)?;
        self.enqueue(roster, job);
        Ok(())
    }

    /// Puts an accepted job that has more tasks into the line again.
    pub(super) fn requeue(self: &Arc<Self>, job: Arc<dyn Job>) {
        let roster = self.roster();
        match refusal(&self.lifecycle) {
            None => self.enqueue(roster, job),
            Some(why) => {
                drop(roster);
                job.refuse(self, &why);
            }
        }
    }

    fn enqueue(self: &Arc<Self>, mut roster: MutexGuard<'_, Roster>, job: Arc<dyn Job>) {
        roster.line.push_back(job);
        let vacancies = roster.expect(&self.lifecycle);
        drop(roster);
        self.idle.call();
        self.start_some(vacancies);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.roster().line.is_empty()
    }

    /// Decides what a worker does next; `was_busy` tells whether it was running a job until now.
    pub(super) fn next(&self, was_busy: bool) -> Next {
        let mut roster = self.roster();
        roster.busy -= usize::from(was_busy);
        roster.next(&self.lifecycle)
    }

    // ---- workers ----

    /// Starts the first workers. If this fails, none is left.
    pub(super) fn start_all(self: &Arc<Self>) -> io::Result<()> {
        self.roster().present += self.options.size;
        for started in 0..self.options.size {
            if let Err(e) = self.start() {
                self.roster().present -= self.options.size - started;
                self.terminate();
                return Err(e);
            }
        }
        Ok(())
    }

    /// Starts `count` workers, which are already on the roster.
    fn start_some(self: &Arc<Self>, count: usize) {
        for _ in 0..count {
            let Err(e) = self.start() else { continue };
            let none_is_left = {
                let mut roster = self.roster();
                roster.present -= 1;
                roster.present == 0
            };
            if none_is_left {
                self.break_down(Broken::NoThread(e.to_string().into()));
            }
        }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let number = self.ever_started.fetch_add(1, Ordering::Relaxed) + 1;
        let mut builder = thread::Builder::new().name(format!("{}-worker-{number}", self.options.name));
        if let Some(bytes) = self.options.stack_size {
            builder = builder.stack_size(bytes);
        }
        let workers = Arc::clone(self);
        builder.spawn(move || worker::work(&workers)).map(drop)
    }

    /// Called by a worker that leaves because [`next`](Self::next) told it to.
    pub(super) fn leave(self: &Arc<Self>) {
        self.remove(|_| {});
    }

    /// Called by a worker that leaves on its own initiative.
    pub(super) fn exit(self: &Arc<Self>, is_busy: bool) {
        self.remove(|roster| {
            roster.present -= 1;
            roster.busy -= usize::from(is_busy);
        });
    }

    /// Removes a busy worker from the pool.
    pub(super) fn abandon(self: &Arc<Self>, slot: &WorkerSlot) {
        self.remove(|roster| {
            roster.present -= 1;
            roster.busy -= 1;
            roster.away -= usize::from(slot.is_away.load(Ordering::Relaxed));
        });
    }

    fn remove(self: &Arc<Self>, change: impl FnOnce(&mut Roster)) {
        let mut roster = self.roster();
        change(&mut roster);
        let vacancies = roster.expect(&self.lifecycle);
        // The worker may have been the one called for this job.
        let passes_on = !roster.line.is_empty();
        let is_last = roster.present == 0 && !self.lifecycle.is_open();
        drop(roster);
        if passes_on {
            self.idle.call();
        }
        self.start_some(vacancies);
        if is_last {
            self.wind_up();
        }
    }

    fn wind_up(&self) {
        self.gone.finish();
        self.timeouts.look();
    }

    // ---- waiting ----

    /// Waits until `completion` is done. If the caller is a worker of this pool, another worker can take its place
    /// meanwhile.
    pub(super) fn wait(self: &Arc<Self>, completion: &Completion, patience: &Patience<'_>) -> Result<(), Stopped> {
        if completion.is_done() {
            return Ok(());
        }
        self.wait_by(|| completion.wait(&patience.among_threads(true)))
    }

    /// Waits by calling `wait`. If the caller is a worker of this pool, another worker can take its place meanwhile.
    pub(super) fn wait_by<R>(self: &Arc<Self>, wait: impl FnOnce() -> R) -> R {
        let Some(slot) = worker::slot_of(self) else { return wait() };
        self.step_out(&slot);
        let result = wait();
        self.step_in(&slot);
        result
    }

    fn step_out(self: &Arc<Self>, slot: &WorkerSlot) {
        let mut roster = self.roster();
        if slot.is_abandoned.load(Ordering::SeqCst) {
            return;
        }
        slot.is_away.store(true, Ordering::Relaxed);
        roster.away += 1;
        let vacancies = roster.expect(&self.lifecycle);
        drop(roster);
        self.start_some(vacancies);
    }

    fn step_in(&self, slot: &WorkerSlot) {
        let mut roster = self.roster();
        // An abandoned worker was removed from all counts at that time, including that of workers that are away.
        if !slot.is_abandoned.load(Ordering::SeqCst) && slot.is_away.swap(false, Ordering::Relaxed) {
            roster.away -= 1;
        }
    }

    // ---- the end ----

    /// Returns whether no further task begins.
    pub(super) fn is_over(&self) -> bool {
        self.lifecycle.is_over()
    }

    /// Closes the pool to new tasks.
    pub(super) fn close(&self) {
        self.shut(|life| _ = life.close());
    }

    /// Terminates the pool: tasks that have not begun are not run.
    pub(super) fn terminate(&self) {
        self.shut(|life| _ = life.terminate());
    }

    pub(super) fn break_down(&self, broken: Broken) {
        self.shut(|life| _ = life.break_for(Blocking, broken));
    }

    fn shut(&self, change: impl FnOnce(&Lifecycle<Broken>)) {
        let mut roster = self.roster();
        change(&self.lifecycle);
        let refused = refusal(&self.lifecycle).map(|why| (std::mem::take(&mut roster.line), why));
        let is_deserted = roster.present == 0;
        drop(roster);
        if let Some((jobs, why)) = refused {
            jobs.iter().for_each(|job| job.refuse(self, &why));
        }
        self.idle.dismiss();
        if is_deserted {
            self.wind_up();
        }
    }

    pub(super) fn statistics(&self) -> Statistics {
        let (workers, busy) = {
            let roster = self.roster();
            (roster.present, roster.busy)
        };
        self.counts.statistics(workers, busy)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("name", &self.options.name).finish_non_exhaustive()
    }
}
