//! The shared memory between a supervisor and one worker.

use std::sync::atomic::{AtomicU64, Ordering};

use kettle_core::arena::{ArenaError, Handle, Ticket, Token, TokenError};
use kettle_core::queue::Queue;
use kettle_core::shared::Bytes;
use kettle_core::wait::EventCount;

use super::super::pending::CHUNK_MAX;
use super::words::{self, Ring};

/// Two queues, one for each direction; a ring for short outcomes; a slate, on which the worker marks its current task;
/// and the bell of the pool, which the worker rings after it has put an outcome.
///
/// Each worker has its own desk. No two workers share a lock, so the death of one delays no other.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) tasks: Handle<Queue>,
    pub(super) outcomes: Handle<Queue>,
    slate: Handle<Bytes>,
    words: Handle<Bytes>,
    pub(super) bell: Handle<EventCount>,
}

/// The current task of a worker, in one word, so that each change is atomic.
///
/// ```text
/// 63         62       22 21     0
/// [condemned][  chunk   ][ task ]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

const CONDEMNED: u64 = 1 << 63;

impl Mark {
    pub(super) fn new(chunk: u64, task: u32) -> Self {
        debug_assert!(task <= CHUNK_MAX);
        Self((chunk << 22 | u64::from(task)) & !CONDEMNED)
    }
    /// The mark of a worker that is preparing, before it is ready. No chunk has this number.
    pub(super) const PREPARING: Self = Self(1);

    /// The mark of a worker that is unpacking a chunk, before its first task. No task has this number.
    pub(super) fn opening(chunk: u64) -> Self {
        Self::new(chunk, CHUNK_MAX)
    }
    pub(super) fn chunk(self) -> u64 {
        (self.0 & !CONDEMNED) >> 22
    }
    pub(super) fn task(self) -> u32 {
        (self.0 as u32) & CHUNK_MAX
    }
    pub(super) fn bits(self) -> u64 {
        self.0
    }
    /// The mark of a later task of the same chunk.
    pub(super) fn plus(self, tasks: u32) -> Self {
        Self(self.0 + u64::from(tasks))
    }
}

impl Desk {
    /// Creates a desk. Every worker gets a new one, including a worker that replaces another.
    pub(super) fn new(bell: &Handle<EventCount>) -> Result<Self, ArenaError> {
        Ok(Self {
            tasks: Handle::new(|| Queue::new(0, false))?,
            outcomes: Handle::new(|| Queue::new(0, false))?,
            slate: Handle::zeroed(16)?,
            words: words::room()?,
            bell: bell.clone(),
        })
    }

    /// The tokens with which a worker opens its desk: granted to the child that is being started, or to any receiver.
    pub fn tokens(&self, child: Option<Ticket>) -> [Token; 5] {
        match child {
            Some(child) => [
                self.tasks.token_for(child),
                self.outcomes.token_for(child),
                self.slate.token_for(child),
                self.words.token_for(child),
                self.bell.token_for(child),
            ],
            None => [
                self.tasks.token_to_send(),
                self.outcomes.token_to_send(),
                self.slate.token_to_send(),
                self.words.token_to_send(),
                self.bell.token_to_send(),
            ],
        }
    }

    /// Opens the desk that [`tokens`](Self::tokens) were made for.
    ///
    /// # Errors
    /// If these are not the tokens of a desk, or the desk no longer exists.
    pub fn from_tokens([tasks, outcomes, slate, words, bell]: &[Token; 5]) -> Result<Self, TokenError> {
        let slate: Handle<Bytes> = Handle::from_token(slate)?;
        let words = Handle::from_token(words)?;
        if slate.word::<AtomicU64>(8).is_none() || !words::is_room(&words) {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            tasks: Handle::from_token(tasks)?,
            outcomes: Handle::from_token(outcomes)?,
            slate,
            words,
            bell: Handle::from_token(bell)?,
        })
    }

    /// The ring of short outcomes.
    pub(super) fn words(&self) -> Ring<'_> {
        Ring::of(&self.words)
    }

    /// Returns whether the worker has put something that the supervisor has not taken.
    pub(super) fn has_outcome(&self) -> bool {
        !self.outcomes.is_empty() || !self.words().is_empty()
    }

    fn slate(&self, at: usize) -> &AtomicU64 {
        self.slate.word(at).expect("a slate has two words")
    }

    /// The mark of the task that the worker began last.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.slate(0).load(Ordering::SeqCst) & !CONDEMNED)
    }

    /// The time at which that task began, if it has a time limit.
    pub(super) fn since(&self) -> u64 {
        self.slate(8).load(Ordering::SeqCst)
    }

    /// For the worker: the time of the current task ends no more.
    pub(super) fn stop_clock(&self) {
        self.slate(8).store(u64::MAX, Ordering::SeqCst);
    }

    /// For the worker: begins a task. Returns false if the worker is condemned.
    pub(super) fn begin(&self, mark: Mark, since: Option<u64>) -> bool {
        if let Some(since) = since {
            self.slate(8).store(since, Ordering::SeqCst);
        }
        let slate = self.slate(0);
        // Apart from this, only the supervisor writes this word, and only the one bit.
        let now = slate.load(Ordering::Relaxed);
        now & CONDEMNED == 0 && slate.compare_exchange(now, mark.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Prevents the worker from beginning another task, and returns the mark of its current one.
    pub(super) fn condemn(&self) -> Mark {
        Mark(self.slate(0).fetch_or(CONDEMNED, Ordering::SeqCst) & !CONDEMNED)
    }

    /// As [`condemn`](Self::condemn), but only if the worker is still at this task; returns whether it is.
    pub(super) fn condemn_at(&self, mark: Mark) -> bool {
        let condemned = mark.0 | CONDEMNED;
        match self.slate(0).compare_exchange(mark.0, condemned, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => now == condemned,
        }
    }
}
