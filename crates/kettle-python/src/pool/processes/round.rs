//! A round of a pool: receives, starts workers where some are missing, sends.
//!
//! Python code runs within a round, so its lock is only ever tried: whoever finds it taken leaves his work to its holder.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::thread;

use kettle::pool::engine::Post;
use kettle_core::sys::process;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;

use super::{Chunk, Processes};
use crate::errors;
use crate::pool::job::Job;
use crate::pool::ledger::lock;

/// What a round works with.
#[derive(Default)]
pub(super) struct Step {
    pub(super) post: Post<Chunk>,
    /// Jobs whose progress bar may have to be told.
    pub(super) touched: Vec<Arc<Job>>,
}

/// The lock of a round, held by this thread.
pub(super) struct Stepping<'c> {
    step: MutexGuard<'c, Step>,
    crew: &'c Processes,
}

impl Deref for Stepping<'_> {
    type Target = Step;

    fn deref(&self) -> &Step {
        &self.step
    }
}

impl DerefMut for Stepping<'_> {
    fn deref_mut(&mut self) -> &mut Step {
        &mut self.step
    }
}

impl Drop for Stepping<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.crew.has_panicked.store(true, Ordering::SeqCst);
        }
        self.crew.stepping.store(0, Ordering::SeqCst);
    }
}

impl Processes {
    pub(super) fn try_step(&self) -> Option<Stepping<'_>> {
        let step = match self.step.try_lock() {
            Ok(step) => step,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.stepping.store(u64::from(process::thread_id()), Ordering::SeqCst);
        Some(Stepping { step, crew: self })
    }

    pub(super) fn is_inside_step(&self) -> bool {
        self.stepping.load(Ordering::SeqCst) == u64::from(process::thread_id())
    }

    /// One round: receives, sends, fills seats. Says whether anything happened; None if somebody else is at it.
    pub(super) fn round(&self, py: Python<'_>, ask: bool) -> PyResult<Option<bool>> {
        let Some(mut step) = self.try_step() else { return Ok(None) };
        self.round_inside(py, &mut step, ask).map(Some)
    }

    fn round_inside(&self, py: Python<'_>, step: &mut Step, ask: bool) -> PyResult<bool> {
        if self.has_panicked.swap(false, Ordering::SeqCst) {
            // What that thread had received may be lost with it, and somebody would wait for it for ever.
            let text = "a thread panicked while it worked for this pool, and results may be lost; make a new pool";
            self.fail_all(py, PyRuntimeError::new_err(text).into_value(py).into_any())?;
        }
        let received = self.receive(py, step, ask)?;
        // Those that are to end are seen off also then.
        if !self.ledger.is_terminated() {
            errors::check()?;
        }
        if let Err(e) = self.staff(py) {
            // Those that are there go on, and it is tried again; without any nothing would ever happen.
            if lock(py, &self.supervisor).tally().workers == 0 || !e.is_instance_of::<PyException>(py) {
                return Err(e);
            }
        }
        let sent = self.dispatch(py)?;
        self.wind_up(py);
        if received || sent {
            return Ok(true);
        }
        let nothing_to_send = lock(py, &self.ledger.ready).is_empty();
        Ok(nothing_to_send && lock(py, &self.supervisor).rebalance())
    }
}
