//! The worker's side of a desk.

use kettle_core::arena::Block;
use kettle_core::crash_point;
use kettle_core::queue::{GetError, Taken};
use kettle_core::sys::clock;
use kettle_core::wait::{Patience, Scope};

use super::desk::{Desk, Mark};
use super::letters::{self, Head, LEAVE, Load, TIMED};
use super::words::Word;
use crate::error::OutOfMemory;

/// A worker at its desk: takes chunks, begins tasks, reports outcomes.
#[derive(Debug)]
pub struct Worker {
    desk: Desk,
    /// The number of words that it has put into its ring.
    put: u64,
    scratch: Vec<u8>,
}

/// What a worker is to do next.
#[derive(Debug)]
pub enum Assignment {
    /// Run a chunk of tasks: for each one `begin`, run it, `report`.
    Chunk {
        /// The chunk, for `begin` and `report`.
        chunk: Chunk,
        /// What the front sent.
        taken: Taken<Block>,
        /// The number sent along with it.
        word: u64,
    },
    /// Process a note from the front.
    Note {
        /// What the front sent.
        taken: Taken<Block>,
        /// The number sent along with it.
        word: u64,
    },
    /// Leave: there is nothing more to do.
    Leave,
}

/// A chunk that a worker has taken.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    id: u64,
    /// The number of its tasks.
    pub len: u32,
    timed: bool,
}

impl Worker {
    /// Creates the worker of a desk.
    pub fn new(desk: Desk) -> Self {
        Self { desk, put: 0, scratch: Vec::new() }
    }

    /// Waits for the next assignment. `bytes` is cleared, and filled with what the front sent if that is short.
    ///
    /// # Errors
    /// [`GetError::Empty`] if `patience` ends first, and the other errors of a queue.
    pub fn next(&self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Assignment, GetError> {
        bytes.clear();
        let (head, taken) = letters::take(&self.desk.tasks, bytes, patience)?;
        bytes.drain(..Head::LEN);
        if head.flags & LEAVE != 0 {
            return Ok(Assignment::Leave);
        }
        crash_point("pool.worker.taken");
        Ok(match head.chunk {
            0 => Assignment::Note { taken, word: head.word },
            id => Assignment::Chunk {
                chunk: Chunk { id, len: head.number, timed: head.flags & TIMED != 0 },
                taken,
                word: head.word,
            },
        })
    }

    /// Marks that this worker is preparing, which may run arbitrary code, before it reports ready. If this returns
    /// false, it must not continue: this process is about to be ended.
    #[must_use]
    pub fn prepare(&self) -> bool {
        self.desk.begin(Mark::PREPARING, None)
    }

    /// Marks that `chunk`, of several tasks, is being unpacked, which may run arbitrary code. If this process dies
    /// meanwhile, no task is lost, and each is sent again alone. If this returns false, the worker must not continue:
    /// this process is about to be ended.
    #[must_use]
    pub fn open(&self, chunk: Chunk) -> bool {
        let opens = self.desk.begin(Mark::opening(chunk.id), chunk.timed.then(clock::now));
        crash_point("pool.worker.opening");
        opens
    }

    /// Marks that task `index` of `chunk` begins. If this returns false, it must not begin: this process is about to be
    /// ended.
    #[must_use]
    pub fn begin(&self, chunk: Chunk, index: u32) -> bool {
        let begins = self.desk.begin(Mark::new(chunk.id, index), chunk.timed.then(clock::now));
        crash_point("pool.worker.begun");
        begins
    }

    /// Reports the outcome of task `index` of `chunk`. Must be called before the next task begins.
    ///
    /// # Errors
    /// If there is no memory for it. In this case nothing was reported.
    pub fn report(&mut self, chunk: Chunk, index: u32, load: Load<'_>) -> Result<(), OutOfMemory> {
        crash_point("pool.worker.before-report");
        self.put(Head { chunk: chunk.id, number: index, flags: 0, word: 0 }, load)
    }

    /// As [`report`](Self::report), but faster, for an outcome of at most eight bytes. If this returns false, the
    /// outcome must be reported with [`report`](Self::report).
    #[must_use]
    pub fn report_word(&mut self, chunk: Chunk, index: u32, word: Word) -> bool {
        crash_point("pool.worker.before-report");
        let put = self.desk.words().put(&mut self.put, Mark::new(chunk.id, index), word);
        if put {
            self.ring();
        }
        put
    }

    /// Sends the front a note, which is not an outcome: for example that this worker is ready, or never will be.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn note(&mut self, load: Load<'_>) -> Result<(), OutOfMemory> {
        self.put(Head::note(0), load)
    }

    fn put(&mut self, head: Head, load: Load<'_>) -> Result<(), OutOfMemory> {
        letters::put(&self.desk.outcomes, &mut self.scratch, head, load)?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        crash_point("pool.worker.before-notify");
        self.desk.bell.notify_one(Scope::Shared);
        crash_point("pool.worker.reported");
    }
}
