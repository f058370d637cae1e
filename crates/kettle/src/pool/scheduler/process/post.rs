//! What a supervisor reports to its front.

use std::ops::Range;

use kettle_core::arena::Block;
use kettle_core::queue::Taken;

use super::super::pending::Span;
use super::seat::{Fate, SeatId};
use super::words::Word;
use crate::error::OutOfMemory;

/// Something that happened since the last sweep. `J` is the front's reference to a job.
#[derive(Debug)]
pub enum Event<J> {
    /// A worker sent a note: a message that is not an outcome.
    Note {
        /// Which one.
        seat: SeatId,
        /// The message; a short body is `bytes[at]` of the [`Post`].
        taken: Taken<Block>,
        /// The number sent along with it.
        word: u64,
        /// See `taken`.
        at: Range<usize>,
    },
    /// A task has an outcome.
    Outcome {
        /// The job of the task.
        job: J,
        /// The number of the task.
        task: u64,
        /// What its worker reported; a short body is `bytes[at]` of the [`Post`].
        taken: Taken<Block>,
        /// See `taken`.
        at: Range<usize>,
    },
    /// Consecutive tasks have outcomes of at most eight bytes.
    Words {
        /// The job of the tasks.
        job: J,
        /// The number of the first of them.
        first: u64,
        /// Their outcomes are `words[at]` of the [`Post`].
        at: Range<usize>,
    },
    /// All tasks of a chunk have an outcome.
    Finished {
        /// The job of the tasks.
        job: J,
        /// The number of tasks in the chunk.
        len: u32,
        /// How long it kept its worker busy, in nanoseconds.
        took: u64,
    },
    /// The last tasks of a chunk were never begun, and will not be begun by this worker.
    Undone {
        /// The job of the tasks.
        job: J,
        /// The tasks.
        span: Span,
        /// The worker ended while it unpacked the chunk. One of the tasks may be the cause, so each is to be sent
        /// alone.
        apart: bool,
    },
    /// A worker has ended, and its seat no longer exists.
    Ended {
        /// Which one.
        seat: SeatId,
        /// Its process id.
        pid: u32,
        /// Why.
        fate: Fate,
        /// Whether it ended before it reported ready.
        early: bool,
        /// Whether it ended without being asked to.
        lost: bool,
        /// Whether it was preparing.
        preparing: bool,
        /// The task that it had begun and not reported. There is no other event for the outcome of that task.
        victim: Option<(J, u64)>,
    },
}

/// What [`Supervisor::sweep`](super::Supervisor::sweep) found. Callers reuse it.
#[derive(Debug)]
pub struct Post<J> {
    /// The short bodies, one after another.
    pub bytes: Vec<u8>,
    /// The outcomes of at most eight bytes.
    pub words: Vec<Word>,
    /// The events, in order.
    pub events: Vec<Event<J>>,
    /// Set if a report cannot be taken yet because this process lacks memory for it, or address space to map it.
    pub shortage: Option<OutOfMemory>,
}

impl<J> Default for Post<J> {
    fn default() -> Self {
        Self { bytes: Vec::new(), words: Vec::new(), events: Vec::new(), shortage: None }
    }
}
