//! What a pool of threads is to be like.

use std::fmt;
use std::io;

use kettle_core::wait::cpus;

use super::ThreadPool;
use super::workers::{Options, Workers};

/// A pool that is about to be made. See [`ThreadPool::builder`].
#[must_use = "workers are started by build()"]
pub struct Builder(Options);

impl Builder {
    pub(super) fn new() -> Self {
        Self(Options { size: cpus(), name: "pool".into(), stack_size: None, initializer: None, max_tasks: None })
    }

    /// How many workers. Without this, as many as this process may use processors, by its affinity and its cgroup's
    /// quota.
    ///
    /// # Panics
    /// If there are to be none.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool has one worker at least");
        self.0.size = workers;
        self
    }

    /// What its threads are named after. Without this: `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// How much stack a worker has, in bytes. Without this, as much as [`std::thread`] gives.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.0.stack_size = Some(bytes);
        self
    }

    /// What each worker does before its first task. If it panics, the pool is broken: all tasks that have not begun fail
    /// with what it said, and no worker is started any more.
    pub fn initializer(mut self, initializer: impl Fn() + Send + Sync + 'static) -> Self {
        self.0.initializer = Some(Box::new(initializer));
        self
    }

    /// A worker that was given so many chunks of tasks (by [`submit`](ThreadPool::submit): tasks) is replaced when they
    /// are done, and what its thread-local values hold with it.
    ///
    /// # Panics
    /// If it is zero.
    pub fn max_tasks_per_worker(mut self, tasks: u32) -> Self {
        assert!(tasks > 0, "a worker does one task at least");
        self.0.max_tasks = Some(tasks);
        self
    }

    /// Makes the pool, and starts its workers.
    ///
    /// # Errors
    /// When a thread cannot be started. None is left behind.
    pub fn build(self) -> io::Result<ThreadPool> {
        let workers = Workers::new(self.0);
        workers.start_all()?;
        Ok(ThreadPool { workers })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.0.size)
            .field("name", &self.0.name)
            .field("stack_size", &self.0.stack_size)
            .field("max_tasks_per_worker", &self.0.max_tasks)
            .finish_non_exhaustive()
    }
}
