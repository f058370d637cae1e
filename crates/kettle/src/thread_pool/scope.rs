//! Tasks that borrow.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kettle_core::wait::scoped;

use super::error::{SubmitError, TaskError};
use super::handle::Handle;
use super::tasks::Tasks;

/// Submits tasks that may borrow what outlives the call of [`ThreadPool::scope`](crate::ThreadPool::scope).
///
/// A task gets more tasks into the same scope by a clone of it.
pub struct Scope<'scope, 'env: 'scope> {
    jobs: &'scope scoped::Scope<'scope, 'env>,
    tasks: Tasks<'env>,
    submitted: Arc<Submitted>,
}

/// The tasks of a scope, whose outcomes the scope asks for at its end unless their handles did.
#[derive(Default)]
struct Submitted(Mutex<Vec<Arc<Handle<()>>>>);

/// The result of a task that may borrow; empty until the task has returned.
struct Slot<T>(Mutex<Option<T>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn run<'env, R>(
    tasks: Tasks<'env>,
    body: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> R,
) -> Result<R, TaskError> {
    let submitted = Arc::<Submitted>::default();
    let result = scoped::scope(|jobs| {
        let scope = Scope { jobs, tasks, submitted: Arc::clone(&submitted) };
        let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        // `scoped::scope` waits as well, but a worker of this pool runs what has not begun itself, and lets another one
        // take its place while it waits for the rest.
        submitted.wait();
        tasks.workers().wait_by(|| jobs.wait());
        result.unwrap_or_else(|panic| resume_unwind(panic))
    });
    submitted.failure().map_or(Ok(result), Err)
}

impl Submitted {
    /// Waits until all tasks have outcomes, also those that tasks submit meanwhile.
    fn wait(&self) {
        let mut seen = 0;
        while let Some(handle) = { lock(&self.0).get(seen).cloned() } {
            handle.wait();
            seen += 1;
        }
    }

    /// The failure of the first task whose handle did not take it. To be called when no handle is left.
    fn failure(&self) -> Option<TaskError> {
        lock(&self.0).iter().find_map(|handle| handle.take_outcome()?.err())
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Submits a task. Its result may borrow, too.
    ///
    /// # Errors
    /// If the task is not accepted.
    pub fn submit<F, T>(&self, task: F) -> Result<ScopedHandle<'scope, T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let slot = Arc::new(Slot(Mutex::new(None)));
        let job = {
            let slot = Arc::clone(&slot);
            self.jobs.job(move || {
                let result = task();
                *lock(&slot.0) = Some(result);
            })
        };
        let handle = Arc::new(self.tasks.submit(move || job.run())?);
        lock(&self.submitted.0).push(Arc::clone(&handle));
        Ok(ScopedHandle { handle, slot, scope: PhantomData })
    }
}

impl Clone for Scope<'_, '_> {
    /// Another handle to the same scope.
    fn clone(&self) -> Self {
        Self { jobs: self.jobs, tasks: self.tasks, submitted: Arc::clone(&self.submitted) }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("submitted", &lock(&self.submitted.0).len()).finish_non_exhaustive()
    }
}

/// A task of a [`Scope`], and its future result.
///
/// If this is dropped, the task still runs. If it fails, the scope returns the failure.
pub struct ScopedHandle<'scope, T> {
    handle: Arc<Handle<()>>,
    slot: Arc<Slot<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedHandle<'_, T> {
    /// Returns whether the task has an outcome.
    pub fn is_done(&self) -> bool {
        self.handle.is_done()
    }

    /// Waits until the task has an outcome.
    pub fn wait(&self) {
        self.handle.wait();
    }

    /// Waits for the task's outcome for at most `timeout`; returns whether there is one.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.handle.wait_timeout(timeout)
    }

    /// Cancels the task, so that it never runs. Returns false if it has already begun.
    pub fn cancel(&self) -> bool {
        self.handle.cancel()
    }

    /// Waits for the task's outcome and returns it.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn join(self) -> Result<T, TaskError> {
        self.wait();
        let outcome = self.handle.take_outcome().expect("nothing but this and the end of the scope takes it");
        outcome.map(|()| lock(&self.slot.0).take().expect("a task that returned has left its result"))
    }
}

impl<T> fmt::Debug for ScopedHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedHandle").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}
