//! Tasks with a time limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kettle::pool::scheduler::thread::TimeLimit;
use kettle_core::sys::process;
use pyo3::intern;
use pyo3::prelude::*;

use super::Threads;
use crate::pool::crew::Crew;
use crate::pool::job::Job;
use crate::pool::ledger::count;
use crate::pool::locking::Detaching;

/// A running task with a time limit.
pub(super) struct Limited {
    job: Arc<Job>,
    index: u64,
    /// The operating system's identifier of the thread that runs it.
    thread: u32,
}

impl Threads {
    /// Starts the time limit of a task that begins in this thread.
    #[cold]
    pub(super) fn begin_limited(&self, py: Python<'_>, job: &Arc<Job>, index: u64, timeout: Duration) -> TimeLimit {
        let limited = Limited { job: Arc::clone(job), index, thread: process::thread_id() };
        self.timeouts.begin(Detaching(py), timeout, limited)
    }

    /// Ends the time limit of a task. Returns false if the task had been given up before.
    #[cold]
    pub(super) fn end_limited(&self, py: Python<'_>, limit: TimeLimit) -> bool {
        self.timeouts.end(Detaching(py), limit)
    }

    /// Gives up on tasks that exceed their time limit, until the pool is gone.
    pub(super) fn watch(&self, py: Python<'_>) -> PyResult<()> {
        while let Some((late, ())) = self.timeouts.next_late(Detaching(py), || self.gone.is_done(), |_| ()) {
            self.busy.fetch_sub(1, Ordering::Relaxed);
            self.give_up_on(py, &late)?;
            self.start(py)?;
            self.leave();
        }
        Ok(())
    }

    fn give_up_on(&self, py: Python<'_>, late: &Limited) -> PyResult<()> {
        let job = &late.job;
        if job.is_over() {
            return Ok(());
        }
        count(&self.ledger.counts.timed_out);
        let thread = late.thread.into_pyobject(py)?.into_any();
        self.put_loss(py, job, late.index, intern!(py, "late"), thread)
    }
}
