//! All results at once.

use std::sync::Arc;

use super::error::TaskError;
use super::map_job::{MapHandle, Want};
use super::workers::Workers;

/// So many tasks are unsent at least, as long as there are any.
const LOW: u64 = 64;

/// The results of all tasks, in their order; or the first failure, with which it ends.
///
/// The input is pulled as it is needed: so many tasks are unsent as make long chunks for all workers, not more.
pub(super) fn map<T, R>(
    workers: &Arc<Workers>,
    map_job: &Arc<dyn MapHandle<T, R>>,
    mut items: impl Iterator<Item = T>,
) -> Result<Vec<R>, TaskError> {
    let _forget = Forget { workers, map_job };
    let mut results = Vec::with_capacity(items.size_hint().0.min(1 << 20));
    let mut is_exhausted = false;
    loop {
        let (unsent, demand) = map_job.demand(workers);
        let low = demand.max(LOW);
        if unsent < low && !is_exhausted {
            let wanted = (2 * low - unsent) as usize;
            let mut batch = Vec::with_capacity(wanted.min(items.size_hint().1.unwrap_or(wanted)));
            batch.extend(items.by_ref().take(wanted));
            is_exhausted = batch.len() < wanted;
            Arc::clone(map_job).add(workers, batch);
        }
        // Asked before the outcomes are taken, so that there are none after them.
        let is_over = is_exhausted && map_job.open() == 0;
        if let Some(failure) = map_job.take_failure() {
            return Err(failure);
        }
        while let Some(chunk) = map_job.take() {
            chunk.append_to(&mut results)?;
        }
        if is_over {
            return Ok(results);
        }
        Arc::clone(map_job).wait(workers, if is_exhausted { Want::Room(0) } else { Want::Room(low) });
    }
}

/// What was not begun when it is dropped is not begun any more.
struct Forget<'f, T, R> {
    workers: &'f Arc<Workers>,
    map_job: &'f Arc<dyn MapHandle<T, R>>,
}

impl<T, R> Drop for Forget<'_, T, R> {
    fn drop(&mut self) {
        self.map_job.forget(self.workers);
    }
}
