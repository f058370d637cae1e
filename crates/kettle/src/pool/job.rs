//! Tasks that were submitted to a pool together, and the outcome of each.
//!
//! ```text
//!   Open ──an outcome──► Done ──it is taken──► Taken
//! ```
//!
//! An open task is not sent yet, or is with a worker; the [`PendingTasks`] tracks which are still to be sent. A task
//! keeps its arguments until it is done, since its worker may die.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use kettle_core::arena::Block;
use kettle_core::queue::Taken;
use serde::de::DeserializeOwned;

use super::call::Packed;
use super::error::{Panic, TaskError};
use super::scheduler::process::Word;
use super::scheduler::{Chunking, Completion, PendingTasks, Span};
use super::worker::{Tag, from_word};
use crate::codec;

/// The outcome of a task.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its worker's report.
    Reported { tag: Tag, bytes: Vec<u8>, block: Option<Block>, parts: Vec<Block> },
    /// There is no report, for this reason.
    Failed(TaskError),
}

impl Outcome {
    /// The outcome in a worker's message; `inline` is the body if that is short.
    pub(super) fn reported(taken: Taken<Block>, inline: &[u8]) -> Self {
        let Taken { tag, block, parts } = taken;
        Self::of(tag, inline.to_vec(), block, parts)
    }

    /// The outcome in a worker's word.
    pub(super) fn in_a_word(word: Word) -> Self {
        let (tag, bytes) = from_word(word);
        Self::of(tag, bytes, None, Vec::new())
    }

    fn of(tag: u8, bytes: Vec<u8>, block: Option<Block>, parts: Vec<Block>) -> Self {
        match Tag::of(tag) {
            Some(tag) => Self::Reported { tag, bytes, block, parts },
            None => Self::Failed(TaskError::Lost(format!("the worker speaks of something unknown ({tag})"))),
        }
    }

    pub(super) fn is_failure(&self) -> bool {
        !matches!(self, Self::Reported { tag: Tag::Returned, .. })
    }

    /// Decodes the task's result.
    pub(super) fn open<R: DeserializeOwned>(self) -> Result<R, TaskError> {
        let (tag, bytes, block, parts) = match self {
            Self::Reported { tag, bytes, block, parts } => (tag, bytes, block, parts),
            Self::Failed(why) => return Err(why),
        };
        let bytes = block.as_ref().map_or(&*bytes, Block::as_slice);
        let lost = |e: crate::DecodeError| TaskError::Lost(format!("the result: {}", e.0));
        match tag {
            Tag::Returned => codec::decode(bytes, parts).map_err(lost),
            Tag::Panicked => Err(codec::decode::<Panic>(bytes, parts).map_or_else(lost, TaskError::Panicked)),
            Tag::Lost | Tag::Ready | Tag::NotReady => {
                Err(TaskError::Lost(codec::decode(bytes, parts).unwrap_or_else(|e| e.0)))
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum Item {
    Open(Packed),
    Done(Outcome),
    Taken,
}

/// What the thread or future behind a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    /// All outcomes.
    All,
    /// The next outcome in order.
    Next,
    /// Any outcome.
    Any,
    /// Fewer than this many tasks that are still to be sent; or the first failure.
    Room(u64),
    /// The same, or the next outcome in order.
    NextOrRoom(u64),
}

/// How the tasks of a job are to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) chunking: Chunking,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) pending: PendingTasks,
    pub(super) timeout: Option<Duration>,
    /// The tasks, beginning with the oldest one that was not taken.
    items: VecDeque<Item>,
    /// The number of the first of `items`.
    first: u64,
    /// The number of tasks without an outcome.
    open: u64,
    /// The tasks that are done and not taken, in the order in which they were done. Only kept if outcomes are taken in
    /// that order.
    arrivals: Option<VecDeque<u64>>,
    has_failure: bool,
    /// The length of the longest chunk so far.
    pub(super) longest: u32,
    want: Want,
    pub(super) completion: Arc<Completion>,
    waker: Option<Waker>,
    /// No further task is sent.
    is_over: bool,
    /// Its outcomes are no longer wanted.
    pub(super) is_forgotten: bool,
    /// It is in the line of jobs that have something to send.
    pub(super) is_in_line: bool,
}

impl Job {
    pub(super) fn new(terms: Terms, by_arrival: bool) -> Self {
        Self {
            pending: PendingTasks::new(terms.chunking, terms.retries),
            timeout: terms.timeout,
            items: VecDeque::new(),
            first: 0,
            open: 0,
            arrivals: by_arrival.then(VecDeque::new),
            has_failure: false,
            longest: 0,
            want: Want::Nothing,
            completion: Arc::default(),
            waker: None,
            is_over: false,
            is_forgotten: false,
            is_in_line: false,
        }
    }

    /// The number of tasks without an outcome.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    pub(super) fn add(&mut self, call: Packed) {
        self.items.push_back(Item::Open(call));
        self.open += 1;
        self.pending.extend(1);
    }

    fn item(&mut self, number: u64) -> Option<&mut Item> {
        self.items.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Gives back tasks that were sent and not begun.
    pub(super) fn give_back(&mut self, span: Span) {
        if !self.is_over {
            self.pending.give_back(span);
        }
    }

    /// Records that the worker of this task died. Returns whether the task is sent again.
    pub(super) fn died(&mut self, number: u64) -> bool {
        !self.is_over && self.pending.died(number)
    }

    /// Ends the job. Returns the tasks without an outcome, for the caller to conclude.
    pub(super) fn end(&mut self) -> Vec<u64> {
        self.is_over = true;
        self.pending.clear();
        let numbered = (self.first..).zip(&self.items);
        numbered.filter(|(_, item)| matches!(item, Item::Open(_))).map(|(number, _)| number).collect()
    }

    /// The name of the function of an open task.
    pub(super) fn task(&self, number: u64) -> &'static str {
        match number.checked_sub(self.first).and_then(|at| self.items.get(usize::try_from(at).ok()?)) {
            Some(Item::Open(call)) => call.task(),
            _ => "?",
        }
    }

    /// The calls of consecutive open tasks, starting with the task numbered `start`.
    pub(super) fn calls(&self, start: u64) -> impl Iterator<Item = &Packed> {
        let skip = usize::try_from(start - self.first).unwrap_or(usize::MAX);
        self.items.iter().skip(skip).map_while(|item| match item {
            Item::Open(call) => Some(call),
            Item::Done(_) | Item::Taken => None,
        })
    }

    /// Sets the outcome of a task; returns false if it already has one.
    pub(super) fn finish(&mut self, number: u64, outcome: Outcome) -> bool {
        let failed = outcome.is_failure();
        let Some(item @ Item::Open(_)) = self.item(number) else { return false };
        *item = Item::Done(outcome);
        self.open -= 1;
        self.has_failure |= failed;
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.push_back(number);
        }
        true
    }

    /// Takes the next outcome, in the order of tasks or of arrival.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        let number = match &mut self.arrivals {
            Some(arrivals) => arrivals.pop_front()?,
            None => self.first,
        };
        let item = self.item(number)?;
        let Item::Done(_) = item else { return None };
        let Item::Done(outcome) = std::mem::replace(item, Item::Taken) else { return None };
        while let Some(Item::Taken) = self.items.front() {
            self.items.pop_front();
            self.first += 1;
        }
        Some(outcome)
    }

    /// Takes any failure.
    pub(super) fn take_failure(&mut self) -> Option<Outcome> {
        let failed = |item: &&mut Item| matches!(item, Item::Done(outcome) if outcome.is_failure());
        match self.items.iter_mut().find(failed).map(|item| std::mem::replace(item, Item::Taken)) {
            Some(Item::Done(outcome)) => Some(outcome),
            _ => None,
        }
    }

    /// Returns whether the submitter waits for the outcomes of several tasks at once.
    pub(super) fn waits_for_several(&self) -> bool {
        self.want == Want::All && self.pending.count() > 1
    }

    /// Sets what is waited for. Returns false if it is there already.
    pub(super) fn want(&mut self, want: Want) -> bool {
        self.want = want;
        if self.is_satisfied() {
            return false;
        }
        self.completion.begin_again();
        true
    }

    pub(super) fn wake_by(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    fn is_satisfied(&self) -> bool {
        match self.want {
            Want::Nothing => false,
            Want::All => self.open == 0,
            Want::Next => matches!(self.items.front(), Some(Item::Done(_))),
            Want::Any => self.arrivals.as_ref().is_some_and(|arrivals| !arrivals.is_empty()),
            Want::Room(low) => self.has_room(low),
            Want::NextOrRoom(low) => self.has_room(low) || matches!(self.items.front(), Some(Item::Done(_))),
        }
    }

    fn has_room(&self, low: u64) -> bool {
        self.open == 0 || self.has_failure || self.pending.unsent() < low
    }

    /// Called after a change: if what is wanted is there, wakes the waiting thread and returns the waker, which must be
    /// woken without holding a lock.
    pub(super) fn tell(&mut self) -> Option<Waker> {
        if !self.is_satisfied() {
            return None;
        }
        self.completion.finish();
        self.waker.take()
    }
}
