//! One task.
//!
//! ```text
//!   Waiting ──a worker begins it──► Running ──it ends, or is given up──► Done ──it is taken──► Taken
//!      └──────────────────it is cancelled, or its pool terminated─────────▲
//! ```

use std::any::type_name;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::error::{TaskError, count_of};
use super::job::{Job, Refusal};
use super::timeouts::Limited;
use super::workers::{WorkerSlot, Workers};
use crate::panic::Panic;
use crate::pool::scheduler::{Blocking, Completion};

/// A task with a result of type `T` as its submitter sees it, independent of the closure.
pub(super) trait TaskHandle<T>: Job {
    fn completion(&self) -> &Completion;
    fn is_running(&self) -> bool;
    fn is_cancelled(&self) -> bool;
    /// Cancels the task unless it has begun.
    fn cancel(&self, workers: &Workers) -> bool;
    /// Takes the outcome, if it is there.
    fn take(&self) -> Option<Result<T, TaskError>>;
    /// As [`take`](Self::take), but if there is no outcome, `waker` is woken once there is.
    fn poll(&self, waker: &Waker) -> Option<Result<T, TaskError>>;
}

pub(super) struct SingleTask<F, T> {
    timeout: Option<Duration>,
    state: Mutex<State<F, T>>,
    completion: Completion,
}

struct State<F, T> {
    stage: Stage<F, T>,
    waker: Option<Waker>,
}

enum Stage<F, T> {
    Waiting(F),
    Running,
    Done(Result<T, TaskError>),
    Taken,
}

impl<F, T> SingleTask<F, T> {
    pub(super) fn new(call: F, timeout: Option<Duration>) -> Self {
        let state = State { stage: Stage::Waiting(call), waker: None };
        Self { timeout, state: Mutex::new(state), completion: Completion::default() }
    }

    fn state(&self) -> MutexGuard<'_, State<F, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Option<F> {
        let mut state = self.state();
        match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::Waiting(call) => Some(call),
            other => {
                state.stage = other;
                None
            }
        }
    }

    /// Sets the outcome of the task if `is_due` holds for its stage. The previous stage is dropped without the lock,
    /// because dropping it may run code of the program.
    fn settle(&self, workers: &Workers, outcome: Result<T, TaskError>, is_due: impl Fn(&Stage<F, T>) -> bool) -> bool {
        let mut state = self.state();
        if !is_due(&state.stage) {
            return false;
        }
        let counts = &workers.counts;
        counts.settle(outcome.as_ref().err().map_or(&counts.done, |why| count_of(counts, why)), 1);
        let before = std::mem::replace(&mut state.stage, Stage::Done(outcome));
        let waker = state.waker.take();
        drop(state);
        self.completion.finish();
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(before);
        true
    }
}

/// Runs a task's code.
pub(super) fn run<R>(task: impl FnOnce() -> R) -> Result<R, TaskError> {
    panic::catch_unwind(AssertUnwindSafe(task)).map_err(|payload| TaskError::Panicked(Panic::caught(payload)))
}

impl<F, T> Job for SingleTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Arc<Self>, workers: &Arc<Workers>, slot: &Arc<WorkerSlot>) {
        let Some(call) = self.begin() else { return };
        let limit = self.timeout.map(|timeout| {
            let limited = Limited { job: Arc::clone(&self) as Arc<dyn Job>, number: 0, slot: Arc::clone(slot) };
            workers.timeouts.begin(Blocking, timeout, limited)
        });
        let outcome = run(call);
        if limit.is_none_or(|limit| workers.timeouts.end(Blocking, limit)) {
            self.settle(workers, outcome, |stage| matches!(stage, Stage::Running));
        }
    }

    fn refuse(&self, workers: &Workers, why: &Refusal) {
        self.settle(workers, Err(why.of(type_name::<F>())), |stage| matches!(stage, Stage::Waiting(_)));
    }

    fn give_up(&self, workers: &Workers, _: u64) {
        let timeout = self.timeout.unwrap_or_default();
        let why = TaskError::TimedOut { task: type_name::<F>(), timeout };
        self.settle(workers, Err(why), |stage| matches!(stage, Stage::Running));
    }
}

impl<F, T> TaskHandle<T> for SingleTask<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn completion(&self) -> &Completion {
        &self.completion
    }

    fn is_running(&self) -> bool {
        matches!(self.state().stage, Stage::Running)
    }

    fn is_cancelled(&self) -> bool {
        matches!(self.state().stage, Stage::Done(Err(TaskError::Cancelled { .. })))
    }

    fn cancel(&self, workers: &Workers) -> bool {
        let why = TaskError::Cancelled { task: type_name::<F>() };
        self.settle(workers, Err(why), |stage| matches!(stage, Stage::Waiting(_)))
    }

    fn take(&self) -> Option<Result<T, TaskError>> {
        self.state().take()
    }

    fn poll(&self, waker: &Waker) -> Option<Result<T, TaskError>> {
        let mut state = self.state();
        let outcome = state.take();
        if outcome.is_none() {
            state.waker = Some(waker.clone());
        }
        outcome
    }
}

impl<F, T> State<F, T> {
    fn take(&mut self) -> Option<Result<T, TaskError>> {
        match std::mem::replace(&mut self.stage, Stage::Taken) {
            Stage::Done(outcome) => Some(outcome),
            other => {
                self.stage = other;
                None
            }
        }
    }
}
