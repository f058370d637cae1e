//! Configuration of a pool of threads.

use std::fmt;
use std::io;

use kettle_core::wait::cpus;

use super::ThreadPool;
use super::workers::{Options, Workers};

/// Configures a pool of threads. See [`ThreadPool::builder`].
#[must_use = "workers are started by build()"]
pub struct Builder(Options);

impl Builder {
    pub(super) fn new() -> Self {
        Self(Options { size: cpus(), name: "pool".into(), stack_size: None, initializer: None, max_tasks: None })
    }

    /// Sets the number of workers. The default is the number of processors available to this process, by its affinity
    /// and its cgroup's quota.
    ///
    /// # Panics
    /// If it is zero.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool has one worker at least");
        self.0.size = workers;
        self
    }

    /// Sets the name from which those of the threads are derived. The default is `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Sets the size of a worker's stack in bytes. The default is that of [`std::thread`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.0.stack_size = Some(bytes);
        self
    }

    /// Sets a closure that each worker runs before its first task. If it panics, the pool is broken: all tasks that
    /// have not begun fail with its message, and no further worker is started.
    pub fn initializer(mut self, initializer: impl Fn() + Send + Sync + 'static) -> Self {
        self.0.initializer = Some(Box::new(initializer));
        self
    }

    /// Replaces a worker after it has processed this many chunks, which also drops its thread-local values. A task
    /// given by [`submit`](ThreadPool::submit) is a chunk of one.
    ///
    /// # Panics
    /// If it is zero.
    pub fn max_tasks_per_worker(mut self, tasks: u32) -> Self {
        assert!(tasks > 0, "a worker does one task at least");
        self.0.max_tasks = Some(tasks);
        self
    }

    /// Creates the pool and starts its workers.
    ///
    /// # Errors
    /// If a thread cannot be started. In this case none is left behind.
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
