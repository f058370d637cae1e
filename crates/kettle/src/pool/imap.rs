//! Results one by one, while the input is pulled only as far ahead as it may be.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;

use kettle_core::wait::Patience;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::error::{SubmitError, TaskError};
use super::job::{Outcome, Terms, Want};
use super::scheduler::Completion;
use super::shared::Shared;

/// The results of tasks, as they come. Made by [`Pool::imap`](crate::Pool::imap) and
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// The input is pulled by the thread that asks for results. Dropped before its end, it pulls no further, and what was
/// not sent to a worker is not run.
pub struct Imap<I, R> {
    shared: Arc<Shared>,
    job: u64,
    completion: Arc<Completion>,
    input: Input<I>,
    want: Want,
    /// The input is at its end.
    is_exhausted: bool,
    /// It ended like this; told when everything before it is.
    refusal: Option<SubmitError>,
    /// So many were pulled, and are not given out.
    ahead: usize,
    /// Those of them that have come.
    here: VecDeque<Outcome>,
    result: PhantomData<fn() -> R>,
}

/// Where the tasks come from.
pub(super) struct Input<I> {
    pub(super) calls: I,
    /// So many go to a worker at a time.
    pub(super) chunk: usize,
    /// So many may be pulled ahead.
    pub(super) ahead: usize,
}

impl<I: Iterator<Item = Call<R>>, R> Imap<I, R> {
    pub(super) fn new(shared: Arc<Shared>, terms: Terms, input: Input<I>, want: Want) -> Self {
        let opened = shared.state().open_job(terms, want == Want::Any);
        let (job, completion, refusal) = match opened {
            Ok((job, completion)) => (job, completion, None),
            // Job 0 is none.
            Err(refusal) => (0, Arc::default(), Some(refusal)),
        };
        let is_exhausted = refusal.is_some();
        let here = VecDeque::new();
        Self { shared, job, completion, input, want, is_exhausted, refusal, ahead: 0, here, result: PhantomData }
    }

    /// Pulls as far ahead as it may, a chunk at a time.
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

    /// Waits until something has come. Afterwards nothing is here if nothing will come.
    fn receive(&mut self) {
        while self.here.is_empty() && self.ahead > 0 {
            let waits = {
                let mut state = self.shared.state();
                let Some(job) = state.job(self.job) else { return };
                self.here.extend(std::iter::from_fn(|| job.take()));
                self.here.is_empty() && job.want(self.want)
            };
            if waits {
                // Who waits without a limit is not told that the time is over.
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
            // The caller may be away for a while.
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
