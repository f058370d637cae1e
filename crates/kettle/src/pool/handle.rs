//! A task that was submitted to a pool.

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
use super::scheduler::{Completion, Want};
use super::shared::Shared;
use crate::queue::until;

/// A task that was submitted to a pool, and its future result. Created by [`Pool::submit`](crate::Pool::submit).
///
/// It can be joined, which blocks, or awaited on any runtime. If it is dropped, the task still runs; its result is
/// lost.
#[must_use = "an unread result is lost; drop it if that is meant"]
pub struct Handle<R> {
    shared: Arc<Shared>,
    job: u64,
    completion: Arc<Completion>,
    cancel_on_drop: bool,
    is_joined: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> Handle<R> {
    /// Creates the handle of a job of one task that was opened as `job` with [`Want::All`].
    pub(super) fn new(shared: Arc<Shared>, job: u64, completion: Arc<Completion>) -> Self {
        Self { shared, job, completion, cancel_on_drop: false, is_joined: false, result: PhantomData }
    }

    /// Returns whether the task has an outcome.
    pub fn is_done(&self) -> bool {
        if !self.completion.is_done() {
            self.shared.look();
        }
        self.completion.is_done()
    }

    /// Waits until the task has an outcome.
    pub fn wait(&self) {
        // A wait without a limit does not time out.
        let _ = self.shared.wait(&self.completion, &Patience::forever());
    }

    /// Waits for the task's outcome for at most `timeout`; returns whether there is one.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(&self.completion, &until(timeout)).is_ok() || self.completion.is_done()
    }

    /// Cancels the task. A task that has not begun never runs. For a running one, its worker is ended and replaced,
    /// whatever the task is doing; no other task is affected. Returns false if the task already has an outcome.
    pub fn cancel(&self) -> bool {
        let is_open = self.shared.state().cancel(self.job) > 0;
        if is_open {
            self.shared.call_deputy(true);
        }
        is_open
    }

    /// Makes dropping this handle before it is joined cancel the task.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }
}

impl<R: DeserializeOwned> Handle<R> {
    /// Waits for the task's outcome and returns it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn join(mut self) -> Result<R, TaskError> {
        self.wait();
        self.take()
    }

    /// Waits for the task's outcome for at most `timeout` and returns it.
    ///
    /// # Errors
    /// The outer error returns the handle if there is no outcome yet. The inner one is that of [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// Takes the outcome, which must be there.
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

/// If the future is dropped without a result, the task still runs, unless [`cancel_on_drop`](Handle::cancel_on_drop)
/// was called.
impl<R: DeserializeOwned> Future for Handle<R> {
    type Output = Result<R, TaskError>;

    /// # Panics
    /// If it has already returned the outcome.
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
