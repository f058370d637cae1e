//! Whether the error of a call or a map was ever asked for. One that was not is told when the program ends.
//!
//! ```text
//!            over, with an error                asked for
//!   unknown ─────────────────────► on record ─────────────► off the record
//! ```
//!
//! The record is Python's, and only an error that nothing waits for comes to it. Recorder and asker may come at once: each
//! writes what it did before it looks at what the other has done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;

use super::Job;
use crate::pool::ledger::Ledger;

#[derive(Default)]
pub(super) struct Unasked {
    is_asked: AtomicBool,
    /// Under what it is on record; 0: it is not.
    entry: AtomicU64,
}

impl Job {
    /// Its outcome has been asked for, or is waited for.
    pub(in crate::pool) fn is_asked_for(&self) {
        self.unasked.is_asked.store(true, Ordering::SeqCst);
    }

    /// It is over, with this error.
    pub(in crate::pool) fn record_unasked(&self, ledger: &Ledger, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = error.py();
        if self.unasked.is_asked.load(Ordering::SeqCst) {
            return Ok(());
        }
        let entry = ledger.call(py, intern!(py, "unasked"), (error,))?.extract()?;
        self.unasked.entry.store(entry, Ordering::SeqCst);
        if self.unasked.is_asked.load(Ordering::SeqCst) { self.strike_unasked(py, ledger) } else { Ok(()) }
    }

    /// The error is asked for.
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
