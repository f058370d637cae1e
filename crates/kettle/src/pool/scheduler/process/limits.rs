//! What a pool asks of its supervisor, and a summary of what it has.

use std::time::Duration;

/// The number of workers and their limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of workers.
    pub workers: usize,
    /// The number of chunks after which a worker is replaced.
    pub chunks: Option<u32>,
    /// In bytes of resident memory. A worker above the limit is replaced once it has finished its current chunk; a busy
    /// one at more than one and a half times the limit is ended in the middle of a task.
    pub memory: Option<u64>,
}

/// How the tasks of a chunk are run and reported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The time limit of each task.
    pub timeout: Option<Duration>,
    /// No thread waits for single outcomes, so that workers may announce many of them together.
    pub batched: bool,
}

/// A summary of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Workers that are running or starting.
    pub workers: usize,
    /// Workers that have a chunk.
    pub busy: usize,
    /// Chunks that workers have.
    pub chunks: usize,
}
