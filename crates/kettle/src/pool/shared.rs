//! The part of a pool that is shared by the threads using it, and how they wait.
//!
//! Of the threads that wait for an outcome, one leads (see [`Lead`]): it receives, sends and starts workers on behalf
//! of all. While no thread waits and there is work, the *deputy* leads, a thread that exits after it was idle for a
//! while.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use kettle_core::arena::Names;
use kettle_core::wait::{Deadline, Patience, Stopped};

use super::error::Broken;
use super::scheduler::process::{Desk, Limits, Round, Supervisor, lead};
use super::scheduler::{Completion, Lead};
use super::state::State;
use super::worker::{DeskToken, Start, WORKER};
use crate::error::OutOfMemory;
use crate::process::{self, Process, StartError};
use crate::session;

pub(super) struct Shared {
    state: Mutex<State>,
    lead: Lead,
    name: String,
    /// The initializer's encoded call, and the handles in it.
    initializer: Option<(Vec<u8>, Names)>,
}

/// How long an idle deputy stays.
const IDLE: Duration = Duration::from_secs(1);

impl Shared {
    pub(super) fn new(
        name: String,
        limits: Limits,
        initializer: Option<(Vec<u8>, Names)>,
    ) -> Result<Arc<Self>, StartError> {
        session::join()?;
        let supervisor = Supervisor::new(limits)?;
        Ok(Arc::new(Self { state: Mutex::new(State::new(supervisor)), lead: Lead::default(), name, initializer }))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `completion` is done, and leads meanwhile if no other thread does.
    pub(super) fn wait(self: &Arc<Self>, completion: &Arc<Completion>, patience: &Patience<'_>) -> Result<(), Stopped> {
        while !completion.is_done() {
            if self.lead.take() {
                let leading = Leading(self);
                let result = self.lead_while(|| !completion.is_done(), true, patience);
                drop(leading);
                result?;
            } else {
                self.lead.follow(completion, || self.kick(), patience)?;
            }
        }
        Ok(())
    }

    /// Performs one step of the leader without waiting, unless another thread leads.
    pub(super) fn look(self: &Arc<Self>) {
        if self.lead.take() {
            let _leading = Leading(self);
            self.step(true);
        }
    }

    fn let_go(self: &Arc<Self>) {
        self.lead.let_go(|| {
            let is_busy = self.state().is_busy();
            if is_busy {
                self.call_deputy(false);
            }
            is_busy
        });
    }

    /// Breaks the pool if this thread panics: outcomes that a leader had received may be lost, and a thread might wait
    /// for them forever. Returns whether it panics.
    fn note_panic(&self) -> bool {
        let panics = thread::panicking();
        if panics {
            self.state().break_down(Broken::Panicked);
        }
        panics
    }

    /// Wakes the leader if it sleeps.
    pub(super) fn kick(&self) {
        let watch = self.state().supervisor.watch();
        watch.kick();
    }

    /// Calls the deputy for work that the caller does not wait for. `urgent` means that its result wakes a future.
    pub(super) fn call_deputy(self: &Arc<Self>, urgent: bool) {
        let is_there = std::mem::replace(&mut self.state().has_deputy, true);
        if is_there {
            return self.lead.call_deputy(urgent);
        }
        let this = Arc::clone(self);
        if thread::Builder::new().name(format!("{}-deputy", self.name)).spawn(move || this.deputise()).is_err() {
            // The pool still progresses while a thread waits, because that thread leads.
            self.state().has_deputy = false;
        }
    }

    fn deputise(self: Arc<Self>) {
        let is_busy = || self.state().is_busy();
        loop {
            match self.lead.stand_in(is_busy, || false, &Patience::until(Deadline::after(IDLE))) {
                Ok(_) => {
                    // A wait without a limit does not time out.
                    let leading = Standing(&self);
                    let _ = self.lead_while(|| !self.lead.is_wanted() && is_busy(), false, &Patience::forever());
                    drop(leading);
                }
                Err(_) => {
                    let mut state = self.state();
                    if !state.is_busy() {
                        state.has_deputy = false;
                        return;
                    }
                }
            }
        }
    }

    /// Performs the leader's work for as long as `goes_on` returns true.
    fn lead_while(&self, goes_on: impl Fn() -> bool, spins: bool, patience: &Patience<'_>) -> Result<(), Stopped> {
        let watch = || self.state().supervisor.watch();
        let round = |asks| {
            self.step(asks);
            if !goes_on() {
                return Ok(Round::Over(()));
            }
            let mut state = self.state();
            if state.rebalance() {
                return Ok(Round::Moved);
            }
            Ok(Round::Still { due: state.due(), spins: spins && state.supervisor.is_news_near() })
        };
        lead(true, watch, round, |watch, pause| watch.rest(pause, patience))
    }

    fn step(&self, ask: bool) {
        let wakers = self.state().step(ask);
        wakers.into_iter().for_each(Waker::wake);
        self.hire();
    }

    /// Starts the workers that are missing. Only called by the leader.
    fn hire(&self) {
        loop {
            let mut state = self.state();
            if !state.needs_a_worker() {
                return;
            }
            let (seat, desk) = match state.supervisor.open() {
                Ok(opened) => opened,
                Err(e) => return state.could_not_start(&e.to_string()),
            };
            drop(state);
            let started = self.start(desk);
            let mut state = self.state();
            match started {
                Ok(process) => state.employ(seat, process),
                Err(e) => return state.do_without(seat, &e.to_string()),
            }
        }
    }

    /// Starts the first workers; stops at the first failure.
    pub(super) fn hire_all(&self) -> Result<(), StartError> {
        let size = self.state().supervisor.size();
        for _ in 0..size {
            let opened: Result<_, OutOfMemory> = self.state().supervisor.open();
            let (seat, desk) = opened?;
            let process = self.start(desk)?;
            self.state().employ(seat, process);
        }
        Ok(())
    }

    fn start(&self, desk: Desk) -> Result<Process, StartError> {
        let initializer = self.initializer.as_ref().map(|(bytes, _)| bytes.clone());
        let start = Start { desk: DeskToken(desk), initializer };
        process::Builder::__new(WORKER.key(), &format!("{}-worker", self.name), start).daemon(true).start()
    }
}

/// The lead, held by a thread that waits.
struct Leading<'s>(&'s Arc<Shared>);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.note_panic();
        self.0.let_go();
    }
}

/// The lead, held by the deputy.
struct Standing<'s>(&'s Shared);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if self.0.note_panic() {
            self.0.state().has_deputy = false;
        }
        self.0.lead.let_go(|| self.0.state().is_busy());
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}
