//! Configuration of a pool.

use std::fmt;

use kettle_core::arena::Names;
use kettle_core::wait::cpus;

use super::Pool;
use super::call::Call;
use super::scheduler::process::Limits;
use super::shared::Shared;
use crate::codec::Unsendable;
use crate::error::EncodeError;
use crate::process::StartError;

/// Configures a pool. See [`Pool::builder`].
#[must_use = "workers are started by build()"]
pub struct Builder {
    workers: usize,
    name: String,
    initializer: Option<Call<()>>,
    max_tasks: Option<u32>,
    max_memory: Option<u64>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { workers: cpus(), name: "pool".into(), initializer: None, max_tasks: None, max_memory: None }
    }

    /// Sets the number of workers. The default is the number of processors available to this process, by its affinity
    /// and its cgroup's quota.
    ///
    /// # Panics
    /// If it is zero.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool has one worker at least");
        self.workers = workers;
        self
    }

    /// Sets the name from which those of the workers are derived, as messages, `ps` and `top` show them. The default is
    /// `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets a call that each worker makes before its first task. If it panics, the pool is broken: all tasks fail with
    /// that panic, and no further worker is started.
    pub fn initializer(mut self, call: Call<()>) -> Self {
        self.initializer = Some(call);
        self
    }

    /// Replaces a worker after it has processed this many chunks. A task given by [`submit`](Pool::submit) is a chunk
    /// of one.
    ///
    /// # Panics
    /// If it is zero.
    pub fn max_tasks_per_worker(mut self, tasks: u32) -> Self {
        assert!(tasks > 0, "a worker does one task at least");
        self.max_tasks = Some(tasks);
        self
    }

    /// Limits the resident memory of a worker, in bytes. A worker above the limit is replaced once it has finished its
    /// current chunk. A worker at more than one and a half times the limit is ended at once, and its task fails with
    /// [`WorkerDied`](super::WorkerDied).
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Creates the pool and starts its workers, without waiting until they are ready.
    ///
    /// # Errors
    /// If the initializer's arguments cannot be sent, or a process cannot be started. In this case nothing is left
    /// behind.
    pub fn build(self) -> Result<Pool, StartError> {
        let initializer = self.initializer.map(alone).transpose()?;
        let limits = Limits { workers: self.workers, chunks: self.max_tasks, memory: self.max_memory };
        let pool = Pool { shared: Shared::new(self.name, limits, initializer)? };
        pool.shared.hire_all()?;
        Ok(pool)
    }
}

/// Encodes the initializer's call, as every worker receives it.
fn alone(call: Call<()>) -> Result<(Vec<u8>, Names), StartError> {
    let packed = call.pack()?;
    if packed.has_blocks() {
        let why = "an initializer's arguments go to every worker, so Bytes must not be among them: Vec<u8> may";
        return Err(Unsendable::Encode(EncodeError(why.into())).into());
    }
    Ok(packed.into_bytes())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("name", &self.name)
            .field("max_tasks_per_worker", &self.max_tasks)
            .field("max_memory_per_worker", &self.max_memory)
            .finish_non_exhaustive()
    }
}
