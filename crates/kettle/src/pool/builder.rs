//! What a pool is to be like.

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

/// A pool that is about to be made. See [`Pool::builder`].
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

    /// How many workers. Without this, as many as this process may use processors, by its affinity and its cgroup's
    /// quota.
    ///
    /// # Panics
    /// If there are to be none.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a pool has one worker at least");
        self.workers = workers;
        self
    }

    /// What its workers are named after, in messages and by `ps` and `top`. Without this: `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// A call that each worker makes before its first task. If it panics, the pool is broken: all tasks fail with that
    /// panic, and no worker is started any more.
    pub fn initializer(mut self, call: Call<()>) -> Self {
        self.initializer = Some(call);
        self
    }

    /// A worker that was given so many chunks of tasks (by [`submit`](Pool::submit): tasks) is replaced when they are
    /// done.
    ///
    /// # Panics
    /// If it is zero.
    pub fn max_tasks_per_worker(mut self, tasks: u32) -> Self {
        assert!(tasks > 0, "a worker does one task at least");
        self.max_tasks = Some(tasks);
        self
    }

    /// A worker that has more memory resident, in bytes, is replaced at the end of what it has in hand. One that has half
    /// as much again is ended at once, and its task fails with [`WorkerDied`](super::WorkerDied).
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Makes the pool, and starts its workers. It does not wait until they are ready.
    ///
    /// # Errors
    /// When the initializer's arguments cannot be sent, or a process cannot be started. Nothing is left behind.
    pub fn build(self) -> Result<Pool, StartError> {
        let initializer = self.initializer.map(alone).transpose()?;
        let limits = Limits { workers: self.workers, chunks: self.max_tasks, memory: self.max_memory };
        let pool = Pool { shared: Shared::new(self.name, limits, initializer)? };
        pool.shared.hire_all()?;
        Ok(pool)
    }
}

/// The initializer's call, as every worker gets it.
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
