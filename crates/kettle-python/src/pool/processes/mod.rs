//! The parent's side of a process pool: sends tasks, receives outcomes and completes jobs, for all waiting threads.
//!
//! There are three locks, each held for a few instructions, attached to the interpreter, and never while Python code can
//! run: the supervisor's, the queue of jobs with tasks to send, and each job's own. A fourth, that of `rounds`, is held
//! for a whole round.
//!
//! | module | what it is |
//! |---|---|
//! | `lead` | which thread runs the rounds |
//! | `round` | a round: receive, start workers, send |
//! | `receive`, `workers`, `send` | its three parts |
//! | `desk` | the data that a worker needs to attach to its channel |
//! | `worker` | the child's side: its loop |

mod desk;
mod lead;
mod receive;
mod round;
mod send;
mod worker;
mod workers;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use kettle::pool::scheduler::process::{Limits, Rounds, StartFailures, Supervisor, Watch};
use kettle::pool::scheduler::{Completion, Lead};
use kettle_core::wait::Deadline;
use pyo3::prelude::*;

pub(crate) use desk::Desk;
pub(crate) use worker::Worker;

use super::crew::Crew;
use super::crew_handle::CrewHandle;
use super::job::{Job, PoolJob};
use super::ledger::Ledger;
use super::locking::lock;

pub(super) struct Processes {
    ledger: Ledger,
    supervisor: Mutex<Supervisor<Arc<Job>>>,
    rounds: Rounds<Arc<Job>>,
    lead: Lead,
    dismissed: AtomicBool,
    start_failures: StartFailures,
    /// The number of workers that are about to be started.
    starts: AtomicUsize,
    /// Set when workers may still hold the function of a map that is over.
    has_forgettable: AtomicBool,
    gone: Arc<Completion>,
    me: Weak<Processes>,
}

impl Crew for Processes {
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
        let tally = lock(py, &self.supervisor).tally();
        (tally.workers as u64, tally.busy as u64)
    }

    fn submit(&self, py: Python<'_>, job: &Arc<Job>, waits: bool) -> PyResult<()> {
        self.ledger.enter(py, job)?;
        if job.state(py).is_complete() {
            // A map without items.
            self.complete(py, job)?;
            return Ok(());
        }
        if !waits && !job.is_call() && !job.is_iterated() {
            // There may be much to send, and a caller that submits a map without waiting does not want to wait for that
            // either.
            self.make_ready(py, job);
            self.lead.call_deputy(true);
            return Ok(());
        }
        self.fed(py, job)?;
        if !waits {
            self.lead.call_deputy(job.ending.has_callbacks(py));
        }
        Ok(())
    }

    fn wait(&self, py: Python<'_>, completion: &Arc<Completion>, deadline: Deadline) -> PyResult<bool> {
        self.lead_or_follow(py, completion, deadline)
    }

    fn make_ready(&self, py: Python<'_>, job: &Arc<Job>) {
        self.ledger.queue(py, job);
    }

    fn fed(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        self.make_ready(py, job);
        match self.rounds.enter() {
            Some(inside) => {
                let result = self.dispatch(py);
                drop(inside);
                result?;
            }
            None => self.watch(py).kick(),
        }
        if job.timeout.is_some() {
            // The leader must recompute how long it may sleep.
            self.watch(py).kick();
        }
        Ok(())
    }

    fn call_deputy(&self, urgent: bool) {
        self.lead.call_deputy(urgent);
    }

    fn has_ended(&self, job: &Job) {
        if !job.is_call() {
            self.has_forgettable.store(true, Ordering::SeqCst);
        }
    }

    fn cancel(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<bool> {
        if job.is_over() {
            return Ok(false);
        }
        self.take_back(py, job, true)
    }

    /// Tasks that were sent hold no objects of this process.
    fn disown(&self, py: Python<'_>, job: &Arc<Job>, ends: bool) -> Vec<Py<PyAny>> {
        if ends {
            lock(py, &self.supervisor).cancel(|one| Arc::ptr_eq(one, job));
            self.call_deputy(true);
        }
        Vec::new()
    }

    fn recall(&self, py: Python<'_>, job: &Arc<Job>) -> bool {
        lock(py, &self.supervisor).withdraw(|one| Arc::ptr_eq(one, job))
    }
}

impl Processes {
    fn watch(&self, py: Python<'_>) -> Arc<Watch> {
        lock(py, &self.supervisor).watch()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ledger.close() {
            return Ok(());
        }
        self.lift_all(py);
        self.round(py, false)?;
        self.lead.call_deputy(false);
        self.watch(py).kick();
        Ok(())
    }

    fn terminate(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        if !self.ledger.terminate() {
            return Ok(());
        }
        let ended = self.cancel_all(py);
        {
            let mut supervisor = lock(py, &self.supervisor);
            supervisor.end_all();
            if at_once {
                supervisor.kill_all();
            }
        }
        self.wait(py, &self.gone, Deadline::after(TERMINATE_WITHIN))?;
        ended
    }
}

/// Workers that were sent SIGKILL end within milliseconds, unless the kernel is stuck in an uninterruptible wait.
const TERMINATE_WITHIN: Duration = Duration::from_secs(5);

/// The parent's side of a pool.
#[pyclass(frozen, extends = CrewHandle, module = "kettle._native", name = "PoolCrew")]
pub(crate) struct PoolCrew {
    crew: Arc<Processes>,
}

#[pymethods]
impl PoolCrew {
    #[new]
    #[pyo3(signature = (hooks, workers, *, chunks=None, memory=None))]
    fn new(
        hooks: Py<PyAny>,
        workers: usize,
        chunks: Option<u32>,
        memory: Option<u64>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let supervisor = Supervisor::new(Limits { workers, chunks, memory })?;
        let crew = Arc::new_cyclic(|me: &Weak<Processes>| Processes {
            ledger: Ledger::new(hooks),
            supervisor: Mutex::new(supervisor),
            rounds: Rounds::default(),
            lead: Lead::default(),
            dismissed: AtomicBool::new(false),
            start_failures: StartFailures::default(),
            starts: AtomicUsize::new(0),
            has_forgettable: AtomicBool::new(false),
            gone: Arc::new(Completion::default()),
            me: me.clone(),
        });
        Ok(CrewHandle::of(&crew).add_subclass(Self { crew }))
    }

    /// Starts the workers that are missing. Raises what starting one of them raised.
    fn staff(&self, py: Python<'_>) -> PyResult<()> {
        let crew = &self.crew;
        let Some(mut inside) = crew.rounds.enter() else { return Ok(()) };
        crew.receive(py, &mut inside, true).and_then(|_| crew.staff(py, inside.is_nested()))
    }

    /// Leads when no other thread does, until the pool is over; runs in a separate thread.
    fn deputise(&self, py: Python<'_>) -> PyResult<()> {
        self.crew.deputise(py)
    }

    /// No more jobs are taken in; the workers leave when those that are there are done.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.crew.close(py)
    }

    /// Ends all workers, and with them all jobs; `at_once`: without asking them first.
    #[pyo3(signature = (*, at_once=false))]
    fn terminate(&self, py: Python<'_>, at_once: bool) -> PyResult<()> {
        self.crew.terminate(py, at_once)
    }

    /// Starts workers for so many tasks more, as far as those that are free do not suffice, but not more than `most` in
    /// all. Says whether there may be more still.
    fn hire(&self, py: Python<'_>, most: usize, tasks: usize) -> PyResult<bool> {
        self.crew.hire(py, most, tasks)
    }

    /// Ends all workers; others take their place. What they were at is over, what they had not begun is done by others.
    fn kill_workers(&self, py: Python<'_>) {
        lock(py, &self.crew.supervisor).end_all();
    }
}
