//! A crew of threads: each takes tasks from the jobs by itself, calls them, and puts their outcomes. Short tasks it takes
//! many at a time, which are others' to take as well as long as it has not begun them: see [`LocalQueues`].
//!
//! Who searches for work, who sleeps, and when one is woken: see [`Idle`]. What comes to that here: where one thread at a
//! time has the interpreter, it is never handed over for nothing. Who waits for a job calls a worker only after letting
//! go of the interpreter, and a worker that has nothing more to do lets go of it before it says that the job is over.
//!
//! A thread cannot be ended. A task that takes too long gets its outcome, a `TaskTimeout`, from the thread that watches
//! the time; its worker then belongs to the crew no more, another one is hired, and it leaves when its task ends.
//!
//! | module | what it is |
//! |---|---|
//! | `worker` | the life of a worker |
//! | `claim` | what stands with the tasks that a worker has claimed |
//! | `timeouts` | tasks that may take only so long |

mod claim;
mod timeouts;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use kettle::pool::scheduler::Completion;
use kettle::pool::scheduler::thread::Timeouts;
use kettle_core::wait::{Deadline, Idle};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::crew::{Crew, CrewHandle};
use super::job::Job;
use super::ledger::Ledger;
use super::locking::{Detaching, lock};
use crate::door::wait_outside;
use crate::panics::caught;
use claim::LocalQueues;
use timeouts::Limited;

pub(super) struct Threads {
    ledger: Ledger,
    idle: Idle,
    /// There is work of which no worker was told, since who brought it is about to wait for it.
    untold: AtomicBool,
    /// Held by whoever pulls items from an iterator, so that they keep their order.
    pulling: Mutex<()>,
    present: AtomicUsize,
    busy: AtomicUsize,
    queues: LocalQueues,
    timeouts: Timeouts<Limited>,
    gone: Arc<Completion>,
    me: Weak<Threads>,
}

impl Crew for Threads {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn gone(&self) -> &Arc<Completion> {
        &self.gone
    }

    fn head_count(&self, py: Python<'_>) -> (u64, u64) {
        self.put_what_is_kept(py);
        let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed) as u64;
        (of(&self.present), of(&self.busy))
    }

    fn submit(&self, py: Python<'_>, job: &Arc<Job>, waits: bool) -> PyResult<()> {
        if job.timeout.is_some() {
            let start = || self.ledger.call(py, intern!(py, "watch"), (self.handle(py)?,)).map(drop);
            self.timeouts.watch(Detaching(py), start)?;
        }
        self.ledger.enter(py, job)?;
        if job.state(py).is_complete() {
            // A map of nothing.
            return self.complete(py, job);
        }
        if waits {
            self.ledger.queue(py, job);
            self.untold.store(true, Ordering::SeqCst);
        } else {
            self.make_ready(py, job);
        }
        Ok(())
    }

    fn wait(&self, py: Python<'_>, completion: &Arc<Completion>, deadline: Deadline) -> PyResult<bool> {
        if completion.is_done() {
            return Ok(true);
        }
        self.ledger.check_home()?;
        let waited = wait_outside(py, deadline, |patience| {
            if self.untold.swap(false, Ordering::SeqCst) {
                self.idle.call();
            }
            completion.wait(patience)
        })?;
        Ok(waited.is_ok() || completion.is_done())
    }

    fn make_ready(&self, py: Python<'_>, job: &Arc<Job>) {
        self.ledger.queue(py, job);
        self.idle.call();
    }

    fn fed(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        self.make_ready(py, job);
        Ok(())
    }

    /// Workers need nobody to lead them.
    fn call_deputy(&self, _: bool) {}

    /// What runs goes on. A call that runs cannot be taken back; what a map or an imap has not begun can.
    fn cancel(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<bool> {
        if job.is_call {
            return Ok(!job.is_over() && self.withdraw(py, job)?);
        }
        if job.is_over() {
            return Ok(false);
        }
        self.take_back(py, job, false)
    }

    /// A thread cannot be ended.
    fn disown(&self, py: Python<'_>, job: &Arc<Job>, _: bool) -> Vec<Py<PyAny>> {
        if job.is_call {
            return Vec::new();
        }
        let taken = self.queues.with_all(Detaching(py), |claim| claim::take_items_of(claim, job));
        taken.into_iter().flatten().collect()
    }

    /// What a worker has it has begun.
    fn recall(&self, _: Python<'_>, _: &Arc<Job>) -> bool {
        false
    }

    fn strike_off(&self) {
        self.ledger.strike_off();
        if !self.ledger.lifecycle.is_running() {
            self.idle.dismiss();
        }
    }
}

impl Threads {
    /// Whether workers are to leave.
    fn is_over(&self) -> bool {
        !self.ledger.needs_workers() || self.ledger.lifecycle.is_broken()
    }

    /// A worker is not there any more.
    fn leave(&self) {
        if self.present.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wind_up();
        }
    }

    /// A worker ends with this error, and the pool with it.
    fn lose_worker(&self, py: Python<'_>, hook: &Bound<'_, PyString>, error: Py<PyAny>) -> PyResult<()> {
        let broken = self.break_with(py, hook, error);
        self.idle.dismiss();
        self.leave();
        broken
    }

    /// Tells those who wait for the last worker, if a pool that takes no more has none.
    fn wind_up(&self) {
        if self.present.load(Ordering::SeqCst) == 0 && !self.ledger.lifecycle.is_running() {
            self.gone.finish();
            self.timeouts.look();
        }
    }

    /// For Python.
    fn handle(&self, py: Python<'_>) -> PyResult<Py<ThreadCrew>> {
        let crew = self.me.upgrade().ok_or_else(|| PyRuntimeError::new_err("the pool is gone"))?;
        Py::new(py, ThreadCrew::of(crew))
    }

    /// One more worker, which is about to start. False: the crew takes no more.
    fn expect(&self) -> bool {
        self.present.fetch_add(1, Ordering::SeqCst);
        let is_wanted = self.ledger.needs_workers();
        if !is_wanted {
            self.leave();
        }
        is_wanted
    }

    /// Starts one worker more, if there is something to do.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if !self.expect() {
            return Ok(());
        }
        let started = self.ledger.call(py, intern!(py, "start"), (self.handle(py)?,));
        started.map(drop).inspect_err(|_| self.leave())
    }
}

/// Worker threads, and what they are to do.
#[pyclass(frozen, extends = CrewHandle, module = "kettle._native", name = "ThreadCrew")]
pub(crate) struct ThreadCrew {
    crew: Arc<Threads>,
}

impl ThreadCrew {
    fn of(crew: Arc<Threads>) -> PyClassInitializer<Self> {
        CrewHandle::of(&crew).add_subclass(Self { crew })
    }
}

#[pymethods]
impl ThreadCrew {
    #[new]
    fn new(hooks: Py<PyAny>) -> PyClassInitializer<Self> {
        let crew = Arc::new_cyclic(|me: &Weak<Threads>| Threads {
            ledger: Ledger::new(hooks, me.clone()),
            idle: Idle::new(),
            untold: AtomicBool::new(false),
            pulling: Mutex::new(()),
            present: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            queues: LocalQueues::default(),
            timeouts: Timeouts::default(),
            gone: Arc::new(Completion::default()),
            me: me.clone(),
        });
        Self::of(crew)
    }

    /// Starts one worker more.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.crew.start(py)
    }

    /// Starts workers for so many tasks more, as far as those that are free do not suffice, but not more than `most` in
    /// all.
    fn hire(&self, py: Python<'_>, most: usize, tasks: usize) -> PyResult<()> {
        let crew = &self.crew;
        let wanted = lock(py, &crew.ledger.ready).len().saturating_add(tasks);
        loop {
            let present = crew.present.load(Ordering::SeqCst);
            let free = present.saturating_sub(crew.busy.load(Ordering::SeqCst));
            if present >= most || free >= wanted || !crew.ledger.needs_workers() {
                return Ok(());
            }
            crew.start(py)?;
        }
    }

    /// Works until there will be nothing more to do: for a thread that was started. An error that is not a task's own
    /// breaks the pool, since the tasks that the worker has claimed get no outcome any more.
    fn work(&self, py: Python<'_>) -> PyResult<()> {
        match caught(|| self.crew.work(py)).and_then(|worked| worked) {
            Ok(()) => Ok(()),
            Err(e) => self.crew.lose_worker(py, intern!(py, "worker_failed"), e.into_value(py).into_any()),
        }
    }

    /// A worker could not begin, because of this error.
    fn refuse(&self, py: Python<'_>, error: Py<PyAny>) -> PyResult<()> {
        self.crew.lose_worker(py, intern!(py, "broken"), error)
    }

    /// Gives up on tasks that take too long, until the pool is over: for a thread of its own.
    fn watch(&self, py: Python<'_>) -> PyResult<()> {
        self.crew.watch(py)
    }

    /// No more jobs are taken in; the workers leave when those that are there are done.
    fn close(&self, py: Python<'_>) {
        let crew = &self.crew;
        if crew.ledger.close() {
            crew.lift_all(py);
            crew.idle.dismiss();
            crew.wind_up();
        }
    }

    /// Ends all jobs; the workers leave when the tasks that they are at have ended.
    fn terminate(&self, py: Python<'_>) -> PyResult<()> {
        let crew = &self.crew;
        if !crew.ledger.terminate() {
            return Ok(());
        }
        let cancelled = crew.cancel_all(py);
        crew.idle.dismiss();
        crew.wind_up();
        cancelled
    }
}
