//! A task that was given to a pool.

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

/// A task that was given to a pool, and the result that it will have. Made by
/// [`ThreadPool::submit`](crate::ThreadPool::submit).
///
/// It can be joined, which blocks, or awaited, on any runtime. Dropping it lets the task run on; its result is lost.
#[must_use = "a result that nobody asks for is lost; drop it if that is meant"]
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

    /// Whether the task has an outcome.
    pub fn is_done(&self) -> bool {
        self.task.completion().is_done()
    }

    /// Whether it has begun, and has no outcome yet.
    pub fn is_running(&self) -> bool {
        self.task.is_running()
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.task.is_cancelled()
    }

    /// Waits until the task has an outcome.
    ///
    /// A task that waits for another one of its own pool does that one itself if nobody has begun it.
    pub fn wait(&self) {
        if let Some(slot) = worker::slot_of(&self.workers) {
            Arc::clone(&self.task).run(&self.workers, &slot);
        }
        // Who waits without a limit is not told that the time is over.
        let _ = self.workers.wait(self.task.completion(), &Patience::forever());
    }

    /// Waits so long for the task to have an outcome; says whether it has one.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.workers.wait(self.task.completion(), &until(timeout)).is_ok() || self.is_done()
    }

    /// Cancels the task: it is never begun. False: it was begun before. A thread cannot be ended, so it goes on, and has
    /// an outcome in the end.
    pub fn cancel(&self) -> bool {
        self.task.cancel(&self.workers)
    }

    /// Has the task cancelled if this handle is dropped before it is joined.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }

    /// Waits for the task's outcome, and gives it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn join(mut self) -> Result<T, TaskError> {
        self.wait();
        self.take()
    }

    /// Waits so long for the task's outcome; then gives it.
    ///
    /// # Errors
    /// The outer one: it has none yet, here is the handle again. The inner one: as [`join`](Self::join).
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        if self.wait_timeout(timeout) { Ok(self.take()) } else { Err(self) }
    }

    /// The outcome that is there.
    fn take(&mut self) -> Result<T, TaskError> {
        self.is_joined = true;
        self.task.take().expect("a task that is done and was not joined has an outcome")
    }
}

/// Dropping it without a result lets the task run on, unless [`cancel_on_drop`](Handle::cancel_on_drop) was asked for.
impl<T> Future for Handle<T> {
    type Output = Result<T, TaskError>;

    /// # Panics
    /// When it gave the outcome before.
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
