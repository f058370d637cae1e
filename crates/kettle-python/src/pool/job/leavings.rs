//! The function and arguments of a job that is over, to be dropped.
//!
//! Dropping the last reference to an object may run a destructor of the program, which may use the pool, or wait for a
//! lock or for this very job. So no lock is held meanwhile, and threads that wait for the job are woken first, as in
//! the standard library. The thread that does both stays attached to the interpreter in between, so that a woken thread
//! finds the objects gone.
//!
//! Usually it is evident that no code can run. The objects are then dropped first, and the waiting thread is woken at
//! the best moment: after the interpreter has been released.

use pyo3::prelude::*;

use super::{Job, Work};
use crate::fast::lifetimes;

/// See the module documentation. The objects are dropped with this value.
pub(in crate::pool) struct Leavings(Option<Work>);

impl Leavings {
    /// Drops what can be dropped without running user code. Returns true if nothing is left.
    pub(in crate::pool) fn went_quietly(&mut self, py: Python<'_>) -> bool {
        let goes_quietly = |object: &Py<PyAny>| lifetimes::goes_quietly(object.bind(py));
        let all_go = match &self.0 {
            None => return true,
            Some(Work::Call { function, args, kwds }) => [function, args, kwds].into_iter().all(goes_quietly),
            Some(Work::Items { function, .. }) => goes_quietly(function),
        };
        if all_go {
            self.0 = None;
        }
        all_go
    }

    /// Drops everything that is left.
    pub(in crate::pool) fn let_go(self, py: Python<'_>) {
        let Some(work) = self.0 else { return };
        let objects = match work {
            Work::Call { function, args, kwds } => [Some(args), Some(kwds), Some(function)],
            Work::Items { function, .. } => [Some(function), None, None],
        };
        objects.into_iter().flatten().for_each(|object| lifetimes::let_go(object.into_bound(py)));
    }
}

impl Job {
    /// Takes the function and arguments of a job that is over. Also returns whether a progress bar has to be updated,
    /// and whether the job failed without being cancelled.
    pub(in crate::pool) fn take_leavings(&self, py: Python<'_>) -> (Leavings, bool, bool) {
        let mut state = self.state(py);
        let has_failed = state.results.has_failed() && !state.cancelled;
        (Leavings(state.work.take()), state.bar.is_some(), has_failed)
    }
}
