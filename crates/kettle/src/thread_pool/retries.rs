//! Tasks that are run again if they panic.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::{SubmitError, TaskError};
use super::handle::Handle;
use super::imap::Imap;
use super::tasks::Tasks;
use super::workers::Workers;

/// A pool together with options for the tasks submitted through it, which are run again if they panic. Created by
/// [`ThreadPool::retries`](crate::ThreadPool::retries).
///
/// The task must be a `Fn` and its item `Clone`, so that it can be run again. A [`task_timeout`](Tasks::task_timeout)
/// applies to all attempts together.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
///
/// fn stumble() -> u32 {
///     let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
///     assert!(attempt > 1, "not yet");
///     attempt
/// }
///
/// let pool = kettle::ThreadPool::new()?;
/// assert_eq!(pool.retries(5).apply(stumble)?, 2);
/// assert_eq!(pool.statistics().retried, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing happens before it is given a task"]
pub struct Retries<'p> {
    tasks: Tasks<'p>,
    retries: u32,
}

impl<'p> Retries<'p> {
    pub(super) fn new(tasks: Tasks<'p>, retries: u32) -> Self {
        Self { tasks, retries }
    }

    /// See [`ThreadPool::submit`](crate::ThreadPool::submit).
    ///
    /// # Errors
    /// If the task is not accepted.
    pub fn submit<F, T>(&self, task: F) -> Result<Handle<T>, SubmitError>
    where
        F: Fn() -> T + Send + 'static,
        T: Send + 'static,
    {
        let again = self.again();
        self.tasks.submit(move || again.run(task))
    }

    /// See [`ThreadPool::apply`](crate::ThreadPool::apply).
    ///
    /// # Errors
    /// If there is no result.
    pub fn apply<F, T>(&self, task: F) -> Result<T, TaskError>
    where
        F: Fn() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submit(task)?.join()
    }

    /// See [`ThreadPool::map`](crate::ThreadPool::map).
    ///
    /// # Errors
    /// The first failure of a task. Tasks that have not begun by then are not run.
    pub fn map<F, I, R>(&self, task: F, items: I) -> Result<Vec<R>, TaskError>
    where
        I: IntoIterator<Item: Clone + Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let again = self.again();
        self.tasks.map(move |item: I::Item| again.run(|| task(item.clone())), items)
    }

    /// See [`ThreadPool::imap`](crate::ThreadPool::imap).
    pub fn imap<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Clone + Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let again = self.again();
        self.tasks.imap(move |item: I::Item| again.run(|| task(item.clone())), items)
    }

    /// See [`ThreadPool::imap_unordered`](crate::ThreadPool::imap_unordered).
    pub fn imap_unordered<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Clone + Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let again = self.again();
        self.tasks.imap_unordered(move |item: I::Item| again.run(|| task(item.clone())), items)
    }

    fn again(&self) -> Again {
        Again { workers: Arc::clone(self.tasks.workers()), retries: self.retries }
    }
}

struct Again {
    workers: Arc<Workers>,
    retries: u32,
}

impl Again {
    /// Runs a task, and catches its panics in all attempts but the last.
    fn run<T>(&self, task: impl Fn() -> T) -> T {
        for _ in 0..self.retries {
            match panic::catch_unwind(AssertUnwindSafe(&task)) {
                Ok(result) => return result,
                Err(_) => self.workers.counts.retried.fetch_add(1, Ordering::Relaxed),
            };
        }
        task()
    }
}
