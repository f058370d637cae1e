//! What a worker has claimed of a job, and the outcomes that it has not recorded yet.
//!
//! ```text
//!             claim                          next                end                put
//!  pending ──────────► in a local queue ──────────► being done ───────► kept ───────────────► the job has its outcome
//!                            └──▲ steal
//! ```
//!
//! No outcome of a map is visible before all are there. So a worker keeps the outcomes and records many at once. The
//! outcomes of an imap are never kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use kettle::pool::scheduler::thread::{self, Context};
use pyo3::prelude::*;

use crate::pool::job::{Job, Outcome};

pub(super) type Claim = thread::Claim<Claimed, Py<PyAny>>;
pub(super) type LocalQueue = thread::LocalQueue<Claimed, Py<PyAny>>;
pub(super) type LocalQueues = thread::LocalQueues<Claimed, Py<PyAny>>;

/// The context of claimed tasks.
pub(super) struct Claimed {
    pub(super) job: Arc<Job>,
    pub(super) since: Instant,
    /// The outcomes after those that were recorded.
    pub(super) kept: Vec<Outcome>,
    /// The number of outcomes that were recorded.
    put: u64,
}

impl Claimed {
    pub(super) fn new(job: &Arc<Job>) -> Self {
        Self { job: Arc::clone(job), since: Instant::now(), kept: Vec::new(), put: 0 }
    }
}

impl Context for Claimed {
    fn for_thief(&self) -> Self {
        Self::new(&self.job)
    }
}

/// Moves the kept outcomes into an empty list. Returns the number of the first.
pub(super) fn take_kept(claim: &mut Claim, outcomes: &mut Vec<Outcome>) -> u64 {
    let first = claim.start() + claim.context.put;
    std::mem::swap(&mut claim.context.kept, outcomes);
    claim.context.put += outcomes.len() as u64;
    first
}

/// Takes the items that were not begun, if they belong to this job.
pub(super) fn take_items_of(claim: &mut Claim, job: &Arc<Job>) -> Option<VecDeque<Py<PyAny>>> {
    Arc::ptr_eq(&claim.context.job, job).then(|| claim.take_items())
}
