//! Pools of worker threads.
//!
//! A [`ThreadPool`] is what a [`Pool`](crate::Pool) is, with threads for workers: nothing is encoded, so a task is any
//! closure, and a task and its result travel in a microsecond or so. In turn there is no isolation: a task that crashes
//! takes the program along, and one that never ends cannot be ended.
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
//! # Terms
//!
//! Before what is to be done stands how, if that matters: `pool.task_timeout(second).map(…)`.
//!
//! * Of a task that takes longer than [`task_timeout`](ThreadPool::task_timeout) the waiter is told so. The task goes on,
//!   for a thread cannot be ended; but its worker is replaced at once, and leaves when it ends.
//! * A task that panics is run again if [`retries`](ThreadPool::retries) allows.
//! * A task that waits can be [cancelled](Handle::cancel); one that runs goes on.
//!
//! # Tasks that wait for tasks
//!
//! A task may use its own pool, and wait for what it gave to it, with any number of workers:
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
//! What it waits for and nobody has begun, it does itself, there and then; so it waits only for what is being done. It
//! does not do anything else meanwhile, which might need a lock that it holds: while it waits, another worker is started
//! in its place, if there is work for one. Where a task gets the last handle on its own pool and drops it, it ends the
//! pool and goes on itself; to [`join`](ThreadPool::join) it there is a mistake, and panics.
//!
//! An executor that drives a [`Handle`] as a future inside a task of the same pool takes a worker away from the pool
//! meanwhile: there, `join` is the better way.
//!
//! # Borrowed data
//!
//! Tasks own what they use (`'static`), as in [`std::thread::spawn`]: the workers are there before a frame that lends
//! something and after it, and nothing but `unsafe` code could promise that no task is. Put what is shared into an
//! [`Arc`]; where that is no way, there is [`std::thread::scope`].

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

pub use builder::Builder;
pub use error::{Broken, Panic, SubmitError, TaskError};
pub use handle::Handle;
pub use imap::Imap;
pub use retries::Retries;
pub use tasks::Tasks;

pub use crate::pool::scheduler::Statistics;

use workers::Workers;

/// Threads that are kept at hand to run tasks. See the [module](self).
///
/// Dropping it terminates it: tasks that have not begun are cancelled. Those that run go on, since a thread cannot be
/// ended, and have their outcomes; they are not waited for. To have everything done first, [`join`](Self::join) it.
pub struct ThreadPool {
    workers: Arc<Workers>,
}

impl ThreadPool {
    /// A pool with as many workers as this process may use processors.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// A pool with another number of workers, an initializer, or limits.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Gives it a task. The result comes with the [`Handle`].
    ///
    /// # Errors
    /// When the task is not taken in: the pool was closed, say.
    pub fn submit<F, T>(&self, task: F) -> Result<Handle<T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Tasks::of(self).submit(task)
    }

    /// Runs a task on a worker, and waits for its result.
    ///
    /// # Errors
    /// When there is no result.
    pub fn apply<F, T>(&self, task: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Tasks::of(self).apply(task)
    }

    /// Runs `task` with each of the items, and gives all results, in the order of the items.
    ///
    /// A worker claims a few hundred microseconds' worth of tasks at once, and what it has not begun another one may take
    /// that has nothing to do. Very short tasks are begun some dozens at a time; [`chunks_of`](Self::chunks_of) says how
    /// many otherwise. The items are pulled by this thread, as they are needed.
    ///
    /// # Errors
    /// The first failure of a task. Tasks that were not begun by then are not run. To have every outcome, use
    /// [`imap`](Self::imap).
    pub fn map<F, I, R>(&self, task: F, items: I) -> Result<Vec<R>, TaskError>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Tasks::of(self).map(task, items)
    }

    /// Runs `task` with each of the items, and gives the result of each, in the order of the items.
    ///
    /// The items are pulled as results are taken, at most [`buffer_size`](Self::buffer_size) ahead, so both may be
    /// endless. Nothing is pulled before the first result is asked for.
    pub fn imap<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Tasks::of(self).imap(task, items)
    }

    /// As [`imap`](Self::imap), but the results come as they are ready.
    pub fn imap_unordered<F, I, R>(&self, task: F, items: I) -> Imap<I::IntoIter, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Tasks::of(self).imap_unordered(task, items)
    }

    /// Terms on which each task may take so long, from when it begins. Then it fails with [`TaskError::TimedOut`]; what
    /// it does goes on, on a thread that belongs to the pool no more.
    ///
    /// Such tasks do not travel in chunks.
    pub fn task_timeout(&self, timeout: Duration) -> Tasks<'_> {
        Tasks::of(self).task_timeout(timeout)
    }

    /// Terms on which a task is run again if it panics, so many times.
    pub fn retries(&self, retries: u32) -> Retries<'_> {
        Tasks::of(self).retries(retries)
    }

    /// Terms on which so many tasks are begun together: they are done by one worker, one after another. In chunks of one,
    /// none waits behind another while a worker has nothing to do, however long that other one takes.
    pub fn chunks_of(&self, tasks: u32) -> Tasks<'_> {
        Tasks::of(self).chunks_of(tasks)
    }

    /// Terms on which [`imap`](Self::imap) pulls at most so many items ahead of the results that were taken. Without
    /// this: four chunks for each worker, and 64 at least.
    pub fn buffer_size(&self, tasks: usize) -> Tasks<'_> {
        Tasks::of(self).buffer_size(tasks)
    }

    /// Takes no more tasks. What was taken in will be done, also what an [`imap`](Self::imap) has still to pull; then
    /// the workers leave.
    pub fn close(&self) {
        self.workers.close();
    }

    /// Closes the pool, and waits until everything was done and the workers have left. Tasks that were given up, since
    /// they took too long, are not waited for.
    ///
    /// # Panics
    /// In a task of this pool, which would wait for itself.
    pub fn join(self) {
        assert!(worker::slot_of(&self.workers).is_none(), "a task cannot join its own pool: it would wait for itself");
        self.close();
        // Who waits without a limit is not told that the time is over.
        let _ = self.workers.wait(&self.workers.gone, &Patience::forever());
    }

    /// Cancels all tasks that have not begun. Those that run go on; [`join`](Self::join) waits for them.
    pub fn terminate(&self) {
        self.workers.terminate();
    }

    /// How it is, and what it did so far.
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
