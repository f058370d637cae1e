//! What a job was given, when it is over: the function and its arguments, which it lets go then.
//!
//! To let go of the last reference to an object may run code of the program: a destructor, which may use the pool, wait
//! for a lock, or for the very job. So no lock is held meanwhile, and who waits for the job is told before, as the
//! standard library does it. The thread that does both stays attached to the interpreter in between, so that whoever was
//! told finds the objects gone.
//!
//! Mostly it is plain that no code can run. Then nobody needs to be told first, and a thread can be woken when that suits
//! best: after the interpreter was let go.

use pyo3::prelude::*;

use super::{Job, Work};
use crate::methods::lifetimes;

/// See the module. They are let go when this is dropped.
pub(in crate::pool) struct Leavings(Option<Work>);

impl Leavings {
    /// Lets go of what goes quietly. True: nothing is left.
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

    /// Lets go of all that is left.
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
    /// Takes what it was given: it is over. Says as well whether there is a progress bar to be told, and whether it has
    /// failed by itself.
    pub(in crate::pool) fn take_leavings(&self, py: Python<'_>) -> (Leavings, bool, bool) {
        let mut state = self.state(py);
        let has_failed = state.results.has_failed() && !state.cancelled;
        (Leavings(state.work.take()), state.bar.is_some(), has_failed)
    }
}
