//! A round of a pool: receives outcomes, starts missing workers, sends tasks. See [`Rounds`] for rounds that are nested in
//! one another.
//!
//! [`Rounds`]: kettle::pool::scheduler::process::Rounds

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kettle::pool::scheduler::Completion;
use kettle::pool::scheduler::process::{InHand, Inside, Rest, Round, lead};
use kettle_core::wait::Deadline;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;

use super::Processes;
use crate::door::wait_outside_until_signal;
use crate::errors;
use crate::pool::job::Job;
use crate::pool::locking::{Detaching, lock};

/// The poll interval of a wait inside a round: a leader may use the same doorbell and consume its ring.
const INNER_NAP: Duration = Duration::from_millis(2);

impl Processes {
    /// Marks something of a job as being handled until the result is dropped.
    pub(super) fn takes_in_hand(&self, py: Python<'_>, job: &Arc<Job>) -> InHand<'_, Arc<Job>> {
        self.rounds.take_in_hand(Detaching(py), Arc::clone(job))
    }

    /// Whether this thread, inside a round, would wait for something that it is handling itself.
    fn has_in_hand(&self, py: Python<'_>, completion: &Arc<Completion>) -> bool {
        let is_for_all = Arc::ptr_eq(completion, &self.gone);
        let is_waited_for = |job: &Arc<Job>| !job.is_over() && is_for_all || Arc::ptr_eq(&job.completion, completion);
        self.rounds.has_in_hand(Detaching(py), is_waited_for)
    }

    /// Waits, inside a round, until `completion` is done. Returns false on timeout. When waiting for the pool's
    /// workers, also returns false once only those are left that this thread is about to start, which leave as soon as
    /// they run.
    pub(super) fn wait_inside_round(
        &self,
        py: Python<'_>,
        completion: &Arc<Completion>,
        deadline: Deadline,
    ) -> PyResult<bool> {
        let round = |_| {
            if completion.is_done() {
                return Ok(Round::Over(true));
            }
            if self.has_in_hand(py, completion) {
                return Err(PyRuntimeError::new_err(
                    "a signal handler, or what a pool calls to send or to rebuild an object, cannot wait for the task of \
                     which that is a part: it would wait for itself",
                ));
            }
            py.check_signals()?;
            let moved = self.round(py, true)?;
            let is_last = Arc::ptr_eq(completion, &self.gone) && self.is_left_to_starts(py);
            if completion.is_done() || is_last || deadline.is_past() {
                return Ok(Round::Over(completion.is_done()));
            }
            Ok(if moved == Some(true) {
                Round::Moved
            } else {
                Round::Still { due: Deadline::after(INNER_NAP), spins: false }
            })
        };
        lead(
            true,
            || self.watch(py),
            round,
            |watch, pause| {
                // Whatever ended the rest, the next round checks again.
                Ok(wait_outside_until_signal(py, deadline, |p| watch.rest(pause, p)).unwrap_or(Rest::Slept))
            },
        )
    }

    /// Whether a pool that accepts no more jobs has no workers except those that are being started.
    fn is_left_to_starts(&self, py: Python<'_>) -> bool {
        !self.ledger.needs_workers()
            && lock(py, &self.supervisor).is_deserted_but_for(self.starts.load(Ordering::SeqCst))
    }

    /// Runs one round: receives, starts workers, sends. Returns whether anything happened, or None if another thread is
    /// inside a round.
    pub(super) fn round(&self, py: Python<'_>, ask: bool) -> PyResult<Option<bool>> {
        let Some(mut inside) = self.rounds.enter() else { return Ok(None) };
        self.round_inside(py, &mut inside, ask).map(Some)
    }

    fn round_inside(&self, py: Python<'_>, inside: &mut Inside<'_, Arc<Job>>, ask: bool) -> PyResult<bool> {
        if self.rounds.take_panic() {
            // What that thread had received may be lost with it, and a thread would wait for it for ever.
            let text = "a thread panicked while it worked for this pool, and results may be lost; make a new pool";
            self.fail_all(py, PyRuntimeError::new_err(text).into_value(py).into_any())?;
        }
        let received = self.receive(py, inside, ask)?;
        // A terminated pool goes on in any case, to see its workers end.
        if !self.ledger.lifecycle.is_terminated() {
            errors::check()?;
        }
        if let Err(e) = self.staff(py, inside.is_nested()) {
            // The remaining workers continue, and the start is retried. Without any worker nothing would ever happen.
            if lock(py, &self.supervisor).has_only_openings() || !e.is_instance_of::<PyException>(py) {
                return Err(e);
            }
        }
        let sent = self.dispatch(py)?;
        self.wind_up(py);
        if received || sent {
            return Ok(true);
        }
        let nothing_to_send = lock(py, &self.ledger.ready).is_empty();
        Ok(nothing_to_send && lock(py, &self.supervisor).rebalance())
    }
}
