//! The workers of a pool, and the line of jobs before them.
//!
//! ```text
//!              takes a job                  its task is given up
//!   free ──────────────────────► busy ──────────────────────────► written off: belongs to the crew no more
//!    ▲ ▲       is done            │ ▲
//!    │ └──────────────────────────┘ │ waits for another task of this pool, and is back
//!    │                             away
//!   hired, if there is room for one                 left: one too many, or nothing more to do
//! ```
//!
//! *Room* there is while fewer than `size` workers are free or busy. So a task that waits for another one takes no
//! worker away from the others; when it goes on, there may be one worker too many, and the next that is done leaves.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use kettle_core::wait::{Idle, Patience, Stopped};

use super::error::{Broken, SubmitError};
use super::job::Job;
use super::roll::{Next, Roll, admit, refusal};
use super::timeouts::Limited;
use super::worker;
use crate::pool::scheduler::thread::Timeouts;
use crate::pool::scheduler::{Blocking, Completion, Counts, Lifecycle, Locking, Statistics};

/// What a pool is to be like.
pub(super) struct Plan {
    pub(super) size: usize,
    pub(super) name: String,
    pub(super) stack_size: Option<usize>,
    pub(super) initializer: Option<Box<dyn Fn() + Send + Sync>>,
    pub(super) max_tasks: Option<u32>,
}

pub(super) struct Crew {
    pub(super) plan: Plan,
    pub(super) idle: Idle,
    pub(super) timeouts: Timeouts<Limited>,
    pub(super) counts: Counts,
    roll: Mutex<Roll>,
    /// Changed under the lock of the roll.
    lifecycle: Lifecycle<Broken>,
    /// So many were ever hired.
    hired: AtomicUsize,
    /// Done once a pool that takes no more has no worker left.
    pub(super) gone: Completion,
}

/// What the crew has to know of one worker.
#[derive(Default)]
pub(super) struct Seat {
    /// A task of its is given up: it belongs to the crew no more. Set while the task cannot end.
    pub(super) is_written_off: AtomicBool,
    /// Changed under the lock of the roll.
    is_away: AtomicBool,
}

impl Crew {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        let roll = Mutex::new(Roll::new(plan.size));
        Arc::new(Self {
            plan,
            idle: Idle::new(),
            timeouts: Timeouts::default(),
            counts: Counts::default(),
            roll,
            lifecycle: Lifecycle::default(),
            hired: AtomicUsize::new(0),
            gone: Completion::default(),
        })
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        Blocking.lock(&self.roll)
    }

    // ---- jobs ----

    /// Whether new tasks are taken in.
    pub(super) fn admit(&self) -> Result<(), SubmitError> {
        admit(&self.lifecycle)
    }

    /// A new job stands in line.
    pub(super) fn take_in(self: &Arc<Self>, job: Arc<dyn Job>) -> Result<(), SubmitError> {
        let roll = self.roll();
        admit(&self.lifecycle)?;
        self.line_up(roll, job);
        Ok(())
    }

    /// There is more of a job that was taken in.
    pub(super) fn go_on(self: &Arc<Self>, job: Arc<dyn Job>) {
        let roll = self.roll();
        match refusal(&self.lifecycle) {
            None => self.line_up(roll, job),
            Some(why) => {
                drop(roll);
                job.refuse(self, &why);
            }
        }
    }

    fn line_up(self: &Arc<Self>, mut roll: MutexGuard<'_, Roll>, job: Arc<dyn Job>) {
        roll.line.push_back(job);
        let vacancies = roll.expect(&self.lifecycle);
        drop(roll);
        self.idle.call();
        self.hire(vacancies);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.roll().line.is_empty()
    }

    /// What a worker does next, which `was_busy` until now.
    pub(super) fn next(&self, was_busy: bool) -> Next {
        let mut roll = self.roll();
        roll.busy -= usize::from(was_busy);
        roll.next(&self.lifecycle)
    }

    // ---- workers ----

    /// Starts the first workers. On an error none is left.
    pub(super) fn hire_all(self: &Arc<Self>) -> io::Result<()> {
        self.roll().present += self.plan.size;
        for started in 0..self.plan.size {
            if let Err(e) = self.start() {
                self.roll().present -= self.plan.size - started;
                self.terminate();
                return Err(e);
            }
        }
        Ok(())
    }

    /// Starts so many workers, which are on the roll already.
    fn hire(self: &Arc<Self>, count: usize) {
        for _ in 0..count {
            let Err(e) = self.start() else { continue };
            let nobody_is_left = {
                let mut roll = self.roll();
                roll.present -= 1;
                roll.present == 0
            };
            if nobody_is_left {
                self.break_down(Broken::NoThread(e.to_string().into()));
            }
        }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let number = self.hired.fetch_add(1, Ordering::Relaxed) + 1;
        let mut builder = thread::Builder::new().name(format!("{}-worker-{number}", self.plan.name));
        if let Some(bytes) = self.plan.stack_size {
            builder = builder.stack_size(bytes);
        }
        let crew = Arc::clone(self);
        builder.spawn(move || worker::work(&crew)).map(drop)
    }

    /// A worker leaves that was told to by [`next`](Self::next).
    pub(super) fn leave(self: &Arc<Self>) {
        self.strike_off(|_| {});
    }

    /// A worker leaves of itself.
    pub(super) fn resign(self: &Arc<Self>, is_busy: bool) {
        self.strike_off(|roll| {
            roll.present -= 1;
            roll.busy -= usize::from(is_busy);
        });
    }

    /// A worker that is busy belongs to the crew no more.
    pub(super) fn write_off(self: &Arc<Self>, seat: &Seat) {
        self.strike_off(|roll| {
            roll.present -= 1;
            roll.busy -= 1;
            roll.away -= usize::from(seat.is_away.load(Ordering::Relaxed));
        });
    }

    fn strike_off(self: &Arc<Self>, change: impl FnOnce(&mut Roll)) {
        let mut roll = self.roll();
        change(&mut roll);
        let vacancies = roll.expect(&self.lifecycle);
        // It may have been called for this.
        let passes_on = !roll.line.is_empty();
        let is_last = roll.present == 0 && !self.lifecycle.is_open();
        drop(roll);
        if passes_on {
            self.idle.call();
        }
        self.hire(vacancies);
        if is_last {
            self.wind_up();
        }
    }

    fn wind_up(&self) {
        self.gone.finish();
        self.timeouts.look();
    }

    // ---- waiting ----

    /// Waits until `completion` is done. A worker of this pool lets another one work meanwhile.
    pub(super) fn wait(self: &Arc<Self>, completion: &Completion, patience: &Patience<'_>) -> Result<(), Stopped> {
        if completion.is_done() {
            return Ok(());
        }
        let patience = patience.among_threads(true);
        let Some(seat) = worker::seat_of(self) else { return completion.wait(&patience) };
        self.step_out(&seat);
        let result = completion.wait(&patience);
        self.step_in(&seat);
        result
    }

    fn step_out(self: &Arc<Self>, seat: &Seat) {
        let mut roll = self.roll();
        if seat.is_written_off.load(Ordering::SeqCst) {
            return;
        }
        seat.is_away.store(true, Ordering::Relaxed);
        roll.away += 1;
        let vacancies = roll.expect(&self.lifecycle);
        drop(roll);
        self.hire(vacancies);
    }

    fn step_in(&self, seat: &Seat) {
        let mut roll = self.roll();
        // Who is written off is counted out by whoever does that, also as one who is away.
        if !seat.is_written_off.load(Ordering::SeqCst) && seat.is_away.swap(false, Ordering::Relaxed) {
            roll.away -= 1;
        }
    }

    // ---- the end ----

    /// Nothing is begun any more.
    pub(super) fn is_over(&self) -> bool {
        self.lifecycle.is_over()
    }

    /// No more tasks are taken in.
    pub(super) fn close(&self) {
        self.shut(|life| _ = life.close());
    }

    /// What was not begun is not begun any more.
    pub(super) fn terminate(&self) {
        self.shut(|life| _ = life.terminate());
    }

    pub(super) fn break_down(&self, broken: Broken) {
        self.shut(|life| _ = life.break_for(Blocking, broken));
    }

    fn shut(&self, change: impl FnOnce(&Lifecycle<Broken>)) {
        let mut roll = self.roll();
        change(&self.lifecycle);
        let refused = refusal(&self.lifecycle).map(|why| (std::mem::take(&mut roll.line), why));
        let is_deserted = roll.present == 0;
        drop(roll);
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
            let roll = self.roll();
            (roll.present, roll.busy)
        };
        self.counts.statistics(workers, busy)
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("name", &self.plan.name).finish_non_exhaustive()
    }
}
