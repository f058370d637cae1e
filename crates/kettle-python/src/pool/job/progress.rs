//! A job's progress bar: what it was last shown, and when.
//!
//! An imap's bar is updated while a thread waits for the next outcome, and when one is fetched: nothing is shown after
//! the loop has been left, even if its iterator still exists. Before the first fetch there is no loop to leave.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::{Job, State};
use crate::fast::calls;

/// An object with `update(done, failed)` and `close(done, failed)`.
pub(super) struct Bar {
    object: Py<PyAny>,
    /// Tasks that ended since the last update, and those of them that failed.
    done: u64,
    failed: u64,
    told_at: Option<Instant>,
}

/// The minimum time between two updates.
const EVERY: Duration = Duration::from_millis(50);

impl Bar {
    pub(super) fn new(object: Py<PyAny>) -> Self {
        Self { object, done: 0, failed: 0, told_at: None }
    }

    pub(super) fn add_done(&mut self, count: u64) {
        self.done += count;
    }

    pub(super) fn add_failed(&mut self) {
        self.failed += 1;
    }

    /// The update to show now, if one is due.
    fn news(&mut self, py: Python<'_>, is_last: bool) -> Option<(Py<PyAny>, u64, u64)> {
        let now = Instant::now();
        if !is_last && self.told_at.is_some_and(|at| now - at < EVERY) {
            return None;
        }
        self.told_at = Some(now);
        Some((self.object.clone_ref(py), std::mem::take(&mut self.done), std::mem::take(&mut self.failed)))
    }
}

impl State {
    fn is_shown(&self, is_iterated: bool) -> bool {
        self.bar.is_some() && (!is_iterated || self.is_waited_for() || !self.input.was_fetched())
    }
}

impl Job {
    pub(in crate::pool) fn has_bar(&self, py: Python<'_>) -> bool {
        self.state(py).bar.is_some()
    }

    /// Updates the progress bar if there is one, an update is due, and the job is waited for.
    pub(in crate::pool) fn tell_bar_in_passing(&self, py: Python<'_>) -> PyResult<()> {
        let is_shown = self.state(py).is_shown(self.is_iterated());
        if is_shown { self.tell_bar(py, false) } else { Ok(()) }
    }

    /// Updates the progress bar if there is one and an update is due.
    pub(in crate::pool) fn tell_bar(&self, py: Python<'_>, is_last: bool) -> PyResult<()> {
        let (news, over) = {
            let mut state = self.state(py);
            let Some(bar) = &mut state.bar else { return Ok(()) };
            let news = bar.news(py, is_last);
            (news, if is_last { state.bar.take() } else { None })
        };
        let Some((object, done, failed)) = news else { return Ok(()) };
        let name = if over.is_some() { "close" } else { "update" };
        calls::call_method(object.bind(py), name, (done, failed)).map(drop)
    }
}
