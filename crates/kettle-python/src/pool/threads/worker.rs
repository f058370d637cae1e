//! The main loop of a worker thread: it takes tasks from the first job in the queue, calls them, and records their
//! outcomes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use kettle::pool::scheduler::{Completion, Span};
use kettle_core::crash_point;
use kettle_core::wait::Deadline;
use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Threads;
use super::claim::{Claim, Claimed, LocalQueue, take_kept};
use super::shift::{OVERDUE, Shift};
use crate::door::wait_outside;
use crate::fast::calls;
use crate::pool::arguments::{as_dict, as_tuple};
use crate::pool::crew::Crew;
use crate::pool::job::{Job, Outcome, State, Work};
use crate::pool::ledger::count_more;
use crate::pool::locking::{Detaching, lock};

/// What became of claimed tasks.
enum Done {
    /// The tasks have their outcomes. The completion is that of a job that is over, whose waiting threads are not woken
    /// yet.
    All(Option<Arc<Completion>>),
    /// A task was given up while it ran, and its worker with it.
    GivenUp,
}

/// How long a worker keeps the outcomes of a map, unless a task takes longer.
const KEPT: Duration = Duration::from_millis(1);

impl Threads {
    /// The main loop of a worker.
    pub(super) fn work(&self, py: Python<'_>) -> PyResult<()> {
        let mut me = Shift::new(self.idle.searcher());
        self.queues.add(Detaching(py), &me.queue);
        let ended = self.work_until_over(py, &mut me);
        let left = self.queues.remove(Detaching(py), &me.queue);
        drop((left, me));
        let (given_up, unfinished) = ended?;
        if let Some(completion) = unfinished {
            completion.finish();
        }
        if !given_up {
            self.leave();
        }
        Ok(())
    }

    /// Returns whether this worker was given up, and a completion that is not finished yet.
    fn work_until_over(&self, py: Python<'_>, me: &mut Shift<'_>) -> PyResult<(bool, Option<Arc<Completion>>)> {
        let mut unfinished: Option<Arc<Completion>> = None;
        loop {
            me.searcher.look();
            let Some((job, work)) = self.next(py, me)? else {
                if self.is_over() {
                    return Ok((false, unfinished));
                }
                // A thread woken by this completion may submit work; this worker, which is searching, will find it.
                me.searcher.search();
                let finished = unfinished.take();
                wait_outside(py, Deadline::NEVER, |patience| {
                    if let Some(completion) = finished {
                        completion.finish();
                    }
                    me.searcher.rest(&patience.among_threads(true));
                })?;
                me.took_turn();
                continue;
            };
            crash_point("pool.thread.claimed");
            if let Some(completion) = unfinished.take() {
                completion.finish();
            }
            me.searcher.found(|| self.queues.are_laden() || !lock(py, &self.ledger.ready).is_empty());
            let done = match work {
                Work::Call { function, args, kwds } => self.call(py, me, &job, (function, args, kwds)),
                Work::Items { function, unpacks } => self.work_off(py, me, &job, (function, unpacks)),
            };
            match done? {
                Done::All(completion) => unfinished = completion,
                Done::GivenUp => return Ok((true, None)),
            }
        }
    }

    /// The next work: a call, or tasks that are claimed now.
    fn next(&self, py: Python<'_>, me: &mut Shift<'_>) -> PyResult<Option<(Arc<Job>, Work)>> {
        if self.queues.are_laden() && me.is_to_look() {
            if let Some(stolen) = self.steal(py, me, OVERDUE) {
                return Ok(Some(stolen));
            }
        }
        loop {
            let Some(job) = lock(py, &self.ledger.ready).front().cloned() else {
                return Ok(self.steal(py, me, Duration::ZERO));
            };
            if let Some(work) = self.claim(py, &me.queue, &job) {
                return Ok(Some((job, work)));
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
                (state.is_held || !state.tasks.pending.has_some()) && state.tasks.leave_line()
            };
            if was_ready {
                self.ledger.set_aside(py, &job);
            }
        }
    }

    fn steal(&self, py: Python<'_>, me: &mut Shift<'_>, longer_than: Duration) -> Option<(Arc<Job>, Work)> {
        while self.queues.are_laden() {
            me.searcher.search();
            let may_take = |claimed: &Claimed| claimed.since.elapsed() >= longer_than;
            if self.queues.steal(Detaching(py), &me.queue, may_take) == 0 {
                return None;
            }
            let job = self.queues.with(Detaching(py), &me.queue, |claim| Arc::clone(&claim.context.job))?;
            if let Some(work) = job.work(py) {
                return Some((job, work));
            }
            // The job was cancelled in the meantime.
            me.put_down(py, &self.queues);
        }
        None
    }

    /// Claims a call, or moves some tasks of a job to the queue; only one if it has a time limit.
    fn claim(&self, py: Python<'_>, queue: &LocalQueue, job: &Arc<Job>) -> Option<Work> {
        let mut is_spent = false;
        let mut work = None;
        let mut take = |mut state: MutexGuard<'_, State>| {
            if state.is_held || state.work.is_none() {
                return None;
            }
            let mut span = state.tasks.pending.claim(self.present.load(Ordering::Relaxed))?;
            if job.timeout.is_some() && span.len > 1 {
                state.tasks.pending.give_back(Span { start: span.start + 1, len: span.len - 1 });
                span.len = 1;
            }
            state.tasks.sends(span);
            is_spent = state.is_spent() && state.tasks.leave_line();
            // The error of a task that is given up includes its item.
            let stay = job.timeout.is_some();
            let items = if stay { state.input.lend(py, span) } else { state.input.give_away(py, span) };
            work = state.work.as_ref().map(|work| work.clone_ref(py));
            Some((span, items, state.tasks.pending.chunk()))
        };
        if job.is_call() {
            take(job.state(py));
        } else {
            let claim = |state: MutexGuard<'_, State>| {
                let (span, items, chunk) = take(state)?;
                Some(Claim::new(Claimed::new(job), span.start, items, chunk))
            };
            self.queues.claim(Detaching(py), queue, job.mutex(), claim);
        }
        if is_spent {
            self.ledger.set_aside(py, job);
        }
        work
    }

    /// Runs a call.
    fn call(
        &self,
        py: Python<'_>,
        me: &mut Shift<'_>,
        job: &Arc<Job>,
        (function, args, kwds): (Py<PyAny>, Py<PyAny>, Py<PyAny>),
    ) -> PyResult<Done> {
        if job.is_over() {
            // It was cancelled.
            return Ok(Done::All(None));
        }
        me.offer_turn(py, Instant::now());
        self.busy.fetch_add(1, Ordering::Relaxed);
        // The arguments are dropped with the job, when it is over: nothing of them stays here.
        let outcome = self.outcome(py, job, 0, None, || {
            let (args, kwds) = (as_tuple(args.into_bound(py))?, as_dict(kwds.into_bound(py))?);
            calls::call_with(&function.into_bound(py), &args, &kwds)
        });
        let Some(outcome) = outcome else { return Ok(Done::GivenUp) };
        me.outcomes.push(outcome);
        self.put_in_passing(py, job, 0, &mut me.outcomes, true).map(Done::All)
    }

    /// Runs the claimed tasks.
    fn work_off(
        &self,
        py: Python<'_>,
        me: &mut Shift<'_>,
        job: &Arc<Job>,
        (function, unpacks): (Py<PyAny>, bool),
    ) -> PyResult<Done> {
        let mut unfinished = None;
        let mut function = Some(function.into_bound(py));
        let begun = Instant::now();
        let (mut now, mut put_at, mut done) = (begun, begun, 0);
        let mut next = me.next_task(py, &self.queues, None);
        // Other workers may have taken all of them already.
        self.busy.fetch_add(usize::from(next.is_some()), Ordering::Relaxed);
        while let (Some((index, item)), Some(called)) = (next, &function) {
            if job.is_over() {
                // It was cancelled.
                self.busy.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            me.offer_turn(py, now);
            let item = item.into_bound(py);
            let outcome = self.outcome(py, job, index, Some((called, &item, unpacks)), || match unpacks {
                false => calls::call_one(called, &item),
                true => calls::call_with(called, &as_tuple(item.clone())?, &PyDict::new(py)),
            });
            drop(item);
            let Some(outcome) = outcome else { return Ok(Done::GivenUp) };
            now = Instant::now();
            done += 1;
            let mut first = index;
            if job.is_iterated() {
                me.outcomes.push(outcome);
                next = me.next_task(py, &self.queues, None);
            } else {
                next = me.next_task(py, &self.queues, Some(outcome));
                if next.is_none() || now - put_at > KEPT {
                    put_at = now;
                    let take = |claim: &mut Claim| take_kept(claim, &mut me.outcomes);
                    first = self.queues.with(Detaching(py), &me.queue, take).unwrap_or(index);
                }
            }
            let is_last = next.is_none();
            if is_last {
                // It is dropped with the job, when that is over.
                function = None;
                job.state(py).tasks.pending.finished(done, u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX));
            }
            if is_last || !me.outcomes.is_empty() {
                unfinished = self.put_in_passing(py, job, first, &mut me.outcomes, is_last)?;
            }
        }
        me.put_down(py, &self.queues);
        job.tell_bar_in_passing(py)?;
        Ok(Done::All(unfinished))
    }

    /// Runs one task, given as a closure. `given` is what the job no longer holds: the function, the item, and whether
    /// the item is a tuple of all arguments. Returns None if the task was given up while it ran.
    #[inline]
    fn outcome<'py>(
        &self,
        py: Python<'py>,
        job: &Arc<Job>,
        index: u64,
        given: Option<(&Bound<'py, PyAny>, &Bound<'py, PyAny>, bool)>,
        task: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> Option<Outcome> {
        let limit = job.timeout.map(|timeout| self.begin_limited(py, job, index, timeout));
        let outcome = match task() {
            Ok(value) => Ok(value.unbind()),
            Err(e) if e.is_instance_of::<PyException>(py) => Err(e.into_value(py).into_any()),
            // It would end the program if it were raised in the thread that asks for the result.
            Err(e) => Err(self.ledger.hooks.error(py, intern!(py, "raised"), (e.into_value(py),))),
        };
        let is_late = limit.is_some_and(|limit| !self.end_limited(py, limit));
        if is_late {
            return None;
        }
        if let Err(e) = &outcome {
            let named = match given {
                None => self.name_task(py, job, index, e),
                Some((function, item, unpacks)) => {
                    let call = (function.clone(), item.clone(), PyDict::new(py).into_any(), unpacks);
                    self.name_task_of(py, job, index, e, call)
                }
            };
            if let Err(e) = named {
                e.write_unraisable(py, None);
            }
        }
        Some(outcome)
    }

    /// Records the outcomes of consecutive tasks and empties the list. If the job is now over, may return its
    /// completion, for the caller to finish when convenient. If the worker `rests`, it counts as free before the
    /// outcomes are announced.
    fn put_in_passing(
        &self,
        py: Python<'_>,
        job: &Arc<Job>,
        first: u64,
        outcomes: &mut Vec<Outcome>,
        rests: bool,
    ) -> PyResult<Option<Arc<Completion>>> {
        let complete = self.put_run(py, job, first, outcomes);
        let rest = || self.busy.fetch_sub(usize::from(rests), Ordering::Relaxed);
        if !complete || !job.end() {
            rest();
            self.has_put(py, job, false)?;
            return Ok(None);
        }
        let mut concluded = self.conclude(py, job);
        if !(concluded.wakes && concluded.leavings.went_quietly(py)) {
            // Callbacks and destructors keep the worker from its tasks.
            let finished = self.finish(py, job, concluded);
            rest();
            return finished.map(|()| None);
        }
        rest();
        if concluded.result.is_ok() && job.take_leave(py) {
            self.strike_off();
            return Ok(Some(Arc::clone(&job.completion)));
        }
        self.finish(py, job, concluded).map(|()| None)
    }

    /// Records the outcomes that all workers keep.
    pub(super) fn put_what_is_kept(&self, py: Python<'_>) {
        let kept = self.queues.with_all(Detaching(py), |claim| {
            let mut outcomes = Vec::new();
            let first = take_kept(claim, &mut outcomes);
            (!outcomes.is_empty()).then(|| (Arc::clone(&claim.context.job), first, outcomes))
        });
        for (job, first, mut outcomes) in kept {
            let complete = self.put_run(py, &job, first, &mut outcomes);
            if let Err(e) = self.has_put(py, &job, complete) {
                e.write_unraisable(py, None);
            }
        }
    }

    /// Records outcomes. Returns whether the job has all of them now.
    fn put_run(&self, py: Python<'_>, job: &Job, first: u64, outcomes: &mut Vec<Outcome>) -> bool {
        if job.is_over() {
            outcomes.clear();
            return false;
        }
        let (all, failed) = (outcomes.len(), outcomes.iter().filter(|outcome| outcome.is_err()).count());
        let counts = &self.ledger.counts;
        count_more(&counts.done, (all - failed) as u64);
        count_more(&counts.failed, failed as u64);
        job.put_all(py, first, outcomes)
    }
}
