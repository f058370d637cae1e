//! Sends tasks to workers: from the first job in the queue to a worker slot that has room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kettle::pool::scheduler::Span;
use kettle::pool::scheduler::process::{Conditions, Load, SeatId};
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;

use super::Processes;
use crate::errors;
use crate::pool::crew::Crew;
use crate::pool::job::{Job, SpanItems, Work};
use crate::pool::locking::lock;
use crate::pool::tasks;

impl Processes {
    /// Sends as much as there is room for. Called within a round.
    pub(super) fn dispatch(&self, py: Python<'_>) -> PyResult<bool> {
        let mut sent = false;
        loop {
            let (seat, size) = {
                let supervisor = lock(py, &self.supervisor);
                (supervisor.room(), supervisor.size())
            };
            let Some(seat) = seat else { return Ok(sent) };
            let Some(job) = lock(py, &self.ledger.ready).front().cloned() else { return Ok(sent) };
            let some = !job.is_over() && job.refill(py);
            self.settle(py, &job)?;
            let span = {
                let mut state = job.state(py);
                let span = if some && !state.is_held { state.tasks.pending.take(size) } else { None };
                match span {
                    Some(span) => state.tasks.sends(span),
                    None => _ = state.tasks.leave_line(),
                }
                span
            };
            let Some(span) = span else {
                self.ledger.set_aside(py, &job);
                continue;
            };
            match self.send(py, seat, &job, span) {
                Ok(()) => sent = true,
                Err(e) if e.is_instance_of::<PyException>(py) => self.refuse(py, &job, span, e)?,
                Err(e) => {
                    // A KeyboardInterrupt is not an error of these tasks.
                    job.state(py).tasks.pending.give_back(span);
                    return Err(e);
                }
            }
        }
    }

    fn send(&self, py: Python<'_>, seat: SeatId, job: &Arc<Job>, span: Span) -> PyResult<()> {
        let _in_hand = self.takes_in_hand(py, job);
        // The caller of a map that is not iterated waits for all outcomes at once.
        let batched = !job.is_call() && !job.is_iterated() && !job.has_bar(py);
        let conditions = Conditions { timeout: job.timeout, batched };
        let sent = |load: Load<'_>| {
            let mut supervisor = lock(py, &self.supervisor);
            supervisor.send(seat, Arc::clone(job), span, conditions, load).map_err(errors::out_of_memory)
        };
        // None: the job was cancelled in the meantime.
        let Some(work) = job.work(py) else { return Ok(()) };
        match work {
            Work::Call { function, args, kwds } => {
                self.forget_what_is_over(py)?;
                let triple = (function, args, kwds).into_pyobject(py)?;
                tasks::with_object_by_value(triple.as_any(), tasks::CALL, 0, job.is_by_value(), sent)
            }
            Work::Items { function, unpacks } => {
                let (lesson, by_value) = (job.lesson.load(Ordering::Relaxed), job.is_by_value());
                if !lock(py, &self.supervisor).knows(seat, lesson) {
                    self.forget_what_is_over(py)?;
                    self.teach(py, seat, lesson, by_value, &function, unpacks)?;
                }
                match job.items(py, span) {
                    SpanItems::Counted(numbers) => numbers.send(lesson, sent),
                    items => tasks::with_items(py, lesson, by_value, span.len as usize, |i| items.get(py, i), sent),
                }
            }
        }
    }

    fn teach(
        &self,
        py: Python<'_>,
        seat: SeatId,
        lesson: u64,
        by_value: bool,
        function: &Py<PyAny>,
        unpacks: bool,
    ) -> PyResult<()> {
        let pair = (function, unpacks).into_pyobject(py)?;
        tasks::with_object_by_value(pair.as_any(), tasks::JOB, lesson, by_value, |load| {
            lock(py, &self.supervisor).teach(seat, lesson, load).map_err(errors::out_of_memory)
        })
    }

    /// Makes workers drop the functions of maps that are over: when they are sent something else, or have been idle for
    /// a while. A message for each one at once would wake them after every map. Called within a round.
    pub(super) fn forget_what_is_over(&self, py: Python<'_>) -> PyResult<()> {
        if !self.has_forgettable.load(Ordering::Relaxed) || !self.has_forgettable.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let live: Vec<u64> = {
            let live = lock(py, &self.ledger.live);
            live.values().map(|job| job.lesson.load(Ordering::Relaxed)).collect()
        };
        let taught = lock(py, &self.supervisor).taught();
        for seat in taught {
            let over = lock(py, &self.supervisor).forget(seat, |lesson| !live.contains(&lesson));
            if over.is_empty() {
                continue;
            }
            let bytes: Vec<u8> = over.iter().flat_map(|job| job.to_ne_bytes()).collect();
            tasks::with_bytes(tasks::FORGET, 0, &bytes, |load| {
                lock(py, &self.supervisor).note(seat, load).map_err(errors::out_of_memory)
            })?;
        }
        Ok(())
    }

    /// Handles tasks that could not be sent. If there are several, any one of them may be the cause, so each is sent
    /// alone.
    fn refuse(&self, py: Python<'_>, job: &Arc<Job>, span: Span, e: PyErr) -> PyResult<()> {
        if span.len > 1 {
            job.state(py).tasks.pending.give_back_apart(span);
            return Ok(());
        }
        let error = self.explained(py, job, span, e);
        self.put(py, job, span.start, Err(error))
    }

    /// The error of a task that could not be sent, which names the part of it that is the cause.
    fn explained(&self, py: Python<'_>, job: &Arc<Job>, span: Span, e: PyErr) -> Py<PyAny> {
        let hook = intern!(py, "unsendable");
        match job.work(py) {
            Some(Work::Call { function, args, kwds }) => {
                self.ledger.hooks.error(py, hook, (e.into_value(py), function, args, kwds))
            }
            Some(Work::Items { function, .. }) => match job.items(py, span).get(py, 0) {
                Ok(item) => {
                    self.ledger.hooks.error(py, hook, (e.into_value(py), function, item, py.None(), span.start))
                }
                Err(_) => e.into_value(py).into_any(),
            },
            None => e.into_value(py).into_any(),
        }
    }
}
