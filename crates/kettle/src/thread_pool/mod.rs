//! Pools of worker threads.
//!
//! A [`ThreadPool`] is a [`Pool`](crate::Pool) whose workers are threads. Nothing is encoded, so a task is any closure,
//! and sending a task and its result takes about a microsecond. In return there is no isolation: a task that crashes
//! takes the program down, and a task that never returns cannot be ended.
//!
//! ```
//! use kettle::ThreadPool;
//! use kettle::thread_pool::TaskError;
//!
//! let pool = ThreadPool::builder().workers(4).build()?;
//!
//! // One task, and its result.
//! assert_eq!(pool.apply(|| 7 * 7)?, 49);
//!
//! // One task now, its result later.
//! let words = vec!["tea", "kettle"];
//! let handle = pool.submit(move || words.join(" "))?;
//! assert_eq!(handle.join()?, "tea kettle");
//!
//! // Many tasks: all results at once, or one by one.
//! assert_eq!(pool.map(|n| n * n, 0..1000)?.len(), 1000);
//! for (n, result) in (0..).zip(pool.imap(|n| n * n, 0..1000)) {
//!     assert_eq!(result?, n * n);
//! }
//!
//! // A task panics. That is its outcome; the pool goes on.
//! let TaskError::Panicked(panic) = pool.apply(|| [1, 2, 3].iter().position(|n| *n == 4).unwrap()).unwrap_err() else {
//!     panic!()
//! };
//! assert!(panic.message().contains("None"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Options
//!
//! Options precede the operation: `pool.task_timeout(second).map(…)`.
//!
//! * A task that takes longer than [`task_timeout`](ThreadPool::task_timeout) fails at once. Its code continues,
//!   because a thread cannot be ended from outside; but its worker is replaced, and leaves the pool when the code
//!   returns.
//! * A task that panics is run again if [`retries`](ThreadPool::retries) permits.
//! * A task that has not begun can be [cancelled](Handle::cancel); a running one continues.
//!
//! # Tasks that wait for tasks
//!
//! A task may submit tasks to its own pool and wait for them, with any number of workers:
//!
//! ```
//! use std::sync::Arc;
//! use kettle::ThreadPool;
//!
//! fn fibonacci(pool: Arc<ThreadPool>, n: u64) -> u64 {
//!     if n < 2 {
//!         return n;
//!     }
//!     let other = Arc::clone(&pool);
//!     let left = pool.submit(move || fibonacci(other, n - 1)).unwrap();
//!     fibonacci(Arc::clone(&pool), n - 2) + left.join().unwrap()
//! }
//!
//! let pool = Arc::new(ThreadPool::builder().workers(1).build()?);
//! let same = Arc::clone(&pool);
//! assert_eq!(pool.apply(move || fibonacci(same, 12))?, 144);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! If a task waits for one that has not begun, it runs that one itself; so it waits only for tasks that are running. It
//! runs no other task meanwhile, because that one might need a lock that it holds. Instead, another worker is started
//! in its place if there is work for one. A task that drops the last handle on its own pool terminates the pool and
//! continues itself. Calling [`join`](ThreadPool::join) there is a mistake, and panics.
//!
//! An executor that drives a [`Handle`] as a future inside a task of the same pool occupies a worker meanwhile; prefer
//! `join` there.
//!
//! # Borrowed data
//!
//! Tasks own what they use (`'static`), as in [`std::thread::spawn`]: the workers outlive the frame that a task would
//! borrow from. In a [`scope`](ThreadPool::scope), tasks may borrow, because the scope waits for them:
//!
//! ```
//! let pool = kettle::ThreadPool::new()?;
//! let mut pixels = vec![1u8; 1 << 16];
//! pool.scope(|scope| {
//!     for row in pixels.chunks_mut(256) {
//!         scope.submit(|| row.iter_mut().for_each(|pixel| *pixel *= 2))?;
//!     }
//!     Ok::<(), kettle::thread_pool::SubmitError>(())
//! })??;
//! assert!(pixels.iter().all(|&pixel| pixel == 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builder;
mod chunk;
mod error;
mod handle;
mod imap;
mod job;
mod map;
mod map_job;
mod result_buffer;
mod retries;
mod roster;
mod scope;
mod single;
mod tasks;
mod timeouts;
mod worker;
mod workers;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::wait::Patience;

pub use crate::panic::Panic;
pub use builder::Builder;
pub use error::{Broken, SubmitError, TaskError};
pub use handle::Handle;
pub use imap::Imap;
pub use retries::Retries;
pub use scope::{Scope, ScopedHandle};
pub use tasks::Tasks;

pub use crate::pool::scheduler::Statistics;

use workers::Workers;

/// A set of threads that run tasks. See the [module](self).
///
/// Dropping a pool terminates it: tasks that have not begun are cancelled. Running ones continue, because a thread
/// cannot be ended from outside, and have their outcomes; dropping the pool does not wait for them. To finish all tasks
/// first, [`join`](Self::join) the pool.
pub struct ThreadPool {
    workers: Arc<Workers>,
}

impl ThreadPool {
    /// Creates a pool with one worker for each processor available to this process.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// assert_eq!(pool.apply(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Returns a builder, to set the number of workers, an initializer, or limits.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::builder().workers(2).name("painter").build()?;
    /// assert_eq!(pool.statistics().workers, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Submits a task. The [`Handle`] provides the result.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// let handle = pool.submit(|| 6 * 7)?;
    /// assert_eq!(handle.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the task is not accepted, for example because the pool was closed.
    pub fn submit<F, T>(&self, task: F) -> Result<Handle<T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Tasks::of(self).submit(task)
    }

    /// Runs a task on a worker and waits for its result.
    ///
    /// # Errors
    /// If there is no result.
    pub fn apply<F, T>(&self, task: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Tasks::of(self).apply(task)
    }

    /// Runs `body`, whose tasks may borrow what outlives this call, and waits until they are over.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// let (words, mut longest) = (vec!["tea", "kettle"], 0);
    /// let total = pool.scope(|scope| {
    ///     let total = scope.submit(|| words.iter().map(|word| word.len()).sum::<usize>());
    ///     let _ = scope.submit(|| longest = words.iter().map(|word| word.len()).max().unwrap_or(0));
    ///     total?.join()
    /// })??;
    /// assert_eq!((total, longest), (9, 6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Tasks that have not begun are waited for, too, as are those that have exceeded a time limit: their code still
    /// borrows. A task of this pool may open a scope; it runs itself what has not begun. If `body` panics, the panic is
    /// passed on after all tasks are over.
    ///
    /// # Errors
    /// The first failure of a task whose handle was dropped instead of joined.
    pub fn scope<'env, R>(
        &'env self,
        body: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> R,
    ) -> Result<R, TaskError> {
        Tasks::of(self).scope(body)
    }

    /// Runs `task` with each of the items, and returns all results in the order of the items.
    ///
    /// A worker claims tasks for a few hundred microseconds at once, and an idle worker can steal those that it has not
    /// begun. Very short tasks are begun some dozens at a time; [`chunks_of`](Self::chunks_of) sets another number.
    /// This thread pulls the items on demand.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// assert_eq!(pool.map(|n| n * n, [1, 2, 3])?, [1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first failure of a task. Tasks that have not begun by then are not run. To get every outcome, use
    /// [`imap`](Self::imap).
    pub fn map<F, I, R>(&self, task: F, items: I) -> Result<Vec<R>, TaskError>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Tasks::of(self).map(task, items)
    }

    /// Runs `task` with each of the items, and iterates over the results in the order of the items.
    ///
    /// Items are pulled as results are taken, at most [`buffer_size`](Self::buffer_size) ahead, so the input may be
    /// endless. No item is pulled before the first result is requested.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// for (n, square) in (0..5).zip(pool.imap(|n| n * n, 0..5)) {
    ///     assert_eq!(square?, n * n);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Tasks::of(self).imap(task, items)
    }

    /// As [`imap`](Self::imap), but returns the results in the order in which they are ready.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// let sum: i32 = pool.imap_unordered(|n| n * n, 0..5).filter_map(Result::ok).sum();
    /// assert_eq!(sum, 30);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap_unordered<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Tasks::of(self).imap_unordered(task, items)
    }

    /// Limits the running time of each task. At the limit it fails with [`TaskError::TimedOut`]; its code continues on
    /// a thread that no longer belongs to the pool.
    ///
    /// Tasks with a limit are not grouped into chunks.
    pub fn task_timeout(&self, timeout: Duration) -> Tasks<'_> {
        Tasks::of(self).task_timeout(timeout)
    }

    /// Runs a task again if it panics, up to this many times.
    pub fn retries(&self, retries: u32) -> Retries<'_> {
        Tasks::of(self).retries(retries)
    }

    /// Groups this many tasks into a chunk, which one worker runs in order. In chunks of one, no task waits behind
    /// another while a worker is idle, however long the other one takes.
    pub fn chunks_of(&self, tasks: u32) -> Tasks<'_> {
        Tasks::of(self).chunks_of(tasks)
    }

    /// Limits how many items [`imap`](Self::imap) pulls ahead of the results that were taken. The default is four
    /// chunks for each worker, and at least 64.
    pub fn buffer_size(&self, tasks: usize) -> Tasks<'_> {
        Tasks::of(self).buffer_size(tasks)
    }

    /// Closes the pool to new jobs. Accepted ones are completed, including items that an [`imap`](Self::imap) has yet
    /// to pull; then the workers exit.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// pool.close();
    /// assert!(pool.submit(|| ()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) {
        self.workers.close();
    }

    /// Closes the pool, and waits until all tasks are done and the workers have exited. It does not wait for tasks that
    /// have exceeded their time limit.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// let handle = pool.submit(|| 6 * 7)?;
    /// pool.join();
    /// assert_eq!(handle.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If called in a task of this pool, which would wait for itself.
    pub fn join(self) {
        assert!(worker::slot_of(&self.workers).is_none(), "a task cannot join its own pool: it would wait for itself");
        self.close();
        // A wait without a limit does not time out.
        let _ = self.workers.wait(&self.workers.gone, &Patience::forever());
    }

    /// Cancels all tasks that have not begun. Running ones continue; [`join`](Self::join) waits for them.
    pub fn terminate(&self) {
        self.workers.terminate();
    }

    /// Returns the pool's current state and the counts of its outcomes so far.
    ///
    /// ```
    /// let pool = kettle::ThreadPool::new()?;
    /// pool.apply(|| ())?;
    /// assert_eq!(pool.statistics().done, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn statistics(&self) -> Statistics {
        self.workers.statistics()
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.terminate();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Workers { options, .. } = &*self.workers;
        f.debug_struct("ThreadPool").field("name", &options.name).field("statistics", &self.statistics()).finish()
    }
}
