//! What a crew of any kind knows: its jobs, which of them stand in line, and how far its own life has come.
//!
//! ```text
//!   Running ──close──► Closed ──all done──► (workers leave)
//!      └──────┬───────────┘
//!             └──terminate──► Terminated
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use kettle_core::sys::process;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::crew::Crew;
use super::job::Job;
use super::locking::lock;
use crate::methods::calls;
use crate::primitive;

const RUNNING: u8 = 0;
const CLOSED: u8 = 1;
const TERMINATED: u8 = 2;

pub(super) struct Ledger {
    /// Jobs that may have something to do, in the order in which they came.
    pub(super) ready: Mutex<VecDeque<Arc<Job>>>,
    /// All jobs that are not over.
    pub(super) live: Mutex<HashMap<u64, Arc<Job>>>,
    outstanding: AtomicUsize,
    state: AtomicU8,
    /// Why no work is done any more.
    pub(super) broken: Mutex<Option<Py<PyAny>>>,
    /// What only Python can do: start workers, make exceptions, run callbacks.
    pub(super) hooks: Py<PyAny>,
    pub(super) counts: Counts,
    numbers: AtomicU64,
    /// In which process it was made.
    home: u64,
    me: Weak<dyn Crew>,
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
    count_more(counter, 1);
}

pub(super) fn count_more(counter: &AtomicU64, so_many: u64) {
    if so_many > 0 {
        counter.fetch_add(so_many, Ordering::Relaxed);
    }
}

impl Ledger {
    /// Of the crew `me`, which is about to be made.
    pub(super) fn new(hooks: Py<PyAny>, me: Weak<dyn Crew>) -> Self {
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
        self.jobs() > 0
    }

    /// How many jobs are not over.
    pub(super) fn jobs(&self) -> usize {
        self.outstanding.load(Ordering::SeqCst)
    }

    /// There is one job less.
    pub(super) fn strike_off(&self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.load(Ordering::SeqCst) == RUNNING
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::SeqCst) == CLOSED
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.state.load(Ordering::SeqCst) == TERMINATED
    }

    /// Whether there is something to do for workers, or may be.
    pub(super) fn needs_workers(&self) -> bool {
        match self.state.load(Ordering::SeqCst) {
            RUNNING => true,
            CLOSED => self.has_work(),
            _ => false,
        }
    }

    pub(super) fn is_broken(&self, py: Python<'_>) -> bool {
        lock(py, &self.broken).is_some()
    }

    /// The crew itself.
    pub(super) fn crew(&self) -> PyResult<Arc<dyn Crew>> {
        self.me.upgrade().ok_or_else(|| PyRuntimeError::new_err("the pool is gone"))
    }

    /// Has Python do something. A daemon thread may not come back from that.
    pub(super) fn call<'py>(
        &self,
        py: Python<'py>,
        hook: &Bound<'py, PyString>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        calls::call_method(self.hooks.bind(py), hook, args)
    }

    /// Has Python make an error. If it fails, that is the error.
    pub(super) fn error<'py>(
        &self,
        py: Python<'py>,
        hook: &Bound<'py, PyString>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
    ) -> Py<PyAny> {
        self.call(py, hook, args).map_or_else(|e| e.into_value(py).into_any(), Bound::unbind)
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
    pub(super) fn enter(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        self.check(py)?;
        if !self.is_running() {
            return Err(PyValueError::new_err("Pool not running"));
        }
        self.outstanding.fetch_add(1, Ordering::SeqCst);
        lock(py, &self.live).insert(job.number, Arc::clone(job));
        Ok(())
    }

    /// All jobs that are not over, the oldest first.
    pub(super) fn living(&self, py: Python<'_>) -> Vec<Arc<Job>> {
        let mut jobs: Vec<Arc<Job>> = lock(py, &self.live).values().cloned().collect();
        jobs.sort_by_key(|job| job.number);
        jobs
    }

    /// There is something to do of this job: it gets in line, unless it stands there already.
    pub(super) fn queue(&self, py: Python<'_>, job: &Arc<Job>) {
        if job.is_over() || std::mem::replace(&mut job.state(py).is_ready, true) {
            return;
        }
        lock(py, &self.ready).push_back(Arc::clone(job));
    }

    /// This job has nothing to do at present.
    pub(super) fn set_aside(&self, py: Python<'_>, job: &Arc<Job>) {
        let mut ready = lock(py, &self.ready);
        if let Some(place) = ready.iter().position(|t| Arc::ptr_eq(t, job)) {
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
        let unfinished: u64 = self.living(py).iter().map(|job| job.unfinished(py)).sum();
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
