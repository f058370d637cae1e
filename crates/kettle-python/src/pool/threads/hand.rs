//! What workers have in hand: the tasks of a job that they claimed, and outcomes that the job does not have yet.
//!
//! ```text
//!             claim                 begin                 end                put
//!   pending ──────────► in a hand ─────────► being done ───────► kept ───────────────► the job has its outcome
//!                         └──▲ steal
//! ```
//!
//! All workers of a job want its state. So a worker goes there for a few hundred microseconds' worth of tasks at once,
//! and with their outcomes together; in between it needs nothing but its own hand, in a cache line of its own. Nor is
//! anybody held up by that: what a worker claimed and did not begin, another one may take that has nothing else to do,
//! or that comes by when it should have been done long ago. Of the outcomes of a map nobody can see the one before all
//! are there; those of an imap are never kept.
//!
//! Tasks that are in line or in a hand can be seen by whoever looks first into the one and then into all the others: what
//! is claimed moves under the lock of the hand. What is stolen does not, so a thief must be a searcher (see
//! [`Idle`](kettle_core::wait::Idle)), who calls another one if there is more.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kettle::pool::scheduler::Span;
use pyo3::prelude::*;

use crate::pool::job::{Job, Outcome, State};
use crate::pool::ledger::lock;

/// One worker's. The alignment is that of two cache lines, which processors fetch together.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Hand(Mutex<Held>);

#[derive(Default)]
struct Held {
    job: Option<Arc<Job>>,
    /// The tasks that were not begun.
    left: Range<u64>,
    /// Their items.
    items: VecDeque<Py<PyAny>>,
    /// Where the first chunk begins, and how many tasks a chunk has.
    first: u64,
    chunk: u64,
    since: Option<Instant>,
    /// Others may find something here.
    is_laden: bool,
    kept: Kept,
}

/// Outcomes of tasks that follow each other.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) first: u64,
    pub(super) outcomes: Vec<Outcome>,
}

/// A task that is to be done now: its number and its item.
type Task = (u64, Py<PyAny>);

/// Tasks that change hands.
struct Loot {
    job: Arc<Job>,
    tasks: Range<u64>,
    items: VecDeque<Py<PyAny>>,
    chunk: u64,
}

/// Those of a whole crew.
#[derive(Default)]
pub(super) struct Hands {
    all: Mutex<Vec<Arc<Hand>>>,
    /// How many of them have something that was not begun, and may be taken from them.
    laden: AtomicUsize,
}

impl Held {
    fn fill(&mut self, job: &Arc<Job>, tasks: Range<u64>, items: VecDeque<Py<PyAny>>, chunk: u64) {
        self.job = Some(Arc::clone(job));
        (self.first, self.chunk) = (tasks.start, chunk);
        self.kept.first = tasks.start;
        (self.left, self.items) = (tasks, items);
        self.since = Some(Instant::now());
    }

    /// What others may take: whole chunks.
    fn free(&self) -> Range<u64> {
        let start = match self.chunk {
            0 | 1 => self.left.start,
            chunk => self.first + (self.left.start - self.first).next_multiple_of(chunk),
        };
        start.min(self.left.end)..self.left.end
    }

    /// The second half of what others may take.
    fn give(&mut self) -> Option<Loot> {
        let (free, chunk) = (self.free(), self.chunk.max(1));
        let chunks = (free.end - free.start).div_ceil(chunk);
        if chunks == 0 {
            return None;
        }
        let start = free.start + chunks / 2 * chunk;
        let items = self.items.split_off(self.items.len().min((start - self.left.start) as usize));
        self.left.end = start;
        Some(Loot { job: Arc::clone(self.job.as_ref()?), tasks: start..free.end, items, chunk })
    }
}

impl Hand {
    /// The next task of those in it; the one before has this outcome, which is to be kept.
    pub(super) fn next(&self, py: Python<'_>, hands: &Hands, outcome: Option<Outcome>) -> Option<Task> {
        let held = &mut *lock(py, &self.0);
        held.kept.outcomes.extend(outcome);
        let task = held.left.next().zip(held.items.pop_front());
        hands.note(held);
        task
    }

    /// Takes the outcomes that it keeps, into an empty list. Gives the number of the first.
    pub(super) fn take_kept(&self, py: Python<'_>, outcomes: &mut Vec<Outcome>) -> u64 {
        let kept = &mut lock(py, &self.0).kept;
        std::mem::swap(&mut kept.outcomes, outcomes);
        let first = kept.first;
        kept.first += outcomes.len() as u64;
        first
    }

    /// There is nothing in it any more.
    pub(super) fn put_down(&self, py: Python<'_>, hands: &Hands) {
        let held = {
            let held = &mut *lock(py, &self.0);
            // Its end stays, so that what is left never begins before the first chunk.
            held.left.start = held.left.end;
            hands.note(held);
            std::mem::take(held)
        };
        drop(held);
    }
}

impl Hands {
    /// One more.
    pub(super) fn one_more(&self, py: Python<'_>) -> Arc<Hand> {
        let hand = Arc::new(Hand::default());
        lock(py, &self.all).push(Arc::clone(&hand));
        hand
    }

    /// One less.
    pub(super) fn one_less(&self, py: Python<'_>, hand: &Arc<Hand>) {
        lock(py, &self.all).retain(|one| !Arc::ptr_eq(one, hand));
        hand.put_down(py, self);
    }

    /// Whether there may be something to steal.
    pub(super) fn are_laden(&self) -> bool {
        self.laden.load(Ordering::SeqCst) > 0
    }

    /// Takes tasks into an empty hand: those that `take` finds, with their items and the length of their chunks.
    pub(super) fn claim(
        &self,
        py: Python<'_>,
        hand: &Hand,
        job: &Arc<Job>,
        take: impl FnOnce(MutexGuard<'_, State>) -> Option<(Span, VecDeque<Py<PyAny>>, u32)>,
    ) {
        let (mut held, state) = loop {
            let held = lock(py, &hand.0);
            if let Some(state) = job.try_state() {
                break (held, state);
            }
            drop(held);
            py.detach(std::thread::yield_now);
        };
        let Some((span, items, chunk)) = take(state) else { return };
        held.fill(job, span.start..span.start + u64::from(span.len), items, chunk.into());
        self.note(&mut held);
    }

    /// Takes half of what another worker has not begun, of tasks that it has had for longer than that, into an empty
    /// hand. Gives their job.
    pub(super) fn steal(&self, py: Python<'_>, hand: &Hand, longer_than: Duration) -> Option<Arc<Job>> {
        if !self.are_laden() {
            return None;
        }
        let loot = self.all(py).iter().find_map(|other| {
            let held = &mut *lock(py, &other.0);
            if !held.is_laden || held.since?.elapsed() < longer_than {
                return None;
            }
            let loot = held.give();
            self.note(held);
            loot
        })?;
        let held = &mut *lock(py, &hand.0);
        held.fill(&loot.job, loot.tasks, loot.items, loot.chunk);
        self.note(held);
        Some(loot.job)
    }

    /// Takes the items of a job that were not begun: it was ended.
    pub(super) fn take_items_of(&self, py: Python<'_>, job: &Arc<Job>) -> Vec<Py<PyAny>> {
        let mut items = Vec::new();
        for hand in self.all(py) {
            let held = &mut *lock(py, &hand.0);
            if held.job.as_ref().is_some_and(|other| Arc::ptr_eq(other, job)) {
                items.extend(std::mem::take(&mut held.items));
                held.left.start = held.left.end;
                self.note(held);
            }
        }
        items
    }

    /// All outcomes that are kept.
    pub(super) fn kept(&self, py: Python<'_>) -> Vec<(Arc<Job>, Kept)> {
        let of_one = |hand: &Arc<Hand>| {
            let held = &mut *lock(py, &hand.0);
            let job = held.job.as_ref().filter(|_| !held.kept.outcomes.is_empty())?;
            let next = held.kept.first + held.kept.outcomes.len() as u64;
            let none = Kept { first: next, outcomes: Vec::new() };
            Some((Arc::clone(job), std::mem::replace(&mut held.kept, none)))
        };
        self.all(py).iter().filter_map(of_one).collect()
    }

    fn all(&self, py: Python<'_>) -> Vec<Arc<Hand>> {
        lock(py, &self.all).clone()
    }

    /// Keeps the count of those that have something for others.
    fn note(&self, held: &mut Held) {
        let is_laden = !held.free().is_empty();
        if std::mem::replace(&mut held.is_laden, is_laden) != is_laden {
            match is_laden {
                true => self.laden.fetch_add(1, Ordering::SeqCst),
                false => self.laden.fetch_sub(1, Ordering::SeqCst),
            };
        }
    }
}
