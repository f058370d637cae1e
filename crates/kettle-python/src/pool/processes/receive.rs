//! Receives what workers report: outcomes of tasks and changes of the workers' own state.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kettle::pool::scheduler::Span;
use kettle::pool::scheduler::process::{Event, Inside, SeatId, Word};
use kettle_core::arena::{Block, Names};
use kettle_core::queue::Taken;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

use super::Processes;
use super::workers::FailedStart;
use crate::errors;
use crate::pool::crew::Crew;
use crate::pool::job::{Job, Outcome};
use crate::pool::ledger::count_more;
use crate::pool::locking::{Detaching, lock};
use crate::pool::tasks;

impl Processes {
    /// Collects the workers' reports. Returns whether there were any.
    pub(super) fn receive(&self, py: Python<'_>, inside: &mut Inside<'_, Arc<Job>>, ask: bool) -> PyResult<bool> {
        lock(py, &self.supervisor).sweep(&mut inside.post, ask);
        inside.take_in(Detaching(py));
        let mut received = false;
        let mut result = Ok(());
        let (mut bodies, mut touched) = (None, Vec::new());
        while let Some(event) = inside.next_event(Detaching(py), &mut bodies) {
            received = true;
            let Some(bodies) = &bodies else { continue };
            // An exception from one of the events must not keep the others from being handled.
            let outcome = self.handle(py, &mut touched, event, &bodies.bytes, &bodies.words);
            result = result.and(outcome);
        }
        if let Some(shortage) = inside.post.shortage.take() {
            result = result.and(Err(errors::out_of_memory(shortage)));
        }
        for job in touched {
            result = result.and(job.tell_bar_in_passing(py));
        }
        result.map(|()| received)
    }

    fn handle(
        &self,
        py: Python<'_>,
        touched: &mut Vec<Arc<Job>>,
        event: Event<Arc<Job>>,
        bytes: &[u8],
        words: &[Word],
    ) -> PyResult<()> {
        match event {
            Event::Words { job, first, at } => {
                if job.is_over() {
                    return Ok(());
                }
                touch(py, touched, &job);
                self.ledger.counts.done.fetch_add(at.len() as u64, Ordering::Relaxed);
                let complete = job.put_words(py, first, &words[at]);
                let _in_hand = complete.then(|| self.takes_in_hand(py, &job));
                self.has_put(py, &job, complete)
            }
            Event::Outcome { job, task: index, taken, at } => {
                if job.is_over() {
                    return Ok(());
                }
                let _in_hand = self.takes_in_hand(py, &job);
                if taken.tag == tasks::APART {
                    job.state(py).tasks.pending.give_back_apart(Span { start: index, len: 1 });
                    self.make_ready(py, &job);
                    return Ok(());
                }
                if taken.tag == tasks::UNFOUND && job.resend_by_value(py, index, || self.ledger.next_number()) {
                    self.make_ready(py, &job);
                    return Ok(());
                }
                let (outcome, interrupt) = self.outcome(py, taken, &bytes[at]);
                let named = outcome.as_ref().map_or_else(|e| self.name_task(py, &job, index, e), |_| Ok(()));
                touch(py, touched, &job);
                let put = self.put(py, &job, index, outcome);
                interrupt.map_or(put.and(named), Err)
            }
            Event::Finished { job, len, took } => {
                job.state(py).tasks.pending.finished(len, took);
                Ok(())
            }
            Event::Undone { job, span, apart } => {
                if !job.is_over() {
                    if apart {
                        job.state(py).tasks.pending.give_back_apart(span);
                    } else {
                        job.state(py).tasks.pending.give_back(span);
                    }
                    self.make_ready(py, &job);
                }
                Ok(())
            }
            Event::Note { seat, taken, at, .. } => self.told(py, seat, taken, &bytes[at]),
            Event::Ended { seat, pid, fate, early, lost, preparing, victim } => {
                count_more(&self.ledger.counts.workers_lost, lost.into());
                self.ended(py, seat, pid, fate, early.then_some(FailedStart { preparing }), victim)
            }
        }
    }

    /// The outcome of a task, and the KeyboardInterrupt if Ctrl-C arrived while the outcome was rebuilt.
    fn outcome(&self, py: Python<'_>, taken: Taken<Block>, inline: &[u8]) -> (Outcome, Option<PyErr>) {
        let is_error = matches!(taken.tag, tasks::ERROR | tasks::UNFOUND);
        let rebuilt = match is_error {
            true => self.unpacked(py, taken, inline),
            false => tasks::object(py, taken, inline, 0),
        };
        match rebuilt {
            Ok(value) => (if is_error { Err(value.unbind()) } else { Ok(value.unbind()) }, None),
            Err(e) if e.is_instance_of::<PyException>(py) => (Err(e.into_value(py).into_any()), None),
            Err(e) => {
                // It would end the thread that asks for the result. Before Python 3.12, its traceback is only attached
                // here.
                let raised = e.into_value(py).into_bound(py);
                let is_told = self.ledger.hooks.call(py, intern!(py, "is_interrupt"), (&raised,));
                let is_interrupt = is_told.is_ok_and(|told| told.is_truthy().unwrap_or(false));
                let error = self.ledger.hooks.error(py, intern!(py, "unreadable"), (&raised,));
                (Err(error), is_interrupt.then(|| PyErr::from_value(raised.into_any())))
            }
        }
    }

    /// The exception that a worker raised.
    fn unpacked<'py>(&self, py: Python<'py>, mut taken: Taken<Block>, inline: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        // Held until the exception's own handles have been created.
        let _names = Names::unpack(&mut taken.parts).map_err(errors::arena)?;
        self.ledger.hooks.call(py, intern!(py, "unpack"), (tasks::body(&taken, inline),))
    }

    fn told(&self, py: Python<'_>, seat: SeatId, mut taken: Taken<Block>, inline: &[u8]) -> PyResult<()> {
        if taken.tag == tasks::READY {
            self.start_failures.forget();
            lock(py, &self.supervisor).is_ready(seat);
            return Ok(());
        }
        let _names = Names::unpack(&mut taken.parts).map_err(errors::arena)?;
        let error = self.ledger.hooks.error(py, intern!(py, "unpack"), (tasks::body(&taken, inline),));
        self.fail_all(py, error)
    }
}

/// Notes that the job's progress bar, if it has one, may need an update.
fn touch(py: Python<'_>, touched: &mut Vec<Arc<Job>>, job: &Arc<Job>) {
    if job.has_bar(py) && !touched.iter().any(|t| Arc::ptr_eq(t, job)) {
        touched.push(Arc::clone(job));
    }
}
