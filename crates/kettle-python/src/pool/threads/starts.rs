//! The starts of workers.
//!
//! A signal handler may interrupt a start in its own thread, and then wait for a task. It cannot wait for that worker,
//! so it starts another thread. Of the two threads, the one that begins first is the worker, and the other one exits at
//! once: as many threads become workers as are expected.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kettle_core::sys::process;
use pyo3::Python;

use crate::pool::locking::lock;

/// The workers whose threads have not begun yet.
#[derive(Default)]
pub(super) struct Starts {
    expected: AtomicUsize,
    /// The threads that are starting others.
    starting: Mutex<Vec<u32>>,
}

impl Starts {
    /// Adds a worker that is about to be started.
    pub(super) fn expect(&self) {
        self.expected.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes the calling thread an expected worker. Returns false if none is expected any more.
    pub(super) fn begin(&self) -> bool {
        self.expected.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |expected| expected.checked_sub(1)).is_ok()
    }

    /// Whether this thread, in a signal handler, has interrupted its own start of a worker.
    pub(super) fn are_interrupted(&self, py: Python<'_>) -> bool {
        // Each submission asks this, and there is hardly ever a worker that has not begun.
        self.expected.load(Ordering::SeqCst) > 0 && lock(py, &self.starting).contains(&process::thread_id())
    }

    /// Runs `start`, which starts a thread.
    pub(super) fn run<R>(&self, py: Python<'_>, start: impl FnOnce() -> R) -> R {
        let me = process::thread_id();
        lock(py, &self.starting).push(me);
        let started = start();
        let mut starting = lock(py, &self.starting);
        if let Some(at) = starting.iter().rposition(|thread| *thread == me) {
            starting.remove(at);
        }
        started
    }
}
