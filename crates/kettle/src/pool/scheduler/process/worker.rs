//! The worker's side of a desk.

use kettle_core::arena::Block;
use kettle_core::crash_point;
use kettle_core::queue::{Body, GetError, Taken};
use kettle_core::sys::clock;
use kettle_core::wait::{Patience, Scope};

use super::desk::{Desk, Mark};
use super::letters::{self, ANNOUNCED, BATCHED, Head, LEAVE, Load, TIMED};
use super::words::{self, Word};
use crate::error::OutOfMemory;

/// A worker at its desk: takes chunks, begins tasks, reports outcomes.
#[derive(Debug)]
pub struct Worker {
    desk: Desk,
    /// The number of words that it has put into its ring.
    put: u64,
    /// The memory taken by outcomes that were not announced, in bytes; 0 if all were.
    unannounced: usize,
    scratch: Vec<u8>,
}

/// The most memory that outcomes may take before they are announced: a fraction of the ring, and of what a pool may use.
const UNANNOUNCED_MAX: usize = words::LEN as usize / 2 * WORD;
/// The memory taken by an outcome apart from its own bytes.
const WORD: usize = 16;

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
    batched: bool,
    announced: bool,
}

impl Worker {
    /// Creates the worker of a desk.
    pub fn new(desk: Desk) -> Self {
        Self { desk, put: 0, unannounced: 0, scratch: Vec::new() }
    }

    /// Waits for the next assignment. `bytes` is cleared, and filled with what the front sent if that is short.
    ///
    /// # Errors
    /// [`GetError::Empty`] if `patience` ends first, and the other errors of a queue.
    pub fn next(&mut self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Assignment, GetError> {
        bytes.clear();
        let (head, taken) = self.take(bytes, patience)?;
        bytes.drain(..Head::LEN);
        if head.flags & LEAVE != 0 {
            return Ok(Assignment::Leave);
        }
        crash_point("pool.worker.taken");
        Ok(match head.chunk {
            0 => Assignment::Note { taken, word: head.word },
            id => Assignment::Chunk {
                chunk: Chunk {
                    id,
                    len: head.number,
                    timed: head.flags & TIMED != 0,
                    batched: head.flags & BATCHED != 0,
                    announced: head.flags & ANNOUNCED != 0,
                },
                taken,
                word: head.word,
            },
        })
    }

    /// Takes a message. Before it waits for one, it announces all outcomes: the supervisor may wait for them.
    fn take(&mut self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<(Head, Taken<Block>), GetError> {
        if self.unannounced > 0 {
            match letters::take(&self.desk.tasks, bytes, &Patience::none()) {
                Err(GetError::Empty) => self.ring(),
                taken => return taken,
            }
        }
        letters::take(&self.desk.tasks, bytes, patience)
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

    /// Marks that the task of `chunk` that began last has ended, and only its outcome takes time: this does not count
    /// towards its time limit.
    pub fn stop_clock(&self, chunk: Chunk) {
        if chunk.timed {
            self.desk.stop_clock();
        }
    }

    /// Reports the outcome of task `index` of `chunk`. Must be called before the next task begins.
    ///
    /// # Errors
    /// If there is no memory for it. In this case nothing was reported.
    pub fn report(&mut self, chunk: Chunk, index: u32, load: Load<'_>) -> Result<(), OutOfMemory> {
        crash_point("pool.worker.before-report");
        let size = size_of_load(&load);
        self.put(Head { chunk: chunk.id, number: index, flags: 0, word: 0 }, load)?;
        self.reported(chunk, index, size);
        Ok(())
    }

    /// As [`report`](Self::report), but faster, for an outcome of at most eight bytes. If this returns false, the
    /// outcome must be reported with [`report`](Self::report).
    #[must_use]
    pub fn report_word(&mut self, chunk: Chunk, index: u32, word: Word) -> bool {
        crash_point("pool.worker.before-report");
        let put = self.desk.words().put(&mut self.put, Mark::new(chunk.id, index), word);
        if put {
            self.reported(chunk, index, 0);
        }
        put
    }

    /// Sends the front a note, which is not an outcome: for example that this worker is ready, or never will be.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn note(&mut self, load: Load<'_>) -> Result<(), OutOfMemory> {
        self.put(Head::note(0), load)?;
        self.ring();
        Ok(())
    }

    /// Returns what reports for this worker from anywhere in its thread, even while a task runs.
    pub fn last_report(&self) -> LastReport {
        LastReport(self.desk.clone())
    }

    fn put(&mut self, head: Head, load: Load<'_>) -> Result<(), OutOfMemory> {
        letters::put(&self.desk.outcomes, &mut self.scratch, head, load)
    }

    /// Announces the outcome of a task, unless it is to be announced later.
    fn reported(&mut self, chunk: Chunk, index: u32, size: usize) {
        self.unannounced += WORD + size;
        let is_due = !chunk.batched || (chunk.announced && index + 1 == chunk.len);
        if is_due || self.unannounced > UNANNOUNCED_MAX {
            self.ring();
        }
    }

    fn ring(&mut self) {
        self.unannounced = 0;
        crash_point("pool.worker.before-notify");
        self.desk.bell.notify_one(Scope::Shared);
        crash_point("pool.worker.reported");
    }
}

/// The last report of a worker, which is about to end in the middle of what it does.
#[derive(Debug)]
pub struct LastReport(Desk);

impl LastReport {
    /// Stops the clock of the current task, and returns whether there is one: a worker that has begun none sends a note.
    pub fn begin(&self) -> bool {
        self.0.stop_clock();
        self.0.mark().chunk() != 0
    }

    /// Reports the outcome of the current task, or sends a note if there is none.
    ///
    /// # Errors
    /// If there is no memory for it. In this case nothing was reported.
    pub fn report(&self, load: Load<'_>) -> Result<(), OutOfMemory> {
        let mark = self.0.mark();
        let head = match mark.chunk() {
            0 => Head::note(0),
            chunk => Head { chunk, number: mark.task(), flags: 0, word: 0 },
        };
        letters::put(&self.0.outcomes, &mut Vec::new(), head, load)?;
        self.0.bell.notify_one(Scope::Shared);
        Ok(())
    }
}

fn size_of_load(load: &Load<'_>) -> usize {
    let body = match &load.body {
        Body::Inline(bytes) => bytes.len(),
        Body::Block(block) => block.as_slice().len(),
    };
    body + load.parts.iter().map(|part| part.as_slice().len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use kettle_core::arena::Handle;
    use kettle_core::wait::EventCount;

    use super::*;

    /// What follows a task, such as the text of its panic's backtrace, does not count towards its time limit; the next
    /// task has its own.
    #[test]
    fn the_clock_stands_still_between_tasks() {
        crate::session::join().unwrap();
        let desk = Desk::new(&Handle::new(EventCount::new).unwrap()).unwrap();
        let worker = Worker::new(desk.clone());
        let chunk = Chunk { id: 1, len: 2, timed: true, announced: false, batched: false };
        let before = clock::now();
        assert!(worker.begin(chunk, 0));
        assert!((before..=clock::now()).contains(&desk.since()));
        worker.stop_clock(chunk);
        assert_eq!(desk.since(), u64::MAX);
        assert!(worker.begin(chunk, 1));
        assert!((before..=clock::now()).contains(&desk.since()));
    }
}
