//! The worker processes: starts them, and handles their ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kettle::pool::scheduler::process::{Fate, SeatId};
use kettle_core::sys::child::Child;
use pyo3::intern;
use pyo3::prelude::*;

use super::Processes;
use super::desk::Desk;
use crate::errors;
use crate::pool::crew::Crew;
use crate::pool::job::Job;
use crate::pool::ledger::count;
use crate::pool::locking::lock;

const SIGKILL: i32 = 9;

/// A worker ended that was never ready; it may have begun its initializer.
pub(super) struct FailedStart {
    pub(super) preparing: bool,
}

impl Processes {
    /// Starts missing workers. A nested round cannot wait for the start that it interrupts.
    pub(super) fn staff(&self, py: Python<'_>, is_nested: bool) -> PyResult<()> {
        loop {
            let opened = {
                let mut supervisor = lock(py, &self.supervisor);
                let is_complete = supervisor.vacancies() == 0 && !(is_nested && supervisor.has_only_openings());
                if !self.ledger.needs_workers() || is_complete || self.ledger.lifecycle.is_broken() {
                    return Ok(());
                }
                supervisor.open()
            };
            let (seat, desk) = opened.map_err(errors::out_of_memory)?;
            self.starts.fetch_add(1, Ordering::SeqCst);
            let started = self.ledger.hooks.call(py, intern!(py, "start"), (seat.to_bits(), Desk(desk)));
            self.starts.fetch_sub(1, Ordering::SeqCst);
            let child = started.and_then(|started| {
                let (pid, sentinel) = started.extract::<(u32, i32)>()?;
                Child::watched_through(pid, sentinel).or_else(|e| {
                    self.ledger.hooks.call(py, intern!(py, "discard"), (seat.to_bits(),))?;
                    Err(e.into())
                })
            });
            match child {
                Ok(child) => lock(py, &self.supervisor).occupy(seat, child),
                Err(e) => {
                    lock(py, &self.supervisor).abandon(seat);
                    return Err(e);
                }
            }
        }
    }

    /// Handles the end of a worker: reaps it, and records an outcome for the task it was running, or sends that task
    /// again.
    pub(super) fn ended(
        &self,
        py: Python<'_>,
        seat: SeatId,
        pid: u32,
        fate: Fate,
        failed_start: Option<FailedStart>,
        victim: Option<(Arc<Job>, u64)>,
    ) -> PyResult<()> {
        let _in_hand = victim.as_ref().map(|(job, _)| self.takes_in_hand(py, job));
        // Reaps the process and returns how it ended.
        let end = self.ledger.hooks.call(py, intern!(py, "ended"), (seat.to_bits(), pid, fate_name(fate)))?;
        let counts = fate == Fate::Died && !self.ledger.lifecycle.is_terminated();
        if let Some(FailedStart { preparing }) = failed_start.filter(|_| counts) {
            let exitcode: Option<i32> = end.getattr(intern!(py, "exitcode"))?.extract()?;
            if self.start_failures.add(exitcode == Some(-SIGKILL), preparing) {
                let error = self.ledger.hooks.error(py, intern!(py, "false_start"), (end,));
                return self.fail_all(py, error);
            }
            return Ok(());
        }
        let Some((job, index)) = victim else { return Ok(()) };
        if job.is_over() {
            return Ok(());
        }
        let died = matches!(fate, Fate::Died | Fate::Memory);
        if died {
            count(&self.ledger.counts.died);
            if job.state(py).tasks.pending.died(index) {
                count(&self.ledger.counts.retried);
                self.make_ready(py, &job);
                return Ok(());
            }
        }
        if fate == Fate::TimedOut {
            count(&self.ledger.counts.timed_out);
        }
        self.put_loss(py, &job, index, intern!(py, "lost"), end)
    }

    /// Ends all jobs with this error, and accepts no more.
    pub(super) fn fail_all(&self, py: Python<'_>, error: Py<PyAny>) -> PyResult<()> {
        self.break_with(py, intern!(py, "broken"), error)?;
        lock(py, &self.supervisor).end_all();
        Ok(())
    }

    /// Starts workers for `tasks` more tasks, as far as free workers do not suffice, up to `most` in all. Returns
    /// whether there may be more still.
    pub(super) fn hire(&self, py: Python<'_>, most: usize, tasks: usize) -> PyResult<bool> {
        let size = {
            let mut supervisor = lock(py, &self.supervisor);
            let size = supervisor.size();
            let missing = tasks.saturating_sub(supervisor.idle()).min(most.saturating_sub(size));
            if missing == 0 {
                return Ok(size < most);
            }
            supervisor.grow(missing);
            supervisor.size()
        };
        if self.round(py, false)?.is_none() {
            self.watch(py).kick();
        }
        Ok(size < most)
    }
}

fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Died => "died",
        Fate::TimedOut => "timeout",
        Fate::Cancelled => "cancelled",
        Fate::Memory => "memory",
    }
}
