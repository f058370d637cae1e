//! The end of a job, and what is called at its end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use super::super::locking::lock;

pub(in crate::pool) struct Ending {
    /// Set when the job is over: it has all the outcomes that it will ever have.
    is_over: AtomicBool,
    callbacks: Mutex<Option<Callbacks>>,
}

/// Callbacks for the value and for the error.
pub(in crate::pool) struct Callbacks {
    pub(in crate::pool) value: Option<Py<PyAny>>,
    pub(in crate::pool) error: Option<Py<PyAny>>,
    /// Threads that wait for a cancelled job do not wait for its callback too.
    pub(in crate::pool) lets_go_of_cancelled: bool,
}

impl Ending {
    pub(super) fn new(callbacks: Option<Callbacks>) -> Self {
        Self { is_over: AtomicBool::new(false), callbacks: Mutex::new(callbacks) }
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Marks the job as over. Returns false if it was over already.
    pub(super) fn end(&self) -> bool {
        !self.is_over.swap(true, Ordering::SeqCst)
    }

    pub(in crate::pool) fn take_callbacks(&self, py: Python<'_>) -> Option<Callbacks> {
        lock(py, &self.callbacks).take()
    }

    /// Sets the callbacks for the end of the job. Returns false if it is over. The end takes the callbacks after it has
    /// marked the job as over, and this function checks the mark while it holds the lock on them.
    pub(super) fn add_callbacks(&self, py: Python<'_>, callbacks: Callbacks) -> bool {
        let mut place = lock(py, &self.callbacks);
        let adds = !self.is_over();
        if adds {
            *place = Some(callbacks);
        }
        adds
    }

    pub(in crate::pool) fn has_callbacks(&self, py: Python<'_>) -> bool {
        lock(py, &self.callbacks).is_some()
    }
}
