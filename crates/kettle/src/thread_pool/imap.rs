//! Results one by one, with a limit on how far ahead the input is pulled.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::chunk::{Chunk, Outcomes};
use super::error::{SubmitError, TaskError};
use super::map_job::MapHandle;
use super::workers::Workers;
use crate::pool::scheduler::Want;

/// An iterator over the results of tasks. Created by [`ThreadPool::imap`](crate::ThreadPool::imap) and
/// [`ThreadPool::imap_unordered`](crate::ThreadPool::imap_unordered).
///
/// The input is pulled by the thread that asks for results. If the iterator is dropped before its end, it pulls no
/// further input, and tasks that have not begun are not run.
pub struct Imap<I: Iterator, R> {
    workers: Arc<Workers>,
    map_job: Arc<dyn MapHandle<I::Item, R>>,
    input: Input<I>,
    /// Whether the input has ended.
    is_exhausted: bool,
    /// The reason for which the pool did not accept the job.
    refusal: Option<SubmitError>,
    /// The number of tasks that were pulled and whose results were not returned yet.
    ahead: usize,
    /// Their outcomes that have arrived.
    here: Outcomes<R>,
}

/// The source of the tasks.
pub(super) struct Input<I> {
    pub(super) items: I,
    /// The number of tasks that a worker takes at a time.
    pub(super) chunk: usize,
    /// The number of tasks that may be pulled ahead.
    pub(super) ahead: usize,
}

impl<I: Iterator, R> Imap<I, R> {
    pub(super) fn new(
        workers: Arc<Workers>,
        map_job: Arc<dyn MapHandle<I::Item, R>>,
        input: Input<I>,
        refusal: Option<SubmitError>,
    ) -> Self {
        Self {
            workers,
            map_job,
            input,
            is_exhausted: refusal.is_some(),
            refusal,
            ahead: 0,
            here: Chunk::with_capacity(0).into_outcomes(),
        }
    }

    /// Pulls as far ahead as permitted, in whole chunks.
    fn pull(&mut self) {
        let room = self.input.ahead - self.ahead;
        let wanted = room - room % self.input.chunk;
        if wanted == 0 || self.is_exhausted {
            return;
        }
        let items: Vec<_> = self.input.items.by_ref().take(wanted).collect();
        self.is_exhausted = items.len() < wanted;
        self.ahead += items.len();
        Arc::clone(&self.map_job).add(&self.workers, items);
    }

    /// Waits for the next outcome and returns it, or `None` if none will arrive.
    fn receive(&mut self) -> Option<Result<R, TaskError>> {
        loop {
            if let Some(outcome) = self.here.next() {
                return Some(outcome);
            }
            if self.ahead == 0 {
                return None;
            }
            match self.map_job.take() {
                Some(chunk) => self.here = chunk.into_outcomes(),
                None => Arc::clone(&self.map_job).wait(&self.workers, Want::Some),
            }
        }
    }
}

impl<I: Iterator, R> Iterator for Imap<I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pull();
        let Some(outcome) = self.receive() else {
            return self.refusal.take().map(|why| Err(why.into()));
        };
        self.ahead -= 1;
        Some(outcome)
    }
}

impl<I: Iterator, R> FusedIterator for Imap<I, R> {}

impl<I: Iterator, R> Drop for Imap<I, R> {
    fn drop(&mut self) {
        self.map_job.forget(&self.workers);
    }
}

impl<I: Iterator, R> fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}
