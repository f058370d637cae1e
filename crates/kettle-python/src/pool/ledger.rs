//! What a crew of any kind knows of its jobs, and what it does with them: takes them in, gives tasks their outcomes,
//! completes, cancels and forgets jobs.
//!
//! Each lock here is held for moments, with the interpreter attached, and never while Python code can run.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use kettle::pool::engine::Waiter;
use kettle_core::sys::process;
use kettle_core::wait::Deadline;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::job::{Job, Task, Work};
use super::results::Outcome;
use crate::methods::calls;
use crate::primitive;

/// ```text
/// RUNNING ──close──► CLOSED ──all done──► (workers leave)
///    └──────┬──────────┘
///           └──terminate──► TERMINATED
/// ```
pub(super) const RUNNING: u8 = 0;
pub(super) const CLOSED: u8 = 1;
pub(super) const TERMINATED: u8 = 2;

pub(super) struct Ledger {
    /// Jobs that may have something to do, in the order in which they came.
    pub(super) ready: Mutex<VecDeque<Arc<Task>>>,
    /// All jobs that are not over.
    pub(super) live: Mutex<HashMap<u64, Arc<Task>>>,
    pub(super) outstanding: AtomicUsize,
    pub(super) state: AtomicU8,
    /// Why no work is done any more.
    pub(super) broken: Mutex<Option<Py<PyAny>>>,
    /// What only Python can do: start workers, make exceptions, run callbacks.
    pub(super) hooks: Py<PyAny>,
    pub(super) counts: Counts,
    numbers: AtomicU64,
    /// In which process it was made.
    home: u64,
    me: Weak<dyn Staff>,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) died: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) cancelled: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn lock<'a, T>(py: Python<'_>, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
    mutex.lock_py_attached(py).unwrap_or_else(|e| e.into_inner())
}

impl Ledger {
    /// Of the crew `me`, which is about to be made.
    pub(super) fn new(hooks: Py<PyAny>, me: Weak<dyn Staff>) -> Self {
        Self {
            ready: Mutex::new(VecDeque::new()),
            live: Mutex::new(HashMap::new()),
            outstanding: AtomicUsize::new(0),
            state: AtomicU8::new(RUNNING),
            broken: Mutex::new(None),
            hooks,
            counts: Counts::default(),
            numbers: AtomicU64::new(1),
            home: process::epoch(),
            me,
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn has_work(&self) -> bool {
        self.outstanding.load(Ordering::SeqCst) > 0
    }

    pub(super) fn is_at_home(&self) -> bool {
        self.home == process::epoch()
    }

    pub(super) fn check_home(&self) -> PyResult<()> {
        if self.is_at_home() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("this pool belongs to the process that made it, and this is a fork of it"))
    }

    /// Raises what broke the pool, if something did, or that it belongs to another process.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.check_home()?;
        if let Some(e) = &*lock(py, &self.broken) {
            return Err(PyErr::from_value(e.bind(py).clone()));
        }
        Ok(())
    }

    /// Takes a job in.
    pub(super) fn enter(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        self.check(py)?;
        if self.state.load(Ordering::SeqCst) != RUNNING {
            return Err(PyValueError::new_err("Pool not running"));
        }
        self.outstanding.fetch_add(1, Ordering::SeqCst);
        lock(py, &self.live).insert(task.number, Arc::clone(task));
        Ok(())
    }

    /// All jobs that are not over, the oldest first.
    pub(super) fn living(&self, py: Python<'_>) -> Vec<Arc<Task>> {
        let mut tasks: Vec<Arc<Task>> = lock(py, &self.live).values().cloned().collect();
        tasks.sort_by_key(|task| task.number);
        tasks
    }

    /// There is something to do of this job: it gets in line, unless it stands there already.
    pub(super) fn queue(&self, py: Python<'_>, task: &Arc<Task>) {
        if task.is_over() || std::mem::replace(&mut task.state(py).is_ready, true) {
            return;
        }
        lock(py, &self.ready).push_back(Arc::clone(task));
    }

    /// This job has nothing to do at present.
    pub(super) fn set_aside(&self, py: Python<'_>, task: &Arc<Task>) {
        let mut ready = lock(py, &self.ready);
        if let Some(place) = ready.iter().position(|t| Arc::ptr_eq(t, task)) {
            ready.remove(place);
        }
    }

    /// No more jobs are taken in. False: so it was before, or this is a fork.
    pub(super) fn close(&self) -> bool {
        self.is_at_home() && self.state.compare_exchange(RUNNING, CLOSED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Nothing more is done. False: so it was before, or this is a fork.
    pub(super) fn terminate(&self) -> bool {
        self.is_at_home() && self.state.swap(TERMINATED, Ordering::SeqCst) != TERMINATED
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.state.load(Ordering::SeqCst) {
            RUNNING => "RUN",
            CLOSED => "CLOSE",
            _ => "TERMINATE",
        }
    }

    /// With so many workers, so many of which are busy.
    pub(super) fn statistics<'py>(&self, py: Python<'py>, workers: u64, busy: u64) -> PyResult<Bound<'py, PyAny>> {
        let unfinished: u64 = self.living(py).iter().map(|task| task.unfinished(py)).sum();
        let counts = &self.counts;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        primitive::record(
            py,
            "PoolStatistics",
            &[
                ("workers", workers),
                ("busy", busy),
                ("queued", unfinished.saturating_sub(busy)),
                ("done", of(&counts.done)),
                ("failed", of(&counts.failed)),
                ("died", of(&counts.died)),
                ("retried", of(&counts.retried)),
                ("timed_out", of(&counts.timed_out)),
                ("cancelled", of(&counts.cancelled)),
            ],
        )
    }
}

/// A crew, as its jobs know it.
pub(super) trait Staff: Send + Sync {
    fn ledger(&self) -> &Ledger;

    /// Takes a job in; `waits`: the caller will wait for it now.
    fn submit(&self, py: Python<'_>, task: &Arc<Task>, waits: bool) -> PyResult<()>;

    /// Waits until `waiter` is done. False: the time is over.
    fn wait(&self, py: Python<'_>, waiter: &Arc<Waiter>, deadline: Deadline) -> PyResult<bool>;

    /// There is something to do of this job.
    fn make_ready(&self, py: Python<'_>, task: &Arc<Task>);

    /// As [`make_ready`](Self::make_ready), and sends it to workers if they have to be sent it.
    fn fed(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()>;

    /// Somebody who does not wait wants to know of a result; or, if it is not `urgent`, wants work to go on.
    fn call_deputy(&self, urgent: bool);

    /// Takes a job back; false if it is too late.
    fn cancel(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<bool>;

    /// Takes a call back from the worker that has it, unless that one has begun it; says whether it has not.
    fn recall(&self, py: Python<'_>, task: &Arc<Task>) -> bool;

    /// Gives a task its one outcome.
    fn put(&self, py: Python<'_>, task: &Arc<Task>, index: u64, outcome: Outcome) -> PyResult<()> {
        let counts = &self.ledger().counts;
        count(if outcome.is_ok() { &counts.done } else { &counts.failed });
        let complete = task.put(py, index, outcome);
        self.has_put(py, task, complete)
    }

    fn has_put(&self, py: Python<'_>, task: &Arc<Task>, complete: bool) -> PyResult<()> {
        if complete {
            return self.complete(py, task);
        }
        if task.is_iterated(py) {
            task.waiter.finish();
            self.tell(py, task);
        }
        Ok(())
    }

    /// Completes a job to which nothing more may come, if it is one.
    fn settle(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        let complete = !task.is_over() && task.state(py).is_complete();
        if complete { self.complete(py, task) } else { Ok(()) }
    }

    /// It has all its outcomes.
    fn complete(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        if task.end() { self.conclude_and_finish(py, task) } else { Ok(()) }
    }

    fn conclude_and_finish(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        let concluded = self.conclude(py, task);
        if !matches!(concluded, Ok(false)) {
            task.waiter.finish();
            self.strike_off();
            self.tell(py, task);
        }
        concluded.map(drop)
    }

    /// A job that was ended is not known any more. Says whether those who wait for it are to be woken now, and not
    /// after a callback.
    fn conclude(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<bool> {
        let ledger = self.ledger();
        lock(py, &ledger.live).remove(&task.number);
        let told = task.tell_bar(py, true);
        if let Some(callbacks) = task.take_callbacks(py) {
            let (callback, value) = match task.whole(py) {
                Some(Ok(value)) => (callbacks.value, Some(value)),
                Some(Err(e)) => (callbacks.error, Some(e)),
                None => (None, None),
            };
            if let (Some(callback), Some(value)) = (callback, value) {
                // Which finishes it when the callback has returned.
                let crew = ledger.me.upgrade().ok_or_else(|| PyRuntimeError::new_err("the pool is gone"))?;
                self.strike_off();
                ledger.hooks.bind(py).call_method1(intern!(py, "call_back"), (callback, value, Job::of(crew, task)))?;
                return told.map(|()| false);
            }
        }
        told.map(|()| true)
    }

    /// There is one job less.
    fn strike_off(&self) {
        self.ledger().outstanding.fetch_sub(1, Ordering::SeqCst);
    }

    /// Tells those who listen to a job.
    fn tell(&self, py: Python<'_>, task: &Task) {
        for listener in task.take_listeners(py) {
            if let Err(e) = calls::call(listener.bind(py)) {
                e.write_unraisable(py, Some(listener.bind(py)));
            }
        }
    }

    /// All jobs end with this error, and no more are taken in.
    fn break_with(&self, py: Python<'_>, error: Py<PyAny>) -> PyResult<()> {
        let ledger = self.ledger();
        let error = ledger.hooks.bind(py).call_method1(intern!(py, "broken"), (error,))?.unbind();
        {
            let mut broken = lock(py, &ledger.broken);
            if broken.is_none() {
                *broken = Some(error.clone_ref(py));
            }
        }
        self.end_jobs(py, &|_| Ok(error.clone_ref(py)))
    }

    fn end_jobs(&self, py: Python<'_>, error: &dyn Fn(&Arc<Task>) -> PyResult<Py<PyAny>>) -> PyResult<()> {
        let mut result = Ok(());
        for task in self.ledger().living(py) {
            let ended = error(&task).and_then(|error| self.give_up(py, &task, error));
            result = result.and(ended);
        }
        let idle = std::mem::take(&mut *lock(py, &self.ledger().ready));
        drop(idle);
        result
    }

    /// Cancels all jobs, whatever becomes of their tasks that run.
    fn cancel_all(&self, py: Python<'_>) -> PyResult<()> {
        self.end_jobs(py, &|task| {
            task.state(py).cancelled = true;
            self.cancelled_error(py, task)
        })
    }

    /// Gives a job this error in the place of all outcomes that it does not have yet.
    fn give_up(&self, py: Python<'_>, task: &Arc<Task>, error: Py<PyAny>) -> PyResult<()> {
        if !task.fail(py, error) {
            return Ok(());
        }
        task.clear(py);
        self.conclude_and_finish(py, task)
    }

    fn cancelled_error(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<Py<PyAny>> {
        let (function, args, is_tuple) = match &task.work {
            Work::Call { function, args, .. } => (function.bind(py).clone(), args.bind(py).clone(), true),
            Work::Items { function, .. } => (function.bind(py).clone(), py.None().into_bound(py), false),
        };
        let hooks = self.ledger().hooks.bind(py);
        Ok(hooks.call_method1(intern!(py, "cancelled"), (function, args, is_tuple))?.unbind())
    }

    /// Cancels a job, but for what of it is in the hands of workers.
    fn take_back(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<()> {
        task.state(py).cancelled = true;
        let error = self.cancelled_error(py, task)?;
        count(&self.ledger().counts.cancelled);
        self.give_up(py, task, error)
    }

    /// Cancels a call that no worker has begun; says whether it is cancelled.
    fn withdraw(&self, py: Python<'_>, task: &Arc<Task>) -> PyResult<bool> {
        let is_sent = {
            let mut state = task.state(py);
            if task.is_over() {
                return Ok(state.cancelled);
            }
            state.is_held = true;
            !state.agenda.has_some()
        };
        if is_sent && !self.recall(py, task) {
            task.state(py).is_held = false;
            // It may have been brought back from a worker meanwhile.
            self.fed(py, task)?;
            return Ok(false);
        }
        self.take_back(py, task)?;
        self.call_deputy(true);
        Ok(true)
    }

    /// Cancels all calls that no worker has begun, and of imaps all that no worker has.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<()> {
        for task in self.ledger().living(py) {
            if task.is_iterated(py) && !task.is_over() {
                self.take_back(py, &task)?;
            } else {
                self.withdraw(py, &task)?;
            }
        }
        Ok(())
    }

    /// Whoever joins now may be the one who should have fetched the results: all input is let in.
    fn lift_all(&self, py: Python<'_>) {
        for task in self.ledger().living(py) {
            task.lift(py);
            self.make_ready(py, &task);
        }
    }

    /// Nobody will fetch the results of an imap. `is_unwanted`: nor need what was not begun be done.
    fn abandon(&self, py: Python<'_>, task: &Arc<Task>, is_unwanted: bool) -> PyResult<()> {
        if !self.ledger().is_at_home() {
            return Ok(());
        }
        let (was_fetched, results, listeners) = {
            let mut state = task.state(py);
            (state.was_fetched(), state.discard_results(), state.forget_listeners())
        };
        drop((results, listeners));
        if task.is_over() {
            return Ok(());
        }
        if was_fetched || is_unwanted {
            task.clear(py);
            return self.complete(py, task);
        }
        task.lift(py);
        self.fed(py, task)?;
        self.call_deputy(false);
        Ok(())
    }
}
