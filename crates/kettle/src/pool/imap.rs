//! Results one by one, with a limit on how far ahead the input is pulled.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;

use kettle_core::wait::Patience;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::error::{SubmitError, TaskError};
use super::job::{Outcome, Terms};
use super::scheduler::{Completion, Order, Want};
use super::shared::Shared;

/// An iterator over the results of tasks. Created by [`Pool::imap`](crate::Pool::imap) and
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// The input is pulled by the thread that asks for results. If the iterator is dropped before its end, it pulls no
/// further input, and tasks that were not sent to a worker are not run.
pub struct Imap<I, R> {
    shared: Arc<Shared>,
    job: u64,
    completion: Arc<Completion>,
    input: Input<I>,
    /// Whether the input has ended.
    is_exhausted: bool,
    /// The error that ended the input. It is returned after all earlier results.
    refusal: Option<SubmitError>,
    /// The number of tasks that were pulled and whose results were not returned yet.
    ahead: usize,
    /// Their outcomes that have arrived.
    here: VecDeque<Outcome>,
    result: PhantomData<fn() -> R>,
}

/// The source of the tasks.
pub(super) struct Input<I> {
    pub(super) calls: I,
    /// The number of tasks sent to a worker at a time.
    pub(super) chunk: usize,
    /// The number of tasks that may be pulled ahead.
    pub(super) ahead: usize,
}

impl<I: Iterator<Item = Call<R>>, R> Imap<I, R> {
    pub(super) fn new(shared: Arc<Shared>, terms: Terms, input: Input<I>, order: Order) -> Self {
        let opened = shared.state().open_job(terms, order);
        let (job, completion, refusal) = match opened {
            Ok((job, completion)) => (job, completion, None),
            // There is no job 0.
            Err(refusal) => (0, Arc::default(), Some(refusal)),
        };
        let is_exhausted = refusal.is_some();
        let here = VecDeque::new();
        Self { shared, job, completion, input, is_exhausted, refusal, ahead: 0, here, result: PhantomData }
    }

    /// Pulls as far ahead as permitted, a chunk at a time.
    fn pull(&mut self) {
        while !self.is_exhausted && self.ahead + self.input.chunk <= self.input.ahead {
            let mut chunk = Vec::with_capacity(self.input.chunk);
            while chunk.len() < self.input.chunk && !self.is_exhausted {
                match self.input.calls.next().map(Call::pack) {
                    Some(Ok(call)) => chunk.push(call),
                    Some(Err(e)) => {
                        self.refusal = Some(e.into());
                        self.is_exhausted = true;
                    }
                    None => self.is_exhausted = true,
                }
            }
            self.ahead += chunk.len();
            self.is_exhausted |= !self.shared.state().add(self.job, chunk);
        }
    }

    /// Waits until an outcome has arrived. If `here` is empty afterwards, none will arrive.
    fn receive(&mut self) {
        while self.here.is_empty() && self.ahead > 0 {
            let waits = {
                let mut state = self.shared.state();
                let Some(job) = state.job(self.job) else { return };
                self.here.extend(std::iter::from_fn(|| job.take()));
                self.here.is_empty() && job.want(Want::Some)
            };
            if waits {
                // A wait without a limit does not time out.
                let _ = self.shared.wait(&self.completion, &Patience::forever());
            }
        }
    }
}

impl<I: Iterator<Item = Call<R>>, R: DeserializeOwned> Iterator for Imap<I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pull();
        self.receive();
        let Some(outcome) = self.here.pop_front() else {
            return self.refusal.take().map(|why| Err(why.into()));
        };
        self.ahead -= 1;
        if self.ahead > self.here.len() {
            // The caller may not ask again for a while.
            self.shared.call_deputy(false);
        }
        Some(outcome.open())
    }
}

impl<I: Iterator<Item = Call<R>>, R: DeserializeOwned> FusedIterator for Imap<I, R> {}

impl<I, R> Drop for Imap<I, R> {
    fn drop(&mut self) {
        self.shared.state().forget(self.job, false);
    }
}

impl<I, R> fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("job", &self.job).field("ahead", &self.ahead).finish_non_exhaustive()
    }
}
