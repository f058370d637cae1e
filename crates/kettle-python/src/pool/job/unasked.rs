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

use super::Job;
use crate::pool::ledger::Ledger;

#[derive(Default)]
pub(super) struct Unasked {
    is_asked: AtomicBool,
    /// The key of the record entry; 0 if there is none.
    entry: AtomicU64,
}

impl Job {
    /// Whether the outcome has been asked for, or is waited for.
    pub(in crate::pool) fn is_asked_for(&self) {
        self.unasked.is_asked.store(true, Ordering::SeqCst);
    }

    /// Called when the job is over with this error.
    pub(in crate::pool) fn record_unasked(&self, ledger: &Ledger, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        if self.unasked.is_asked.load(Ordering::SeqCst) {
            return Ok(());
        }
        let entry = ledger.call(py, intern!(py, "unasked"), (error,))?.extract()?;
        self.unasked.entry.store(entry, Ordering::SeqCst);
        if self.unasked.is_asked.load(Ordering::SeqCst) { self.strike_unasked(py, ledger) } else { Ok(()) }
    }

    /// Called when the error is asked for.
    pub(super) fn ask(&self, py: Python<'_>, ledger: &Ledger) -> PyResult<()> {
        if self.unasked.is_asked.swap(true, Ordering::SeqCst) { Ok(()) } else { self.strike_unasked(py, ledger) }
    }

    fn strike_unasked(&self, py: Python<'_>, ledger: &Ledger) -> PyResult<()> {
        match self.unasked.entry.swap(0, Ordering::SeqCst) {
            0 => Ok(()),
            entry => ledger.call(py, intern!(py, "asked"), (entry,)).map(drop),
        }
    }
}
