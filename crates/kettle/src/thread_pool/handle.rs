//! A task that was submitted to a pool.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use kettle_core::wait::Patience;

use super::error::TaskError;
use super::single::TaskHandle;
use super::worker;
use super::workers::Workers;
use crate::queue::until;

/// A task that was submitted to a pool, and its future result. Created by
/// [`ThreadPool::submit`](crate::ThreadPool::submit).
///
/// It can be joined, which blocks, or awaited on any runtime. If it is dropped, the task still runs; its result is
/// lost.
#[must_use = "an unread result is lost; drop it if that is meant"]
pub struct Handle<T> {
    workers: Arc<Workers>,
    task: Arc<dyn TaskHandle<T>>,
    cancel_on_drop: bool,
    is_joined: bool,
}

impl<T> Handle<T> {
    pub(super) fn new(workers: Arc<Workers>, task: Arc<dyn TaskHandle<T>>) -> Self {
        Self { workers, task, cancel_on_drop: false, is_joined: false }
    }

    /// Returns whether the task has an outcome.
    pub fn is_done(&self) -> bool {
        self.task.completion().is_done()
    }

    /// Returns whether the task has begun and has no outcome yet.
    pub fn is_running(&self) -> bool {
        self.task.is_running()
    }

    /// Returns whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.task.is_cancelled()
    }

    /// Waits until the task has an outcome.
    ///
    /// If a task waits for another one of its own pool that has not begun, it runs that one itself.
    pub fn wait(&self) {
        if let Some(slot) = worker::slot_of(&self.workers) {
            Arc::clone(&self.task).run(&self.workers, &slot);
        }
        // A wait without a limit does not time out.
        let _ = self.workers.wait(self.task.completion(), &Patience::forever());
    }

    /// Waits for the task's outcome for at most `timeout`; returns whether there is one.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.workers.wait(self.task.completion(), &until(timeout)).is_ok() || self.is_done()
    }

    /// Cancels the task, so that it never runs. Returns false if it has already begun: a thread cannot be ended from
    /// outside, so the task continues to its end.
    pub fn cancel(&self) -> bool {
        self.task.cancel(&self.workers)
    }

    /// Makes dropping this handle before it is joined cancel the task.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }

    /// Waits for the task's outcome and returns it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn join(mut self) -> Result<T, TaskError> {
        self.wait();
        self.take()
    }

    /// Waits for the task's outcome for at most `timeout` and returns it.
    ///
    /// # Errors
    /// The outer error returns the handle if there is no outcome yet. The inner one is that of [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// Takes the outcome, if it is there and was not taken before.
    pub(super) fn take_outcome(&self) -> Option<Result<T, TaskError>> {
        self.task.take()
    }

    /// Takes the outcome, which must be there.
    fn take(&mut self) -> Result<T, TaskError> {
        self.is_joined = true;
        self.task.take().expect("a task that is done and was not joined has an outcome")
    }
}

/// If the future is dropped without a result, the task still runs, unless [`cancel_on_drop`](Handle::cancel_on_drop)
/// was called.
impl<T> Future for Handle<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    /// If it has already returned the outcome.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.is_joined, "this task was awaited to its end before");
        match self.task.poll(context.waker()) {
            Some(outcome) => {
                self.is_joined = true;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.cancel_on_drop && !self.is_joined {
            self.cancel();
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}
