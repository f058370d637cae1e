//! Tasks that may take only so long, and the thread that watches their time.
//!
//! ```text
//!               its time is over              its task ends
//!   running ─────────────────────► given up ────────────────► (its worker leaves)
//!      └── ends in time ──► (its worker goes on)
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kettle_core::sys::process;
use kettle_core::wait::{Deadline, EventCount, Scope};
use pyo3::intern;
use pyo3::prelude::*;

use super::Threads;
use crate::door::wait_outside;
use crate::pool::crew::Crew;
use crate::pool::job::Job;
use crate::pool::ledger::{count, lock};

/// The running tasks that may take only so long.
#[derive(Default)]
pub(super) struct Limited {
    tasks: Mutex<HashMap<u64, Running>>,
    numbers: AtomicU64,
    /// When whoever watches will look next.
    next_look: AtomicU64,
    changed: EventCount,
    is_watched: AtomicBool,
}

struct Running {
    job: Arc<Job>,
    index: u64,
    due: Deadline,
    thread: u32,
}

impl Limited {
    /// Whether nobody watches yet; who asks will.
    pub(super) fn needs_a_watch(&self) -> bool {
        !self.is_watched.swap(true, Ordering::SeqCst)
    }

    /// Whoever watches looks again what is to be done.
    pub(super) fn look_again(&self) {
        self.changed.notify_all(Scope::Private);
    }

    /// A task begins, in this thread. Gives the number under which it is known.
    pub(super) fn begin(&self, py: Python<'_>, job: &Arc<Job>, index: u64, timeout: Duration) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let due = Deadline::after(timeout);
        lock(py, &self.tasks)
            .insert(number, Running { job: Arc::clone(job), index, due, thread: process::thread_id() });
        if due.as_nanos() < self.next_look.fetch_min(due.as_nanos(), Ordering::SeqCst) {
            self.look_again();
        }
        number
    }

    /// Says whether the task had not been given up.
    pub(super) fn end(&self, py: Python<'_>, number: u64) -> bool {
        let ended = lock(py, &self.tasks).remove(&number);
        ended.is_some()
    }

    /// When to look next. What begins later and is due sooner says so.
    fn next_due(&self, py: Python<'_>) -> Deadline {
        let tasks = lock(py, &self.tasks);
        let next = tasks.values().map(|running| running.due).min().unwrap_or(Deadline::NEVER);
        self.next_look.store(next.as_nanos(), Ordering::SeqCst);
        next
    }

    /// Takes those whose time is over.
    fn late(&self, py: Python<'_>) -> Vec<Running> {
        let mut tasks = lock(py, &self.tasks);
        let late: Vec<u64> = tasks.iter().filter(|(_, r)| r.due.is_past()).map(|(number, _)| *number).collect();
        late.iter().filter_map(|number| tasks.remove(number)).collect()
    }
}

impl Threads {
    /// Gives up on tasks that take too long, until the crew is gone.
    pub(super) fn watch(&self, py: Python<'_>) -> PyResult<()> {
        while !self.gone.is_done() {
            let next = self.limited.next_due(py);
            let _ = wait_outside(py, Deadline::NEVER, |patience| {
                let look = || {
                    let is_sooner = self.limited.next_look.load(Ordering::SeqCst) < next.as_nanos();
                    (is_sooner || self.gone.is_done()).then_some(())
                };
                self.limited.changed.wait_for(
                    &patience.among_threads(false).no_later_than(next),
                    Scope::Private,
                    look,
                    || None,
                )
            })?;
            for late in self.limited.late(py) {
                self.busy.fetch_sub(1, Ordering::Relaxed);
                self.give_up_on(py, &late)?;
                self.start(py)?;
                self.leave();
            }
        }
        Ok(())
    }

    fn give_up_on(&self, py: Python<'_>, late: &Running) -> PyResult<()> {
        let job = &late.job;
        if job.is_over() {
            return Ok(());
        }
        count(&self.ledger.counts.timed_out);
        let thread = late.thread.into_pyobject(py)?.into_any();
        self.put_loss(py, job, late.index, intern!(py, "late"), thread)
    }
}
