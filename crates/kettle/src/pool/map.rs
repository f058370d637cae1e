//! `map`: all results at once.

use std::sync::Arc;

use kettle_core::wait::Patience;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::error::TaskError;
use super::job::Terms;
use super::scheduler::{Order, Want};
use super::shared::Shared;

/// How far a [`map`](crate::Pool::map) is. See [`Pool::on_progress`](crate::Pool::on_progress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many of the first results are there.
    pub done: usize,
    /// How many there will be, if the items say how many they are.
    pub total: Option<usize>,
}

/// The minimum number of unsent tasks to keep in reserve, while the input lasts.
const LOW: u64 = 64;
/// The amount of arguments, in bytes, after which a batch of input ends.
const BATCH: usize = 16 << 20;

/// Returns the results of all calls, in their order, or stops at the first failure and returns it.
///
/// The input is pulled on demand: only as many tasks wait to be sent as make long chunks for all workers.
pub(super) fn map<R: DeserializeOwned>(
    shared: &Arc<Shared>,
    terms: Terms,
    mut calls: impl Iterator<Item = Call<R>>,
    report: Option<&dyn Fn(Progress)>,
) -> Result<Vec<R>, TaskError> {
    let total = match calls.size_hint() {
        (least, Some(most)) if least == most => Some(least),
        _ => None,
    };
    let (id, completion) = shared.state().open_job(terms, Order::OfTasks)?;
    let _job = Forget { shared, id };
    let mut results = Vec::with_capacity(calls.size_hint().0.min(1 << 20));
    let mut is_exhausted = false;
    loop {
        let low = LOW.max(shared.state().demand(id));
        let mut unsent = shared.state().job(id).map_or(0, |job| job.tasks.pending.unsent());
        while unsent < low && !is_exhausted {
            let (mut batch, mut weight) = (Vec::new(), 0);
            while unsent < 2 * low && weight < BATCH {
                let Some(call) = calls.next() else {
                    is_exhausted = true;
                    break;
                };
                let call = call.pack().map_err(|e| TaskError::Refused(e.into()))?;
                weight += call.weight();
                batch.push(call);
                unsent += 1;
            }
            let mut state = shared.state();
            is_exhausted |= !state.add(id, batch);
            unsent = state.job(id).map_or(0, |job| job.tasks.pending.unsent());
        }
        let waits = {
            let mut state = shared.state();
            let Some(job) = state.job(id) else { return Ok(results) };
            if let Some(failure) = job.take_failure() {
                drop(state);
                return failure.open().map(|never: R| results.into_iter().chain([never]).collect());
            }
            let come: Vec<_> = std::iter::from_fn(|| job.take()).collect();
            let is_over = is_exhausted && job.tasks.open() == 0;
            let room = if is_exhausted { 0 } else { low };
            let waits = job.want(if report.is_some() { Want::SomeOrRoom(room) } else { Want::Room(room) });
            drop(state);
            let before = results.len();
            for outcome in come {
                results.push(outcome.open()?);
            }
            if let Some(report) = report.filter(|_| results.len() > before) {
                report(Progress { done: results.len(), total });
            }
            if is_over {
                return Ok(results);
            }
            waits
        };
        if waits {
            // A wait without a limit does not time out.
            let _ = shared.wait(&completion, &Patience::forever());
        }
    }
}

/// Forgets the job when dropped: tasks that were not sent by then are not run.
struct Forget<'s> {
    shared: &'s Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.state().forget(self.id, false);
    }
}
