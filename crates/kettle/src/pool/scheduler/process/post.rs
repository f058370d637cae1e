//! What a supervisor tells its front.

use std::ops::Range;

use kettle_core::arena::Block;
use kettle_core::queue::Taken;

use super::seat::{Fate, SeatId};
use super::words::Word;
use crate::error::OutOfMemory;

/// What was found out since the last look.
#[derive(Debug)]
pub enum Event<W> {
    /// A worker told something that is no outcome.
    Note {
        /// Which one.
        seat: SeatId,
        /// What it said; a short body is `bytes[at]` of the [`Post`].
        taken: Taken<Block>,
        /// And the number beside it.
        word: u64,
        /// See `taken`.
        at: Range<usize>,
    },
    /// A task has an outcome.
    Outcome {
        /// The chunk that it was part of.
        work: W,
        /// Which task of it.
        task: u32,
        /// What its worker reported; a short body is `bytes[at]` of the [`Post`].
        taken: Taken<Block>,
        /// See `taken`.
        at: Range<usize>,
    },
    /// Tasks that follow each other have outcomes of at most eight bytes.
    Words {
        /// The chunk that they were part of.
        work: W,
        /// The first of them.
        from: u32,
        /// Their outcomes are `words[at]` of the [`Post`].
        at: Range<usize>,
    },
    /// All tasks of a chunk have an outcome.
    Finished {
        /// The chunk.
        work: W,
        /// How many tasks it had.
        len: u32,
        /// For how long it kept its worker busy, in nanoseconds.
        took: u64,
    },
    /// The last tasks of a chunk were never begun, and will not be.
    Undone {
        /// The chunk.
        work: W,
        /// The first of them.
        from: u32,
        /// How many tasks the chunk had.
        len: u32,
        /// The worker ended while it took the chunk to pieces: it may be one of them, so each is to be sent alone.
        apart: bool,
    },
    /// A worker is gone, and its seat with it.
    Ended {
        /// Which one.
        seat: SeatId,
        /// The number of its process.
        pid: u32,
        /// Why.
        fate: Fate,
        /// It was gone before it said that it was ready.
        early: bool,
        /// Whether it was preparing itself.
        preparing: bool,
        /// The task that it had begun and not reported: that one has no other outcome.
        victim: Option<(W, u32)>,
    },
}

/// What [`Supervisor::sweep`](super::Supervisor::sweep) found. It is used again and again.
#[derive(Debug)]
pub struct Post<W> {
    /// The short bodies, one after another.
    pub bytes: Vec<u8>,
    /// The outcomes of at most eight bytes.
    pub words: Vec<Word>,
    /// What happened, in order.
    pub events: Vec<Event<W>>,
    /// A report is there that this process has no memory for, or no address space to map: it is taken when there is.
    pub shortage: Option<OutOfMemory>,
}

impl<W> Default for Post<W> {
    fn default() -> Self {
        Self { bytes: Vec::new(), words: Vec::new(), events: Vec::new(), shortage: None }
    }
}
