//! The state that both kinds of pool share: the jobs, the queue of jobs with tasks to send, and the lifecycle.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kettle::pool::scheduler::{Counts, Lifecycle, Statistics};
use kettle_core::sys::process;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::hooks::Hooks;
use super::job::Job;
use super::locking::{Detaching, lock};
use crate::primitive;

pub(super) struct Ledger {
    /// Jobs that may have tasks to send, in order of arrival.
    pub(super) ready: Mutex<VecDeque<Arc<Job>>>,
    /// All jobs that are not over.
    pub(super) live: Mutex<HashMap<u64, Arc<Job>>>,
    outstanding: AtomicUsize,
    /// The reasons it keeps are exceptions.
    pub(super) lifecycle: Lifecycle<Py<PyAny>>,
    pub(super) hooks: Hooks,
    pub(super) counts: Counts,
    numbers: AtomicU64,
    /// The process that created the pool.
    home: u64,
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
    pub(super) fn new(hooks: Py<PyAny>) -> Self {
        Self {
            ready: Mutex::new(VecDeque::new()),
            live: Mutex::new(HashMap::new()),
            outstanding: AtomicUsize::new(0),
            lifecycle: Lifecycle::default(),
            hooks: Hooks::new(hooks),
            counts: Counts::default(),
            numbers: AtomicU64::new(1),
            home: process::epoch(),
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn has_work(&self) -> bool {
        self.jobs() > 0
    }

    /// The number of jobs that are not over.
    pub(super) fn jobs(&self) -> usize {
        self.outstanding.load(Ordering::SeqCst)
    }

    /// Decrements the number of jobs that are not over.
    pub(super) fn strike_off(&self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether there are, or may be, tasks for workers.
    pub(super) fn needs_workers(&self) -> bool {
        self.lifecycle.needs_workers(|| self.has_work())
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

    /// Raises the error that broke the pool, if any, or an error in a process that did not create the pool.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.check_home()?;
        let broken = self.lifecycle.reason(Detaching(py), |e| e.clone_ref(py));
        broken.map_or(Ok(()), |e| Err(PyErr::from_value(e.into_bound(py))))
    }

    /// Adds a job.
    pub(super) fn enter(&self, py: Python<'_>, job: &Arc<Job>) -> PyResult<()> {
        self.check(py)?;
        if !self.lifecycle.is_running() {
            return Err(PyValueError::new_err("Pool not running"));
        }
        self.outstanding.fetch_add(1, Ordering::SeqCst);
        lock(py, &self.live).insert(job.number, Arc::clone(job));
        Ok(())
    }

    /// All jobs that are not over, oldest first.
    pub(super) fn living(&self, py: Python<'_>) -> Vec<Arc<Job>> {
        let mut jobs: Vec<Arc<Job>> = lock(py, &self.live).values().cloned().collect();
        jobs.sort_by_key(|job| job.number);
        jobs
    }

    /// Adds a job that has tasks to send to the queue, unless it is in the queue already.
    pub(super) fn queue(&self, py: Python<'_>, job: &Arc<Job>) {
        if job.is_over() || !job.state(py).tasks.enter_line() {
            return;
        }
        lock(py, &self.ready).push_back(Arc::clone(job));
    }

    /// Removes a job that has nothing to send at present from the queue.
    pub(super) fn set_aside(&self, py: Python<'_>, job: &Arc<Job>) {
        let mut ready = lock(py, &self.ready);
        if let Some(place) = ready.iter().position(|t| Arc::ptr_eq(t, job)) {
            ready.remove(place);
        }
    }

    /// Accepts no more jobs. Returns false if the pool was closed already, or if this process is a fork.
    pub(super) fn close(&self) -> bool {
        self.is_at_home() && self.lifecycle.close()
    }

    /// Stops the pool. Returns false if it was stopped already, or if this process is a fork.
    pub(super) fn terminate(&self) -> bool {
        self.is_at_home() && self.lifecycle.terminate()
    }

    pub(super) fn state_name(&self) -> &'static str {
        match &self.lifecycle {
            life if life.is_terminated() => "TERMINATE",
            life if life.is_running() => "RUN",
            _ => "CLOSE",
        }
    }

    /// The statistics, for the given number of workers and of busy ones.
    pub(super) fn statistics<'py>(&self, py: Python<'py>, workers: u64, busy: u64) -> PyResult<Bound<'py, PyAny>> {
        let unfinished: u64 = self.living(py).iter().map(|job| job.unfinished(py)).sum();
        let Statistics { done, failed, died, retried, timed_out, cancelled, workers_lost, .. } =
            self.counts.statistics(0, 0);
        primitive::record(
            py,
            "PoolStatistics",
            &[
                ("workers", workers),
                ("busy", busy),
                ("queued", unfinished.saturating_sub(busy)),
                ("done", done),
                ("failed", failed),
                ("died", died),
                ("retried", retried),
                ("timed_out", timed_out),
                ("cancelled", cancelled),
                ("workers_lost", workers_lost),
            ],
        )
    }
}
