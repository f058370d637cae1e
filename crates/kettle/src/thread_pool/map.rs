//! All results at once.

use std::sync::Arc;

use super::crew::Crew;
use super::error::TaskError;
use super::flow::{Feed, Want};

/// So many tasks are unsent at least, as long as there are any.
const LOW: u64 = 64;

/// The results of all tasks, in their order; or the first failure, with which it ends.
///
/// The input is pulled as it is needed: so many tasks are unsent as make long chunks for all workers, not more.
pub(super) fn map<T, R>(
    crew: &Arc<Crew>,
    flow: &Arc<dyn Feed<T, R>>,
    mut items: impl Iterator<Item = T>,
) -> Result<Vec<R>, TaskError> {
    let _forget = Forget { crew, flow };
    let mut results = Vec::with_capacity(items.size_hint().0.min(1 << 20));
    let mut is_exhausted = false;
    loop {
        let (unsent, appetite) = flow.appetite(crew);
        let low = appetite.max(LOW);
        if unsent < low && !is_exhausted {
            let wanted = (2 * low - unsent) as usize;
            let mut batch = Vec::with_capacity(wanted.min(items.size_hint().1.unwrap_or(wanted)));
            batch.extend(items.by_ref().take(wanted));
            is_exhausted = batch.len() < wanted;
            Arc::clone(flow).add(crew, batch);
        }
        // Asked before the outcomes are taken, so that there are none after them.
        let is_over = is_exhausted && flow.open() == 0;
        if let Some(failure) = flow.take_failure() {
            return Err(failure);
        }
        while let Some(chunk) = flow.take() {
            chunk.append_to(&mut results)?;
        }
        if is_over {
            return Ok(results);
        }
        Arc::clone(flow).wait(crew, if is_exhausted { Want::Room(0) } else { Want::Room(low) });
    }
}

/// What was not begun when it is dropped is not begun any more.
struct Forget<'f, T, R> {
    crew: &'f Arc<Crew>,
    flow: &'f Arc<dyn Feed<T, R>>,
}

impl<T, R> Drop for Forget<'_, T, R> {
    fn drop(&mut self) {
        self.flow.forget(self.crew);
    }
}
