//! The state of a worker that no other thread sees, apart from its queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kettle_core::wait::Searcher;
use pyo3::prelude::*;

use super::claim::{Claim, LocalQueue, LocalQueues};
use crate::pool::job::Outcome;
use crate::pool::locking::Detaching;

/// How often to offer the interpreter to other threads, even if the tasks never release it themselves.
const TURN: Duration = Duration::from_millis(5);

/// How long claimed tasks may take. After that one of them must be slow, and other workers take over the rest.
pub(super) const OVERDUE: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Shift<'t> {
    pub(super) queue: Arc<LocalQueue>,
    pub(super) searcher: Searcher<'t>,
    /// When the worker last offered the interpreter to other threads.
    turn: Instant,
    /// When the worker last checked for overdue tasks.
    looked: Instant,
    /// Empty except while outcomes are being recorded.
    pub(super) outcomes: Vec<Outcome>,
}

impl<'t> Shift<'t> {
    pub(super) fn new(searcher: Searcher<'t>) -> Self {
        let now = Instant::now();
        Self { queue: Arc::new(LocalQueue::new()), searcher, turn: now, looked: now, outcomes: Vec::new() }
    }

    /// Offers the interpreter to other threads, if it is time.
    #[inline]
    pub(super) fn offer_turn(&mut self, py: Python<'_>, now: Instant) {
        if now - self.turn > TURN {
            py.detach(|| ());
            self.took_turn();
        }
    }

    /// Records that other threads could have the interpreter.
    pub(super) fn took_turn(&mut self) {
        self.turn = Instant::now();
    }

    /// Whether it is time to check for overdue tasks.
    pub(super) fn is_to_look(&mut self) -> bool {
        let is_time = self.looked.elapsed() > OVERDUE;
        if is_time {
            self.looked = Instant::now();
        }
        is_time
    }

    /// Keeps the outcome of the last task, and returns the next of those claimed.
    #[inline]
    pub(super) fn next_task(
        &self,
        py: Python<'_>,
        queues: &LocalQueues,
        outcome: Option<Outcome>,
    ) -> Option<(u64, Py<PyAny>)> {
        let next = |claim: &mut Claim| {
            claim.context.kept.extend(outcome);
            claim.pop()
        };
        queues.with(Detaching(py), &self.queue, next).flatten()
    }

    /// Drops the rest of the claimed tasks.
    pub(super) fn put_down(&self, py: Python<'_>, queues: &LocalQueues) {
        let claim = queues.clear(Detaching(py), &self.queue);
        drop(claim);
    }
}
