//! Tasks that were submitted to a pool together, and the outcome of each. A task keeps its call until it has an outcome,
//! since its worker may die.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use kettle_core::arena::Block;
use kettle_core::queue::Taken;
use serde::de::DeserializeOwned;

use super::call::Packed;
use super::error::TaskError;
use super::scheduler::process::Word;
use super::scheduler::{Chunking, Completion, JobTasks, Order, Outcomes, PendingTasks, Span, Want};
use super::worker::{Tag, from_word};
use crate::codec;
use crate::panic::Panic;

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

/// How the tasks of a job are to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) chunking: Chunking,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) tasks: JobTasks,
    pub(super) timeout: Option<Duration>,
    /// The calls of the tasks, beginning with the oldest one that has no outcome; `None` for those that have one.
    calls: VecDeque<Option<Packed>>,
    /// The number of the first of `calls`.
    first: u64,
    outcomes: Outcomes<Outcome>,
    want: Want,
    pub(super) completion: Arc<Completion>,
    waker: Option<Waker>,
    /// No further task is sent.
    is_over: bool,
    /// Its outcomes are no longer wanted.
    pub(super) is_forgotten: bool,
}

impl Job {
    pub(super) fn new(terms: Terms, order: Order) -> Self {
        Self {
            tasks: JobTasks::new(PendingTasks::new(terms.chunking, terms.retries)),
            timeout: terms.timeout,
            calls: VecDeque::new(),
            first: 0,
            outcomes: Outcomes::new(order),
            want: Want::Nothing,
            completion: Arc::default(),
            waker: None,
            is_over: false,
            is_forgotten: false,
        }
    }

    pub(super) fn add(&mut self, call: Packed) {
        self.calls.push_back(Some(call));
        self.tasks.add(1);
    }

    /// Gives back tasks that were sent and not begun.
    pub(super) fn give_back(&mut self, span: Span) {
        if !self.is_over {
            self.tasks.pending.give_back(span);
        }
    }

    /// Records that the worker of this task died. Returns whether the task is sent again.
    pub(super) fn died(&mut self, number: u64) -> bool {
        !self.is_over && self.tasks.pending.died(number)
    }

    /// Ends the job. Returns the tasks without an outcome, for the caller to conclude.
    pub(super) fn end(&mut self) -> Vec<u64> {
        self.is_over = true;
        self.tasks.pending.clear();
        let numbered = (self.first..).zip(&self.calls);
        numbered.filter(|(_, call)| call.is_some()).map(|(number, _)| number).collect()
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// The name of the function of an open task.
    pub(super) fn task(&self, number: u64) -> &'static str {
        let call = self.place_of(number).and_then(|place| self.calls.get(place)?.as_ref());
        call.map_or("?", Packed::task)
    }

    /// The calls of consecutive open tasks, starting with the task numbered `start`.
    pub(super) fn calls(&self, start: u64) -> impl Iterator<Item = &Packed> {
        let place = self.place_of(start).unwrap_or(usize::MAX);
        self.calls.iter().skip(place).map_while(Option::as_ref)
    }

    /// Sets the outcome of a task; returns false if it already has one.
    pub(super) fn finish(&mut self, number: u64, outcome: Outcome) -> bool {
        let call = self.place_of(number).and_then(|place| self.calls.get_mut(place)?.take());
        if call.is_none() {
            return false;
        }
        while let Some(None) = self.calls.front() {
            self.calls.pop_front();
            self.first += 1;
        }
        self.tasks.settle(1);
        if outcome.is_failure() {
            self.tasks.fail();
        }
        self.outcomes.put(number, outcome);
        true
    }

    /// Takes the next outcome, in the order of tasks or of arrival.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        self.outcomes.take()
    }

    /// If there was a failure, takes all outcomes that are there and returns the first failure among them.
    pub(super) fn take_failure(&mut self) -> Option<Outcome> {
        let outcomes = self.tasks.has_failure().then(|| self.outcomes.take_all())?;
        outcomes.into_iter().find(Outcome::is_failure)
    }

    /// Returns whether the submitter waits for the outcomes of several tasks at once.
    pub(super) fn waits_for_several(&self) -> bool {
        matches!(self.want, Want::All | Want::Room(_)) && self.tasks.pending.count() > 1
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
        self.tasks.satisfy(self.want, || self.outcomes.has_next())
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
