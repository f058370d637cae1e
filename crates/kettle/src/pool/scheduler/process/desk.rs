//! The shared memory between a supervisor and one worker.

use std::sync::atomic::{AtomicU64, Ordering};

use kettle_core::arena::{ArenaError, Handle, Ticket, Token, TokenError};
use kettle_core::queue::Queue;
use kettle_core::shared::Bytes;
use kettle_core::wait::EventCount;

use super::super::pending::CHUNK_MAX;
use super::words::{self, Ring};

/// Two queues, one for each direction; a ring for outcomes that are short; a slate, on which the worker notes which task
/// it is at; and the bell of the pool, which it rings when it has put an outcome.
///
/// Each worker has its own. No lock is shared by two workers, so the death of one holds up no other.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) tasks: Handle<Queue>,
    pub(super) outcomes: Handle<Queue>,
    slate: Handle<Bytes>,
    words: Handle<Bytes>,
    pub(super) bell: Handle<EventCount>,
}

/// Which task a worker is at, in one word, so that nobody sees half a change.
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
    /// That of a worker that prepares itself, before it is ready: no chunk has this number.
    pub(super) const PREPARING: Self = Self(1);

    /// That of a worker that takes a chunk to pieces, before its first task: no task has this number.
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
    /// That of a later task of the same chunk.
    pub(super) fn plus(self, tasks: u32) -> Self {
        Self(self.0 + u64::from(tasks))
    }
}

impl Desk {
    /// A fresh one. Every worker gets one of its own, also one that takes the place of another.
    pub(super) fn new(bell: &Handle<EventCount>) -> Result<Self, ArenaError> {
        Ok(Self {
            tasks: Handle::new(|| Queue::new(0, false))?,
            outcomes: Handle::new(|| Queue::new(0, false))?,
            slate: Handle::zeroed(16)?,
            words: words::room()?,
            bell: bell.clone(),
        })
    }

    /// What a worker needs to come to its desk: granted to the child that is being started, or for whoever gets it.
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

    /// The desk behind what [`tokens`](Self::tokens) gave.
    ///
    /// # Errors
    /// When these are no tokens of a desk, or it is gone.
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

    /// The short outcomes.
    pub(super) fn words(&self) -> Ring<'_> {
        Ring::of(&self.words)
    }

    /// Whether the worker has put something that was not taken.
    pub(super) fn has_outcome(&self) -> bool {
        !self.outcomes.is_empty() || !self.words().is_empty()
    }

    fn slate(&self, at: usize) -> &AtomicU64 {
        self.slate.word(at).expect("a slate has two words")
    }

    /// The task that the worker began last.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.slate(0).load(Ordering::SeqCst) & !CONDEMNED)
    }

    /// When it began it, if that task has a time limit.
    pub(super) fn since(&self) -> u64 {
        self.slate(8).load(Ordering::SeqCst)
    }

    /// The worker begins a task; false if it may not begin any more.
    pub(super) fn begin(&self, mark: Mark, since: Option<u64>) -> bool {
        if let Some(since) = since {
            self.slate(8).store(since, Ordering::SeqCst);
        }
        let slate = self.slate(0);
        // Only the supervisor writes here besides, and only the one bit.
        let now = slate.load(Ordering::Relaxed);
        now & CONDEMNED == 0 && slate.compare_exchange(now, mark.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Keeps the worker from beginning anything after the task that it is at, which is given.
    pub(super) fn condemn(&self) -> Mark {
        Mark(self.slate(0).fetch_or(CONDEMNED, Ordering::SeqCst) & !CONDEMNED)
    }

    /// As [`condemn`](Self::condemn), provided that it is still at this task.
    pub(super) fn condemn_at(&self, mark: Mark) -> bool {
        let condemned = mark.0 | CONDEMNED;
        match self.slate(0).compare_exchange(mark.0, condemned, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => now == condemned,
        }
    }
}
