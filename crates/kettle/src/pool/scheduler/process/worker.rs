//! The child's side of a desk.

use kettle_core::arena::Block;
use kettle_core::crash_point;
use kettle_core::queue::{GetError, Taken};
use kettle_core::sys::clock;
use kettle_core::wait::{Patience, Scope};

use super::desk::{Desk, Mark};
use super::letters::{self, Head, LEAVE, Load, TIMED};
use super::words::Word;
use crate::error::OutOfMemory;

/// A worker at its desk: takes, begins, reports.
#[derive(Debug)]
pub struct Worker {
    desk: Desk,
    /// How many words it has put into its ring.
    put: u64,
    scratch: Vec<u8>,
}

/// What a worker was given.
#[derive(Debug)]
pub enum Assignment {
    /// A chunk of tasks: for each, `begin`, do it, `report`.
    Chunk {
        /// What to begin and report.
        chunk: Chunk,
        /// What the front sent.
        taken: Taken<Block>,
        /// And the number beside it.
        word: u64,
    },
    /// Something that the front wants known.
    Note {
        /// What the front sent.
        taken: Taken<Block>,
        /// And the number beside it.
        word: u64,
    },
    /// There is nothing more to do.
    Leave,
}

/// A chunk in the hands of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    id: u64,
    /// How many tasks it has.
    pub len: u32,
    timed: bool,
}

impl Worker {
    /// Sits down.
    pub fn new(desk: Desk) -> Self {
        Self { desk, put: 0, scratch: Vec::new() }
    }

    /// Waits for the next thing to do. `bytes` is cleared, and then has what the front sent if that was short.
    ///
    /// # Errors
    /// [`GetError::Empty`] when the patience is over, and [`GetError::Interrupted`].
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

    /// Notes that this worker prepares itself, which may run anybody's code, before it says that it is ready. False: it
    /// must not, since this process is about to be ended.
    #[must_use]
    pub fn prepare(&self) -> bool {
        self.desk.begin(Mark::PREPARING, None)
    }

    /// Notes that `chunk`, of several tasks, is taken to pieces, which may run anybody's code: if this process dies in it,
    /// that is no task's end, and each is done alone. False: it must not, since this process is about to be ended.
    #[must_use]
    pub fn open(&self, chunk: Chunk) -> bool {
        let opens = self.desk.begin(Mark::opening(chunk.id), chunk.timed.then(clock::now));
        crash_point("pool.worker.opening");
        opens
    }

    /// Notes that task `index` of `chunk` begins. False: it must not, since this process is about to be ended.
    #[must_use]
    pub fn begin(&self, chunk: Chunk, index: u32) -> bool {
        let begins = self.desk.begin(Mark::new(chunk.id, index), chunk.timed.then(clock::now));
        crash_point("pool.worker.begun");
        begins
    }

    /// Reports the outcome of task `index` of `chunk`, before the next is begun.
    ///
    /// # Errors
    /// When there is no memory for it. Nothing was reported then.
    pub fn report(&mut self, chunk: Chunk, index: u32, load: Load<'_>) -> Result<(), OutOfMemory> {
        crash_point("pool.worker.before-report");
        self.put(Head { chunk: chunk.id, number: index, flags: 0, word: 0 }, load)
    }

    /// As [`report`](Self::report), for an outcome of at most eight bytes, which is quicker. False: it must be reported
    /// the other way.
    #[must_use]
    pub fn report_word(&mut self, chunk: Chunk, index: u32, word: Word) -> bool {
        crash_point("pool.worker.before-report");
        let put = self.desk.words().put(&mut self.put, Mark::new(chunk.id, index), word);
        if put {
            self.ring();
        }
        put
    }

    /// Tells the front something that is no outcome: that this worker is ready, say, or never will be.
    ///
    /// # Errors
    /// When there is no memory for it.
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
