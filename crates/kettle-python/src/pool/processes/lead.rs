//! Leadership: one of the threads that wait for results runs the rounds for all of them, or the deputy if none waits.
//!
//! ```text
//!             no leader                   its completion is done
//!   waits ────────────────► leads ─────────────────────────────► leaves, and wakes an heir
//!     │                       ▲
//!     └─ has a leader ─► follows (sleeps until its completion is done, or it is the heir)
//! ```
//!
//! A signal handler may wait for the very pool that its thread waits for, and may never return. So it runs while its
//! thread neither leads nor is queued as an heir: a leader steps aside first, and a follower leaves the queue. While it
//! runs, any other thread may take the lead; if all others sleep, the deputy takes it at its next patrol.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kettle::pool::scheduler::process::{Quiet, Rest, Round, lead};
use kettle::pool::scheduler::{Completion, HeldLead};
use kettle_core::wait::{Deadline, Stopped};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::Processes;
use crate::door::{wait_outside, wait_outside_until_signal};
use crate::pool::locking::{Detaching, lock};

/// The interval at which idle workers are checked for death, until they have been idle for long.
const PATROL: Duration = Duration::from_millis(200);
/// How soon to check again whether another thread, detached from the interpreter, is still inside a round.
const MEANWHILE: Duration = Duration::from_micros(200);

/// Why a thread stopped leading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Led {
    Enough,
    TimeIsOver,
    /// Another thread leads, or has led, since this one stepped aside.
    WasTaken,
}

impl Processes {
    /// Waits until `completion` is done, and leads meanwhile if no other thread does. Returns false on timeout.
    pub(super) fn lead_or_follow(
        &self,
        py: Python<'_>,
        completion: &Arc<Completion>,
        deadline: Deadline,
    ) -> PyResult<bool> {
        loop {
            if completion.is_done() {
                return Ok(true);
            }
            self.ledger.check_home()?;
            if self.rounds.is_inside() {
                return self.wait_inside_round(py, completion, deadline);
            }
            if self.lead.take() {
                let mut led = self.lead.held(|| self.is_busy(Some(py)));
                let result = self.lead_until(py, &mut led, &|| completion.is_done(), deadline);
                drop(led);
                if result? == Led::TimeIsOver {
                    return Ok(completion.is_done());
                }
            } else {
                let watch = self.watch(py);
                match wait_outside_until_signal(py, deadline, |p| self.lead.follow(completion, || watch.kick(), p)) {
                    Err(Stopped::TimedOut) => return Ok(completion.is_done()),
                    Err(_) => py.check_signals()?,
                    Ok(()) => {}
                }
            }
        }
    }

    /// Leads until `enough`, as long as this thread has the lead.
    fn lead_until<F: FnOnce() -> bool>(
        &self,
        py: Python<'_>,
        led: &mut HeldLead<'_, F>,
        enough: &dyn Fn() -> bool,
        deadline: Deadline,
    ) -> PyResult<Led> {
        let has_timed_out = Cell::new(false);
        let round = |asks| {
            led.step_aside(|| py.check_signals())?;
            if !led.is_ours() {
                return Ok(Round::Over(Led::WasTaken));
            }
            let moved = self.round(py, asks);
            let is_interrupt = moved.as_ref().is_err_and(|e| !e.is_instance_of::<PyException>(py));
            if !is_interrupt && enough() {
                // An error that concerns other jobs, or a failure to start workers, is raised in a thread that it
                // affects.
                return Ok(Round::Over(Led::Enough));
            }
            let moved = moved?;
            if moved == Some(true) && !deadline.is_past() && !has_timed_out.get() {
                return Ok(Round::Moved);
            }
            if moved == Some(true) || has_timed_out.get() {
                return Ok(Round::Over(Led::TimeIsOver));
            }
            let supervisor = lock(py, &self.supervisor);
            let due = moved.map_or_else(|| Deadline::after(MEANWHILE), |_| supervisor.due());
            Ok(Round::Still { due, spins: supervisor.is_news_near() })
        };
        lead(
            false,
            || self.watch(py),
            round,
            |watch, pause| {
                Ok(wait_outside_until_signal(py, deadline, |p| watch.rest(pause, p)).unwrap_or_else(|stopped| {
                    // A signal may be for this pool; when the time is over, one more round looks for the outcome.
                    has_timed_out.set(stopped != Stopped::Interrupted);
                    Rest::Slept
                }))
            },
        )
    }

    /// Asks the workers to leave once a closed pool has nothing to do, and wakes the threads that wait for the last of
    /// them.
    pub(super) fn wind_up(&self, py: Python<'_>) {
        if self.ledger.needs_workers() {
            return;
        }
        let mut supervisor = lock(py, &self.supervisor);
        if self.ledger.lifecycle.is_closed() && !self.dismissed.swap(true, Ordering::SeqCst) {
            supervisor.dismiss();
        }
        if supervisor.is_deserted() {
            drop(supervisor);
            // A raised reason references frames that may reference the pool, and it is not needed any more.
            let broken = self.ledger.lifecycle.take_reason(Detaching(py));
            self.gone.finish();
            self.lead.call_deputy(true);
            drop(broken);
        }
    }

    /// Whether the pool needs a leader. An attached caller passes its token.
    fn is_busy(&self, py: Option<Python<'_>>) -> bool {
        self.ledger.has_work() || (!self.ledger.lifecycle.is_running() && !self.gone.is_done()) || self.sees_off(py)
    }

    /// Whether a worker has to be killed if it does not leave by itself.
    fn sees_off(&self, py: Option<Python<'_>>) -> bool {
        let supervisor = match py {
            Some(py) => lock(py, &self.supervisor),
            None => self.supervisor.lock().unwrap_or_else(PoisonError::into_inner),
        };
        supervisor.is_ending_some()
    }

    /// Leads when no other thread does, until the pool is over.
    pub(super) fn deputise(&self, py: Python<'_>) -> PyResult<()> {
        let mut quiet = Quiet::default();
        loop {
            let watch = self.watch(py);
            let patrol = quiet.next_look().max(Deadline::after(PATROL));
            let stood_in = wait_outside(py, Deadline::NEVER, |p| {
                let p = p.unhurried().no_later_than(patrol);
                match self.lead.stand_in(|| self.is_busy(None), || self.gone.is_done(), &p) {
                    // Idle workers may have died: the pool is to be complete when it is needed.
                    Err(_) if !watch.any_ended() => None,
                    Err(_) => Some(self.lead.take().then_some(())),
                    Ok(called) => Some(called),
                }
            })?;
            match stood_in {
                None => {
                    if let Some(inside) = self.rounds.enter() {
                        // If memory is too low to tell the workers now, they are told after the next map.
                        let _ = self.forget_what_is_over(py);
                        drop(inside);
                    }
                    continue;
                }
                Some(None) if self.gone.is_done() => return Ok(()),
                Some(None) => continue,
                Some(Some(())) => {}
            }
            let enough = || self.lead.is_wanted() || !self.is_busy(Some(py));
            let mut led = self.lead.held(|| self.is_busy(Some(py)));
            let result = self.lead_until(py, &mut led, &enough, Deadline::NEVER);
            drop(led);
            quiet = Quiet::default();
            if let Err(e) = result {
                // For example, no worker could be started: the waiting threads would not learn of it otherwise.
                self.fail_all(py, e.into_value(py).into_any())?;
            }
        }
    }
}
