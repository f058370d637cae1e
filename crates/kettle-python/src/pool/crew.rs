//! The interface of a pool to its jobs, for both kinds of pool: recording outcomes, completing, cancelling and aborting
//! jobs.

use std::sync::Arc;

use kettle::pool::scheduler::Completion;
use kettle_core::wait::Deadline;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::job::{CallOf, Job, Leavings, Outcome, Work};
use super::ledger::{Ledger, count};
use super::locking::{Detaching, lock};
use crate::fast::calls;

/// The remaining steps for a job that is over.
pub(super) struct Concluded {
    /// Whether to wake the waiting threads now; if not, they are woken after the callback.
    pub(super) wakes: bool,
    /// Dropped after the waiting threads have been woken.
    pub(super) leavings: Leavings,
    /// A callback and the error to pass to it, called last, by the thread that cancelled the job.
    pub(super) callback: Option<(Py<PyAny>, Py<PyAny>)>,
    /// The first error so far, raised at the end.
    pub(super) result: PyResult<()>,
}

/// A pool of either kind, as its jobs see it.
pub(super) trait Crew: Send + Sync {
    fn ledger(&self) -> &Ledger;

    /// The Python object of a job.
    fn object_of(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<Py<PyAny>>;

    /// Completed when a pool that accepts no more jobs has no worker left.
    fn gone(&self) -> &Arc<Completion>;

    /// The number of workers and the number of busy ones.
    fn head_count(&self, py: Python<'_>) -> (u64, u64);

    /// Accepts a job. `waits` states that the caller waits for the job right away.
    fn submit(&self, py: Python<'_>, job: &Arc<Job>, waits: bool) -> PyResult<()>;

    /// Waits until `completion` is done. Returns false on timeout.
    fn wait(&self, py: Python<'_>, completion: &Arc<Completion>, deadline: Deadline) -> PyResult<bool>;

    /// Queues the job: it has tasks to send.
    fn make_ready(&self, py: Python<'_>, job: &Arc<Job>);

    /// Like [`make_ready`](Self::make_ready), and sends the tasks if this kind of pool has to send them.
    fn fed(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()>;

    /// Wakes the deputy, because a caller that does not wait needs a result, or, unless `urgent`, only needs work to
    /// continue.
    fn call_deputy(&self, urgent: bool);

    /// Called when a job is over and has been removed from the ledger.
    fn has_ended(&self, _: &Job) {}

    /// Cancels a job. Returns false if it is too late.
    fn cancel(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<bool>;

    /// Called when a job was ended, to stop what workers still hold of it; if `ends`, the tasks they have begun too,
    /// where this kind of pool can. Returns the items they held, to be dropped after the waiting threads have been
    /// woken.
    fn disown(&self, py: Python<'_>, job: &Arc<Job>, ends: bool) -> Vec<Py<PyAny>>;

    /// Reclaims a job's tasks from the workers, except those they have begun. Returns whether they had begun none of
    /// it.
    fn recall(&self, py: Python<'_>, job: &Arc<Job>) -> bool;

    /// Records the one outcome of a task.
    fn put(&self, py: Python<'_>, job: &Arc<Job>, index: u64, outcome: Outcome) -> PyResult<()> {
        let counts = &self.ledger().counts;
        count(if outcome.is_ok() { &counts.done } else { &counts.failed });
        let complete = job.put(py, index, outcome);
        self.has_put(py, job, complete)
    }

    /// Records an error as a task's outcome. The hook makes the error from the way the task ended and from its call.
    fn put_loss(
        &self,
        py: Python<'_>,
        job: &Arc<Job>,
        index: u64,
        hook: &Bound<'_, PyString>,
        end: Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some((function, args, kwds, is_tuple)) = job.call_of(py, index) else { return Ok(()) };
        let timeout = job.timeout.map(|t| t.as_secs_f64());
        let error = self.ledger().hooks.error(py, hook, (end, function, args, kwds, is_tuple, timeout));
        self.put(py, job, index, Err(error))
    }

    /// Adds a description of the task to the error it raised, before that error is recorded.
    fn name_task(&self, py: Python<'_>, job: &Arc<Job>, index: u64, error: &Py<PyAny>) -> PyResult<()> {
        let Some((function, args, kwds, is_tuple)) = job.call_of(py, index) else { return Ok(()) };
        self.name_task_of(py, job, index, error, (function, args, kwds, is_tuple))
    }

    /// Like [`name_task`](Self::name_task), for a job that does not have the item any more.
    fn name_task_of<'py>(
        &self,
        py: Python<'py>,
        job: &Arc<Job>,
        index: u64,
        error: &Py<PyAny>,
        (function, args, kwds, is_tuple): CallOf<'py>,
    ) -> PyResult<()> {
        let place = (job.kind.method(), index);
        self.ledger().hooks.call(py, intern!(py, "name_task"), (error, function, args, kwds, is_tuple, place)).map(drop)
    }

    /// Acts on a recorded outcome: completes the job, or announces an imap's next result.
    fn has_put(&self, py: Python<'_>, job: &Arc<Job>, complete: bool) -> PyResult<()> {
        if complete {
            return self.complete(py, job);
        }
        if job.is_iterated() {
            job.completion.finish();
            self.tell(py, job);
        }
        Ok(())
    }

    /// Completes the job if all its outcomes are there.
    fn settle(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        let complete = !job.is_over() && job.state(py).is_complete();
        if complete { self.complete(py, job) } else { Ok(()) }
    }

    /// Ends a job that has all its outcomes.
    fn complete(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        if job.end() { self.conclude_and_finish(py, job) } else { Ok(()) }
    }

    fn conclude_and_finish(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        let concluded = self.conclude(py, job);
        self.finish(py, job, concluded)
    }

    /// Performs the remaining steps.
    fn finish(&self, py: Python<'_>, job: &Arc<Job>, concluded: Concluded) -> PyResult<()> {
        if concluded.wakes {
            job.completion.finish();
            self.strike_off();
            self.tell(py, job);
        }
        concluded.leavings.let_go(py);
        let called = match concluded.callback {
            Some((callback, error)) => calls::call_one(callback.bind(py), error.bind(py)).map(drop),
            None => Ok(()),
        };
        concluded.result.and(called)
    }

    /// Removes an ended job from the ledger and takes its function and arguments, which are dropped at once if that
    /// runs no user code.
    fn conclude(&self, py: Python<'_>, job: &Arc<Job>) -> Concluded {
        let ledger = self.ledger();
        lock(py, &ledger.live).remove(&job.number);
        self.has_ended(job);
        let (mut leavings, has_bar, has_failed) = job.take_leavings(py);
        leavings.went_quietly(py);
        let mut concluded = Concluded { wakes: true, leavings, callback: None, result: Ok(()) };
        if has_bar {
            concluded.result = job.tell_bar(py, true);
        }
        let callbacks = job.ending.take_callbacks(py);
        if has_failed && callbacks.as_ref().is_none_or(|callbacks| callbacks.error.is_none()) {
            if let Some(Err(e)) = job.whole(py) {
                concluded.result = concluded.result.and(job.unasked.record(&ledger.hooks, e.bind(py)));
            }
        }
        if let Some(callbacks) = callbacks {
            let (callback, value) = match job.whole(py) {
                Some(Ok(value)) => (callbacks.value, Some(value)),
                Some(Err(e)) => (callbacks.error, Some(e)),
                None => (None, None),
            };
            if let (Some(callback), Some(value)) = (callback, value) {
                if callbacks.lets_go_of_cancelled && job.state(py).cancelled {
                    concluded.callback = Some((callback, value));
                } else {
                    // `call_back` finishes the job when the callback has returned.
                    let called = self
                        .object_of(py, job)
                        .and_then(|object| ledger.hooks.call(py, intern!(py, "call_back"), (callback, value, object)));
                    match called {
                        Ok(_) => {
                            self.strike_off();
                            concluded.wakes = false;
                        }
                        Err(e) => concluded.result = concluded.result.and(Err(e)),
                    }
                }
            }
        }
        concluded
    }

    /// Decrements the number of jobs that are not over.
    fn strike_off(&self) {
        self.ledger().strike_off();
    }

    /// Calls the job's listeners.
    fn tell(&self, py: Python<'_>, job: &Job) {
        for listener in job.take_listeners(py) {
            if let Err(e) = calls::call(listener.bind(py)) {
                e.write_unraisable(py, Some(listener.bind(py)));
            }
        }
    }

    /// Ends all jobs with the error that a hook makes from this one, and accepts no more jobs.
    fn break_with(&self, py: Python<'_>, hook: &Bound<'_, PyString>, error: Py<PyAny>) -> PyResult<()> {
        let ledger = self.ledger();
        let error = ledger.hooks.call(py, hook, (error,))?.unbind();
        // The first reason is kept.
        let unused = ledger.lifecycle.break_for(Detaching(py), error.clone_ref(py));
        drop(unused);
        self.end_jobs(py, &|_| Ok(error.clone_ref(py)))
    }

    fn end_jobs(&self, py: Python<'_>, error: &dyn Fn(&Arc<Job>) -> PyResult<Py<PyAny>>) -> PyResult<()> {
        let mut result = Ok(());
        for job in self.ledger().living(py) {
            let ended = error(&job).and_then(|error| self.give_up(py, &job, error));
            result = result.and(ended);
        }
        let idle = std::mem::take(&mut *lock(py, &self.ledger().ready));
        drop(idle);
        result
    }

    /// Cancels all jobs, including those with running tasks.
    fn cancel_all(&self, py: Python<'_>) -> PyResult<()> {
        self.end_jobs(py, &|job| {
            job.state(py).cancelled = true;
            self.cancelled_error(py, job)
        })
    }

    /// Records this error in place of all the job's missing outcomes.
    fn give_up(&self, py: Python<'_>, job: &Arc<Job>, error: Py<PyAny>) -> PyResult<()> {
        if !job.fail(py, error) {
            return Ok(());
        }
        self.finish_cleared(py, job, false)
    }

    /// Completes a job that was ended, without the tasks that have no outcome.
    fn finish_cleared(&self, py: Python<'_>, job: &Arc<Job>, ends: bool) -> PyResult<()> {
        let (cleared, dropped) = (job.clear(py), self.disown(py, job, ends));
        let finished = self.conclude_and_finish(py, job);
        drop((cleared, dropped));
        finished
    }

    fn cancelled_error(&self, py: Python<'_>, job: &Job) -> PyResult<Py<PyAny>> {
        let (function, args, is_tuple) = match job.work(py) {
            Some(Work::Call { function, args, .. }) => (function, args, true),
            Some(Work::Items { function, .. }) => (function, py.None(), false),
            // The job is over, so this error is never seen.
            None => (py.None(), py.None(), false),
        };
        Ok(self.ledger().hooks.call(py, intern!(py, "cancelled"), (function, args, is_tuple))?.unbind())
    }

    /// Cancels a job, except for the tasks that workers have begun, unless `ends`. Returns whether the job is
    /// cancelled: it may have ended in the meantime. A future's callbacks are called here, last.
    fn take_back(&self, py: Python<'_>, job: &Arc<Job>, ends: bool) -> PyResult<bool> {
        let error = self.cancelled_error(py, job)?;
        if !job.cancel(py, error) {
            return Ok(job.state(py).cancelled);
        }
        count(&self.ledger().counts.cancelled);
        self.finish_cleared(py, job, ends).map(|()| true)
    }

    /// Cancels a call that no worker has begun. Returns whether it is cancelled.
    fn withdraw(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<bool> {
        let is_sent = {
            let mut state = job.state(py);
            if job.is_over() {
                return Ok(state.cancelled);
            }
            state.is_held = true;
            !state.tasks.pending.has_some()
        };
        if is_sent && !self.recall(py, job) {
            job.state(py).is_held = false;
            // A worker may have returned it in the meantime.
            self.fed(py, job)?;
            return Ok(false);
        }
        let taken = self.take_back(py, job, false);
        self.call_deputy(true);
        taken
    }

    /// Cancels all calls that no worker has begun, and the tasks of imaps that no worker has.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<()> {
        let mut result = Ok(());
        for job in self.ledger().living(py) {
            let is_imap = job.is_iterated() && !job.is_over();
            let taken = if is_imap { self.take_back(py, &job, false) } else { self.withdraw(py, &job) };
            // An exception in one job's callback must not keep the others from being cancelled.
            result = result.and(taken.map(drop));
        }
        result
    }

    /// Admits all input of all imaps: the thread that joins the pool may be the one that would have fetched the
    /// results.
    fn lift_all(&self, py: Python<'_>) {
        for job in self.ledger().living(py) {
            job.lift(py);
            self.make_ready(py, &job);
        }
    }

    /// Discards the results of an imap that will not be fetched. If `is_unwanted`, tasks that were not begun are
    /// dropped too.
    fn abandon(&self, py: Python<'_>, job: &Arc<Job>, is_unwanted: bool) -> PyResult<()> {
        if !self.ledger().is_at_home() {
            return Ok(());
        }
        let was_fetched = job.discard_results(py);
        if job.is_over() {
            return Ok(());
        }
        if was_fetched || is_unwanted {
            let (cleared, dropped) = (job.clear(py), self.disown(py, job, false));
            let completed = self.complete(py, job);
            drop((cleared, dropped));
            // Tasks left in the workers' queues would delay the next call.
            self.recall(py, job);
            return completed;
        }
        job.lift(py);
        self.fed(py, job)?;
        self.call_deputy(false);
        Ok(())
    }
}
