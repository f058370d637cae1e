//! The life of a worker thread: it takes tasks from the job that stands first in line, calls them, puts their outcomes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kettle::pool::engine::{Span, Waiter};
use kettle_core::wait::Deadline;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Threads;
use crate::door::wait_outside;
use crate::methods::calls;
use crate::pool::arguments::{as_dict, as_tuple};
use crate::pool::crew::Crew;
use crate::pool::job::{Job, Outcome, SpanItems, Work};
use crate::pool::ledger::{count, lock};

/// The interpreter is offered to others so often, also where the tasks are functions that never would.
const TURN: Duration = Duration::from_millis(5);

/// What comes of a span.
enum Done {
    /// Its tasks have their outcomes. Somebody waits for a job that is over now, and has not been woken yet.
    All(Option<Arc<Waiter>>),
    /// A task was given up while it ran, and its worker with it.
    GivenUp,
}

impl Threads {
    /// The life of a worker.
    pub(super) fn work(&self, py: Python<'_>) -> PyResult<()> {
        let mut turn = Instant::now();
        let mut me = self.idle.searcher();
        let mut unfinished: Option<Arc<Waiter>> = None;
        let given_up = loop {
            me.look();
            let Some((job, span)) = self.next(py)? else {
                if self.is_over(py) {
                    break false;
                }
                // Who is woken by what is finished here, and brings work, needs nobody else.
                me.search();
                let finished = unfinished.take();
                wait_outside(py, Deadline::NEVER, |patience| {
                    if let Some(waiter) = finished {
                        waiter.finish();
                    }
                    me.rest(patience);
                })?;
                turn = Instant::now();
                continue;
            };
            if let Some(waiter) = unfinished.take() {
                waiter.finish();
            }
            me.found(|| !lock(py, &self.ledger.ready).is_empty());
            match self.work_off(py, &job, span, &mut turn)? {
                Done::All(waiter) => unfinished = waiter,
                Done::GivenUp => break true,
            }
        };
        drop(me);
        if let Some(waiter) = unfinished {
            waiter.finish();
        }
        if !given_up {
            self.leave();
        }
        Ok(())
    }

    /// What is to be done next.
    fn next(&self, py: Python<'_>) -> PyResult<Option<(Arc<Job>, Span)>> {
        loop {
            let Some(job) = lock(py, &self.ledger.ready).front().cloned() else { return Ok(None) };
            if let Some(span) = self.take(py, &job) {
                return Ok(Some((job, span)));
            }
            if !job.is_over() && job.is_pulled(py) {
                let refilled = {
                    let _pulling = lock(py, &self.pulling);
                    job.refill(py)
                };
                self.settle(py, &job)?;
                if refilled {
                    continue;
                }
            }
            let was_ready = {
                let mut state = job.state(py);
                (state.is_held || !state.agenda.has_some()) && std::mem::take(&mut state.is_ready)
            };
            if was_ready {
                self.ledger.set_aside(py, &job);
            }
        }
    }

    /// Some tasks of a job, and no more than one if it may be given up in the middle of it.
    fn take(&self, py: Python<'_>, job: &Arc<Job>) -> Option<Span> {
        let mut state = job.state(py);
        if state.is_held {
            return None;
        }
        let mut span = state.agenda.take(self.present.load(Ordering::Relaxed))?;
        if job.timeout.is_some() && span.len > 1 {
            state.agenda.give_back(Span { start: span.start + 1, len: span.len - 1 });
            span.len = 1;
        }
        state.was_sent = true;
        if state.is_spent() && std::mem::take(&mut state.is_ready) {
            drop(state);
            self.ledger.set_aside(py, job);
        }
        Some(span)
    }

    fn work_off(&self, py: Python<'_>, job: &Arc<Job>, span: Span, turn: &mut Instant) -> PyResult<Done> {
        let items = match job.work {
            Work::Call { .. } => SpanItems::Taken(Vec::new()),
            Work::Items { .. } => job.items(py, span),
        };
        let begun = Instant::now();
        let mut now = begun;
        let mut unfinished = None;
        for place in 0..span.len {
            if job.is_over() {
                // It was cancelled.
                break;
            }
            if now - *turn > TURN {
                py.detach(|| ());
                *turn = Instant::now();
            }
            let index = span.start + u64::from(place);
            let number = job.timeout.map(|timeout| self.limited.begin(py, job, index, timeout));
            self.busy.fetch_add(1, Ordering::Relaxed);
            let outcome = self.outcome(py, job, &items, place);
            if number.is_some_and(|number| !self.limited.end(py, number)) {
                return Ok(Done::GivenUp);
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
            now = Instant::now();
            if place + 1 == span.len {
                job.state(py).agenda.finished(span.len, u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX));
            }
            if job.is_over() {
                break;
            }
            let counts = &self.ledger.counts;
            count(if outcome.is_ok() { &counts.done } else { &counts.failed });
            if !job.put(py, index, outcome) {
                self.has_put(py, job, false)?;
            } else if job.end() && self.conclude(py, job)? {
                self.strike_off();
                if job.take_leave(py) {
                    unfinished = Some(Arc::clone(&job.waiter));
                } else {
                    job.waiter.finish();
                    self.tell(py, job);
                }
            }
        }
        job.tell_bar(py, false)?;
        Ok(Done::All(unfinished))
    }

    /// Does one task.
    fn outcome(&self, py: Python<'_>, job: &Job, items: &SpanItems, place: u32) -> Outcome {
        let result = match &job.work {
            Work::Call { function, args, kwds } => as_tuple(args.bind(py).clone()).and_then(|args| {
                let kwds = as_dict(kwds.bind(py).clone())?;
                calls::call_with(function.bind(py), &args, &kwds)
            }),
            Work::Items { function, unpacks } => items.get(py, place as usize).and_then(|item| match unpacks {
                false => calls::call_one(function.bind(py), &item),
                true => calls::call_with(function.bind(py), &as_tuple(item)?, &PyDict::new(py)),
            }),
        };
        match result {
            Ok(value) => Ok(value.unbind()),
            Err(e) if e.is_instance_of::<PyException>(py) => Err(e.into_value(py).into_any()),
            // What would end the program, were it raised there.
            Err(e) => Err(self.ledger.error(py, intern!(py, "raised"), (e.into_value(py),))),
        }
    }
}
