//! Tracks whether the error of a call or a map was ever asked for. If not, it is reported when the program ends.
//!
//! ```text
//!            over, with an error                asked for
//!   unknown ─────────────────────► on record ─────────────► off the record
//! ```
//!
//! The record is kept in Python, and only errors that no thread waits for are added to it. The job's end and a request
//! for the error may race: each side stores its own flag before it reads the other's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use crate::pool::hooks::Hooks;

#[derive(Default)]
pub(in crate::pool) struct Unasked {
    is_asked: AtomicBool,
    /// The key of the record entry; 0 if there is none.
    entry: AtomicU64,
}

impl Unasked {
    /// Whether the outcome has been asked for, or is waited for.
    pub(super) fn set_asked(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
    }

    /// Called when the job is over with this error.
    pub(in crate::pool) fn record(&self, hooks: &Hooks, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        if self.is_asked.load(Ordering::SeqCst) {
            return Ok(());
        }
        let entry = hooks.call(py, intern!(py, "unasked"), (error,))?.extract()?;
        self.entry.store(entry, Ordering::SeqCst);
        if self.is_asked.load(Ordering::SeqCst) { self.strike(py, hooks) } else { Ok(()) }
    }

    /// Called when the error is asked for.
    pub(super) fn ask(&self, py: Python<'_>, hooks: &Hooks) -> PyResult<()> {
        if self.is_asked.swap(true, Ordering::SeqCst) { Ok(()) } else { self.strike(py, hooks) }
    }

    fn strike(&self, py: Python<'_>, hooks: &Hooks) -> PyResult<()> {
        match self.entry.swap(0, Ordering::SeqCst) {
            0 => Ok(()),
            entry => hooks.call(py, intern!(py, "asked"), (entry,)).map(drop),
        }
    }
}
