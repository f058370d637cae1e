//! `map`: all results at once.

use std::sync::Arc;

use super::error::TaskError;
use super::map_job::MapHandle;
use super::workers::Workers;
use crate::pool::scheduler::Want;

/// The minimum number of unsent tasks to keep in reserve, while the input lasts.
const LOW: u64 = 64;

/// Returns the results of all tasks, in their order, or stops at the first failure and returns it.
///
/// The input is pulled on demand: only as many tasks are kept unsent as make long chunks for all workers.
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
        // Read before the outcomes are taken, so that none can arrive after them.
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

/// Forgets the job when dropped: tasks that have not begun by then are not run.
struct Forget<'f, T, R> {
    workers: &'f Arc<Workers>,
    map_job: &'f Arc<dyn MapHandle<T, R>>,
}

impl<T, R> Drop for Forget<'_, T, R> {
    fn drop(&mut self) {
        self.map_job.forget(self.workers);
    }
}
