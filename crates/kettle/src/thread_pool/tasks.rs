//! Submitting tasks to a pool, with options for each call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ThreadPool;
use super::error::{Broken, SubmitError, TaskError};
use super::handle::Handle;
use super::imap::{Imap, Input};
use super::job::Job;
use super::map;
use super::map_job::{MapHandle, MapJob, Terms};
use super::retries::Retries;
use super::scope::{self, Scope};
use super::single::{SingleTask, TaskHandle};
use super::workers::Workers;
use crate::pool::scheduler::{Chunking, Order};

/// A pool together with options for the tasks submitted through it. Created by [`ThreadPool::task_timeout`],
/// [`ThreadPool::chunks_of`] and [`ThreadPool::buffer_size`].
///
/// ```
/// # use std::time::Duration;
/// # fn thumbnail(path: String) {}
/// # let (pool, paths) = (kettle::ThreadPool::new()?, Vec::<String>::new());
/// let patient = pool.task_timeout(Duration::from_secs(10));
/// patient.map(thumbnail, paths)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[must_use = "nothing happens before it is given a task"]
pub struct Tasks<'p> {
    pool: &'p ThreadPool,
    timeout: Option<Duration>,
    chunk: Option<u32>,
    buffer: Option<usize>,
}

impl<'p> Tasks<'p> {
    pub(super) fn of(pool: &'p ThreadPool) -> Self {
        Self { pool, timeout: None, chunk: None, buffer: None }
    }

    pub(super) fn workers(&self) -> &'p Arc<Workers> {
        &self.pool.workers
    }

    /// See [`ThreadPool::task_timeout`].
    pub fn task_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// See [`ThreadPool::retries`].
    pub fn retries(self, retries: u32) -> Retries<'p> {
        Retries::new(self, retries)
    }

    /// See [`ThreadPool::chunks_of`].
    pub fn chunks_of(self, tasks: u32) -> Self {
        Self { chunk: Some(tasks.max(1)), ..self }
    }

    /// See [`ThreadPool::buffer_size`].
    pub fn buffer_size(self, tasks: usize) -> Self {
        Self { buffer: Some(tasks.max(1)), ..self }
    }

    /// See [`ThreadPool::submit`].
    ///
    /// # Errors
    /// If the task is not accepted.
    pub fn submit<F, T>(&self, task: F) -> Result<Handle<T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let workers = self.workers();
        self.watch_timeouts()?;
        let task = Arc::new(SingleTask::new(task, self.timeout));
        workers.counts.queued.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = workers.submit(Arc::clone(&task) as Arc<dyn Job>) {
            workers.counts.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(e);
        }
        Ok(Handle::new(Arc::clone(workers), task as Arc<dyn TaskHandle<T>>))
    }

    /// See [`ThreadPool::apply`].
    ///
    /// # Errors
    /// If there is no result.
    pub fn apply<F, T>(&self, task: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submit(task)?.join()
    }

    /// See [`ThreadPool::scope`].
    ///
    /// # Errors
    /// As for [`ThreadPool::scope`].
    pub fn scope<R>(&self, body: impl for<'scope> FnOnce(&Scope<'scope, 'p>) -> R) -> Result<R, TaskError> {
        scope::run(*self, body)
    }

    /// See [`ThreadPool::map`].
    ///
    /// # Errors
    /// The first failure of a task. Tasks that have not begun by then are not run.
    pub fn map<F, I, R>(&self, task: F, items: I) -> Result<Vec<R>, TaskError>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let workers = self.workers();
        workers.admit()?;
        self.watch_timeouts()?;
        let chunking = self.chunk.map_or(Chunking::Measured, Chunking::Fixed);
        // A worker with a limited number of chunks claims them one by one.
        let in_one = workers.options.max_tasks.is_none();
        map::map(workers, &self.map_job(task, chunking, Order::OfTasks, in_one), items.into_iter())
    }

    /// See [`ThreadPool::imap`].
    pub fn imap<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        self.stream(task, items.into_iter(), Order::OfTasks)
    }

    /// See [`ThreadPool::imap_unordered`].
    pub fn imap_unordered<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        self.stream(task, items.into_iter(), Order::OfArrival)
    }

    fn stream<F, I, R>(&self, task: F, items: I, order: Order) -> Imap<I, R>
    where
        I: Iterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let workers = self.workers();
        let chunk = self.chunk.unwrap_or(1);
        let ahead = self.buffer.unwrap_or_else(|| (4 * workers.options.size * chunk as usize).max(64));
        let input = Input { items, chunk: chunk as usize, ahead: ahead.max(chunk as usize) };
        let refusal = workers.admit().and_then(|()| self.watch_timeouts()).err();
        Imap::new(Arc::clone(workers), self.map_job(task, Chunking::Fixed(chunk), order, false), input, refusal)
    }

    fn map_job<F, T, R>(&self, task: F, chunking: Chunking, order: Order, in_one: bool) -> Arc<dyn MapHandle<T, R>>
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        Arc::new(MapJob::new(task, Terms { timeout: self.timeout, chunking, order, in_one }))
    }

    /// Starts the watchdog if there is a time limit.
    fn watch_timeouts(&self) -> Result<(), SubmitError> {
        if self.timeout.is_none() {
            return Ok(());
        }
        self.workers().watch_timeouts().map_err(|e| SubmitError::Broken(Broken::NoThread(e.to_string().into())))
    }
}

impl fmt::Debug for Tasks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("pool", &self.pool.workers.options.name)
            .field("task_timeout", &self.timeout)
            .field("chunks_of", &self.chunk)
            .field("buffer_size", &self.buffer)
            .finish()
    }
}
