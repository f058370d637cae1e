//! A task that was given to a pool.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kettle_core::wait::Patience;
use serde::de::DeserializeOwned;

use super::error::TaskError;
use super::job::Want;
use super::scheduler::Completion;
use super::shared::Shared;
use crate::queue::until;

/// A task that was given to a pool, and the result that it will have. Made by [`Pool::submit`](crate::Pool::submit).
///
/// It can be joined, which blocks, or awaited, on any runtime. Dropping it lets the task run on; its result is lost.
#[must_use = "a result that nobody asks for is lost; drop it if that is meant"]
pub struct Handle<R> {
    shared: Arc<Shared>,
    job: u64,
    completion: Arc<Completion>,
    cancel_on_drop: bool,
    is_joined: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> Handle<R> {
    /// The job of one task that was opened as `job`, and wants all.
    pub(super) fn new(shared: Arc<Shared>, job: u64, completion: Arc<Completion>) -> Self {
        Self { shared, job, completion, cancel_on_drop: false, is_joined: false, result: PhantomData }
    }

    /// Whether the task has an outcome.
    pub fn is_done(&self) -> bool {
        if !self.completion.is_done() {
            self.shared.look();
        }
        self.completion.is_done()
    }

    /// Waits until the task has an outcome.
    pub fn wait(&self) {
        // Who waits without a limit is not told that the time is over.
        let _ = self.shared.wait(&self.completion, &Patience::forever());
    }

    /// Waits so long for the task to have an outcome; says whether it has one.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(&self.completion, &until(timeout)).is_ok() || self.completion.is_done()
    }

    /// Cancels the task. If it waits, it is never begun. If it runs, its worker is ended and replaced, whatever it is at,
    /// and that is all that is ended. False: it has an outcome already.
    pub fn cancel(&self) -> bool {
        let is_open = self.shared.state().cancel(self.job) > 0;
        if is_open {
            self.shared.call_deputy(true);
        }
        is_open
    }

    /// Has the task cancelled if this handle is dropped before it is joined.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }
}

impl<R: DeserializeOwned> Handle<R> {
    /// Waits for the task's outcome, and gives it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn join(mut self) -> Result<R, TaskError> {
        self.wait();
        self.take()
    }

    /// Waits so long for the task's outcome; then gives it.
    ///
    /// # Errors
    /// The outer one: it has none yet, here is the handle again. The inner one: as [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// The outcome that is there.
    fn take(&mut self) -> Result<R, TaskError> {
        self.is_joined = true;
        let outcome = {
            let mut state = self.shared.state();
            let outcome = state.job(self.job).and_then(|job| job.take());
            state.forget(self.job, false);
            outcome
        };
        outcome.expect("a task that is done and was not joined has an outcome").open()
    }
}

/// Dropping it without a result lets the task run on, unless [`cancel_on_drop`](Handle::cancel_on_drop) was asked for.
impl<R: DeserializeOwned> Future for Handle<R> {
    type Output = Result<R, TaskError>;

    /// # Panics
    /// When it gave the outcome before.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.is_joined, "this task was awaited to its end before");
        let is_open = {
            let mut state = self.shared.state();
            let waits = state.want(self.job, Want::All);
            if let Some(job) = state.job(self.job).filter(|_| waits) {
                job.wake_by(context.waker());
            }
            waits
        };
        if is_open {
            self.shared.call_deputy(true);
            return Poll::Pending;
        }
        Poll::Ready(self.take())
    }
}

impl<R> Drop for Handle<R> {
    fn drop(&mut self) {
        if self.is_joined {
            return;
        }
        if self.cancel_on_drop {
            self.cancel();
        }
        self.shared.state().forget(self.job, true);
    }
}

impl<R> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("job", &self.job)
            .field("is_done", &self.completion.is_done())
            .finish_non_exhaustive()
    }
}
