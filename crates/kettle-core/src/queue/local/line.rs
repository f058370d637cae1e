//! Waiting for a queue: signs that say whether an attempt is worthwhile, and a line of waiters for each sign.

use core::fmt;
use core::mem::ManuallyDrop;
use std::sync::Mutex;

use super::{Judge, LocalQueue, Lock, Refused, State};
use crate::atomics::{AtomicU32, Ordering};
use crate::wait::{self, Patience, Scope, Stopped, Ticket, spin_and_yield_until};

/// A condition that can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// There is an item to take.
    Item = 0,
    /// There is room to put an item.
    Room = 1,
    /// No item is unfinished.
    Done = 2,
}

pub(super) const SIGNS: usize = 3;

impl Sign {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What an attempt may take.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    /// Anything, even what is reserved for another waiter.
    Any,
    /// Only what is not reserved.
    Unreserved,
    /// What is not reserved, or is reserved for the holder of this ticket.
    Of(Ticket),
}

impl Whose {
    #[inline(always)]
    pub(super) fn may_be_taken(self, line: &wait::Line, available: impl FnOnce() -> u32) -> bool {
        match self {
            Self::Any => true,
            Self::Unreserved => line.admits(None, available),
            Self::Of(ticket) => line.admits(Some(ticket), available),
        }
    }
}

/// What waiters look at: the signs and the lines.
pub(super) struct Board {
    pub(super) signs: AtomicU32,
    pub(super) lines: [wait::Line; SIGNS],
}

impl Board {
    pub(super) fn has(&self, sign: Sign) -> bool {
        self.signs.load(Ordering::Relaxed) & sign.bit() != 0
    }

    pub(super) fn line(&self, sign: Sign) -> &wait::Line {
        &self.lines[sign as usize]
    }

    /// Wakes the next waiter, given that there are `available` of what `sign` stands for.
    pub(super) fn pass_on(&self, sign: Sign, available: u32) {
        self.line(sign).pass_on(available, Scope::Private);
    }

    pub(super) fn wake_all(&self, sign: Sign) {
        self.line(sign).notify_all(Scope::Private);
    }
}

/// The waiters for a sign.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    pub(super) threads: u32,
    /// Whether an event loop ever waited; from then on each change checks for one.
    pub(super) watched: bool,
}

impl Line {
    pub(super) fn is_empty(self) -> bool {
        self.threads == 0 && !self.watched
    }
}

/// A place in a line. Leaving it, successfully or not, wakes the next waiter if there is something for it, since the
/// wake-up that arrived here may have been the only one.
#[derive(Debug)]
pub struct Place<'a, T, L: Lock<State<T>> = Mutex<State<T>>> {
    pub(super) queue: &'a LocalQueue<T, L>,
    pub(super) key: L::Key<'a>,
    pub(super) sign: Sign,
    pub(super) waiting: Waiting<'a>,
}

impl<'a, T, L: Lock<State<T>>> Place<'a, T, L> {
    /// The wait itself, which needs no key, for callers that have to give up the key meanwhile.
    pub fn waiting(&self) -> &Waiting<'a> {
        &self.waiting
    }

    fn ticket(&self) -> Ticket {
        self.waiting.place.ticket()
    }

    /// As [`put_unreserved`](LocalQueue::put_unreserved), including room that is reserved for this place.
    ///
    /// # Errors
    /// See [`Refused`]. The item is returned.
    pub fn put<J: Judge<T>>(&self, item: T, judge: &mut J) -> Result<(), (T, Refused<J::Question>)> {
        self.queue.put_with(self.key, item, judge, Whose::Of(self.ticket()))
    }

    /// As [`take_unreserved`](LocalQueue::take_unreserved), including an item that is reserved for this place.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn take<J: Judge<T>>(&self, judge: &mut J) -> Result<T, Refused<J::Question>> {
        self.queue.take_with(self.key, judge, Whose::Of(self.ticket()))
    }
}

impl<T, L: Lock<State<T>>> Drop for Place<'_, T, L> {
    fn drop(&mut self) {
        // Before the check for other waiters: threads that arrive after that find the line open.
        self.waiting.place.step_aside();
        let mut state = self.queue.state.lock(self.key);
        let line = &mut state.lines()[self.sign as usize];
        line.threads = line.threads.saturating_sub(1);
        let alone = line.is_empty();
        let available = state.available(self.sign);
        drop(state);
        if !alone && self.queue.board.has(self.sign) {
            self.queue.board.pass_on(self.sign, available);
        }
    }
}

/// The wait of the owner of a [`Place`].
pub struct Waiting<'a> {
    board: &'a Board,
    sign: Sign,
    /// Left by [`Place`], which owns this value.
    place: ManuallyDrop<wait::Place<'a>>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(board: &'a Board, sign: Sign) -> Self {
        Self { board, sign, place: ManuallyDrop::new(board.line(sign).join(Scope::Private)) }
    }
}

impl Waiting<'_> {
    /// Spins for some microseconds; returns whether an attempt became worthwhile.
    pub fn spin(&self) -> bool {
        spin_and_yield_until(|| self.board.has(self.sign) && self.place.is_admitted())
    }

    /// Sleeps until an attempt is worthwhile.
    ///
    /// # Errors
    /// If the deadline has passed or the caller is interrupted.
    pub fn sleep(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        let look = || self.board.has(self.sign).then_some(());
        self.place.wait_for(patience, look, || None)
    }
}

impl fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("sign", &self.sign).finish_non_exhaustive()
    }
}
