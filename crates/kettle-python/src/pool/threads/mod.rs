//! A pool of threads. Each takes tasks from the jobs directly, calls them, and records their outcomes. It takes many
//! short tasks at a time, and others may steal those that it has not begun: see [`LocalQueues`].
//!
//! For which workers search, which sleep, and when one is woken, see [`Idle`]. Here one rule is added: where one thread
//! at a time has the interpreter, it is never handed over needlessly. A thread that waits for a job wakes a worker only
//! after releasing the interpreter, and a worker that has nothing left to do releases the interpreter before it
//! announces that the job is over.
//!
//! A thread cannot be killed. If a task exceeds its time limit, the thread that watches the limits records a
//! `TaskTimeout` as its outcome. Its worker then no longer belongs to the pool, is replaced by a new one, and exits
//! when its task ends.
//!
//! | module | what it is |
//! |---|---|
//! | `worker` | the main loop of a worker |
//! | `shift` | the state of a worker |
//! | `starts` | the starts of workers |
//! | `claim` | the context of the tasks that a worker has claimed |
//! | `timeouts` | tasks with a time limit |

mod claim;
mod shift;
mod starts;
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

use super::crew::Crew;
use super::crew_handle::CrewHandle;
use super::job::{Job, PoolJob};
use super::ledger::Ledger;
use super::locking::{Detaching, lock};
use crate::door::wait_outside;
use crate::panics::caught;
use claim::LocalQueues;
use starts::Starts;
use timeouts::Limited;

pub(super) struct Threads {
    ledger: Ledger,
    idle: Idle,
    /// There is work that no worker was woken for, because the submitting thread is about to wait for it.
    untold: AtomicBool,
    /// Held while items are pulled from an iterator, to keep their order.
    pulling: Mutex<()>,
    /// The number of workers, including the expected ones.
    present: AtomicUsize,
    starts: Starts,
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

    fn object_of(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<Py<PyAny>> {
        PoolJob::object(py, &self.me, job)
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
            let start = || self.ledger.hooks.call(py, intern!(py, "watch"), (self.handle(py)?,)).map(drop);
            self.timeouts.watch(Detaching(py), start)?;
        }
        self.ledger.enter(py, job)?;
        if job.state(py).is_complete() {
            // A map without items.
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

    /// Workers need no leader.
    fn call_deputy(&self, _: bool) {}

    /// Running tasks continue. A call that runs cannot be cancelled; the tasks of a map or imap that were not begun
    /// can.
    fn cancel(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<bool> {
        if job.is_call() {
            return Ok(!job.is_over() && self.withdraw(py, job)?);
        }
        if job.is_over() {
            return Ok(false);
        }
        self.take_back(py, job, false)
    }

    /// A thread cannot be killed, so running tasks continue.
    fn disown(&self, py: Python<'_>, job: &Arc<Job>, _: bool) -> Vec<Py<PyAny>> {
        if job.is_call() {
            return Vec::new();
        }
        let taken = self.queues.with_all(Detaching(py), |claim| claim::take_items_of(claim, job));
        taken.into_iter().flatten().collect()
    }

    /// A worker's claimed tasks count as begun.
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
    /// Whether workers are to exit.
    fn is_over(&self) -> bool {
        !self.ledger.needs_workers() || self.ledger.lifecycle.is_broken()
    }

    /// Counts a worker's exit.
    fn leave(&self) {
        if self.present.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wind_up();
        }
    }

    /// Ends a worker with this error, and the pool with it.
    fn lose_worker(&self, py: Python<'_>, hook: &Bound<'_, PyString>, error: Py<PyAny>) -> PyResult<()> {
        let broken = self.break_with(py, hook, error);
        self.idle.dismiss();
        self.leave();
        broken
    }

    /// Wakes the threads that wait for the last worker, if the pool accepts no more jobs and has no worker.
    fn wind_up(&self) {
        if self.present.load(Ordering::SeqCst) == 0 && !self.ledger.lifecycle.is_running() {
            self.gone.finish();
            self.timeouts.look();
        }
    }

    /// The Python handle of this pool.
    fn handle(&self, py: Python<'_>) -> PyResult<Py<ThreadCrew>> {
        let crew = self.me.upgrade().ok_or_else(|| PyRuntimeError::new_err("the pool is gone"))?;
        Py::new(py, ThreadCrew::of(crew))
    }

    /// Adds a worker, which is about to start. Returns false if the pool accepts no more workers.
    fn expect(&self) -> bool {
        self.present.fetch_add(1, Ordering::SeqCst);
        let is_wanted = self.ledger.needs_workers();
        if is_wanted {
            self.starts.expect();
        } else {
            self.leave();
        }
        is_wanted
    }

    /// Starts one more worker, if there is something to do.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        if !self.expect() {
            return Ok(());
        }
        self.start_thread(py).inspect_err(|_| {
            if self.starts.begin() {
                self.leave();
            }
        })
    }

    fn start_thread(&self, py: Python<'_>) -> PyResult<()> {
        let handle = self.handle(py)?;
        self.starts.run(py, || self.ledger.hooks.call(py, intern!(py, "start"), (handle,)).map(drop))
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
            ledger: Ledger::new(hooks),
            idle: Idle::new(),
            untold: AtomicBool::new(false),
            pulling: Mutex::new(()),
            present: AtomicUsize::new(0),
            starts: Starts::default(),
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
                return if crew.starts.are_interrupted(py) { crew.start_thread(py) } else { Ok(()) };
            }
            crew.start(py)?;
        }
    }

    /// Works until there will be nothing more to do: for a thread that was started. An error that is not a task's own
    /// breaks the pool, since the tasks that the worker has claimed get no outcome any more.
    fn work(&self, py: Python<'_>) -> PyResult<()> {
        if !self.crew.starts.begin() {
            return Ok(());
        }
        match caught(|| self.crew.work(py)).and_then(|worked| worked) {
            Ok(()) => Ok(()),
            Err(e) => self.crew.lose_worker(py, intern!(py, "worker_failed"), e.into_value(py).into_any()),
        }
    }

    /// A worker could not begin, because of this error.
    fn refuse(&self, py: Python<'_>, error: Py<PyAny>) -> PyResult<()> {
        if !self.crew.starts.begin() {
            return Ok(());
        }
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
