//! A queue of values for the threads of one process: first-in-first-out, last-in-first-out, or by priority.
//!
//! What travels here is a value, not bytes, and nobody dies alone: a thread that ends in the middle of an operation takes
//! the process with it. So nothing of what makes [`Queue`](super::Queue) safe against deaths is needed, and some of it is
//! in the way: there, nobody can look at what is inside without taking it (a garbage collector wants to), and the order
//! is fixed. Hence a lock around a ring, a stack or a heap. Measured on one core, to put and to take one word together:
//! 35 ns with the other body on the heap, 23 ns here, 17 of these for the mutex; a front that has a lock of its own
//! anyway, like an interpreter's, brings that instead ([`Lock`]).
//!
//! # The lock
//!
//! It is held for moments: **nothing foreign runs under it**. No value is dropped, none is compared by code that is not
//! known to be harmless (see [`Judge`]), nothing waits. Hence a caller that has signal handlers, finalizers or a
//! garbage collector of its own may come back here from any of them, and a caller that is a guest of an interpreter may
//! take the lock while it holds the interpreter's. Who waits does so without the lock, and looks at one word only:
//!
//! ```text
//! signs   bit 0  ITEM  there is something to take        } also set, for good, when the queue
//!         bit 1  ROOM  there is room to put               } is shut or has moved out: those who
//!         bit 2  DONE  nothing is unfinished              } wait must come and see
//! ```
//!
//! For each sign there is a line of those who wait for it. Who will wait joins the line under the lock, then looks at
//! the sign; who makes a sign true looks at the line under the lock, then wakes. When nobody is in line, which is the
//! ordinary case, waking costs nothing, not even a fence.
//!
//! # Moving out
//!
//! A front that must let its user handle the container itself calls [`move_out`](LocalQueue::move_out): the items are
//! handed over, and from then on every operation is refused, with [`Refused::MovedOut`] or the like. The refusal is the
//! only way to tell that is sure: another thread may move the items out after any question. The counts stay here, to be
//! kept by the `note_` methods.

mod heap;
mod items;
mod line;
mod lock;

use core::fmt;
use core::marker::PhantomData;
use std::sync::Mutex;

use crate::atomics::{AtomicU32, Ordering, fence};
use crate::stats::QueueStatistics;
use crate::sys::process;
use crate::wait::{self, Door, Scope};
pub use heap::{ByOrd, Judge, NoOrder};
use items::Items;
pub use items::Order;
use line::{Board, Line, SIGNS, Whose};
pub use line::{Place, Sign, Waiting};
pub use lock::Lock;

/// Why nothing was put or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<Q> {
    /// There is no room, or nothing to take: wait in [`line`](LocalQueue::line).
    NotNow,
    /// The queue takes nothing any more, and (when taking) has nothing left.
    ShutDown,
    /// The items are kept elsewhere now.
    MovedOut,
    /// Something must be compared first.
    Compare(Q),
    /// There is no memory for one more.
    OutOfMemory,
}

/// Why no item was marked as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// More were called done than were put.
    TooMany,
    /// The items are kept elsewhere now, and those who wait for the last of them wait there.
    MovedOut,
}

/// A queue of values; see the module.
pub struct LocalQueue<T, L = Mutex<State<T>>> {
    state: L,
    board: Board,
    /// The lock alone says who may be here: with a mutex, any `T` that is `Send` may be shared.
    items: PhantomData<fn(T) -> T>,
}

/// What a queue's lock protects.
pub struct State<T> {
    items: Items<T>,
    /// Zero or less is unbounded.
    maxsize: i64,
    unfinished: i64,
    put: u64,
    got: u64,
    shut: bool,
    moved_out: bool,
    lines: [Line; SIGNS],
    /// The process to which the lines belong: threads do not survive a fork, so a child begins with empty ones.
    process: u32,
}

impl<T> State<T> {
    #[inline]
    fn has_room(&self) -> bool {
        self.maxsize <= 0 || (self.items.len() as u64) < self.maxsize as u64
    }

    #[inline]
    fn signs(&self) -> u32 {
        let see = self.shut | self.moved_out;
        u32::from(self.items.len() > 0 || see)
            | u32::from(self.has_room() || see) << 1
            | u32::from(self.unfinished == 0 || self.moved_out) << 2
    }

    /// How many waiters for `sign` need not wait.
    fn available(&self, sign: Sign) -> u32 {
        let count = match sign {
            Sign::Item => self.items.len(),
            Sign::Room if self.maxsize > 0 => (self.maxsize as usize).saturating_sub(self.items.len()),
            Sign::Room | Sign::Done => usize::MAX,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Changes with every change of the items.
    fn version(&self) -> u64 {
        self.put.wrapping_add(self.got)
    }

    /// Whoever forked, in the middle of a wait or not, the lines of the parent are not ours.
    fn lines(&mut self) -> &mut [Line; SIGNS] {
        let me = process::id();
        if self.process != me {
            self.process = me;
            self.lines.iter_mut().for_each(|line| line.threads = 0);
        }
        &mut self.lines
    }
}

impl<T, L: Lock<State<T>>> LocalQueue<T, L> {
    /// An empty queue of at most `maxsize` items, or of any number if that is not positive.
    pub fn new(order: Order, maxsize: i64) -> Self {
        let state = State {
            items: Items::new(order),
            maxsize,
            unfinished: 0,
            put: 0,
            got: 0,
            shut: false,
            moved_out: false,
            lines: [Line::default(); SIGNS],
            process: process::id(),
        };
        let signs = AtomicU32::new(state.signs());
        let board = Board { signs, lines: [(); SIGNS].map(|()| wait::Line::new()) };
        Self { state: L::new(state), board, items: PhantomData }
    }

    /// Begins anew, as `new` does, and gives what was inside.
    #[must_use]
    pub fn reset<'a>(&'a self, key: L::Key<'a>, order: Order, maxsize: i64) -> Vec<T> {
        self.change(key, |state| {
            let items = state.items.take_all();
            state.got += items.len() as u64;
            state.items = Items::new(order);
            state.maxsize = maxsize;
            state.unfinished = 0;
            state.shut = false;
            items
        })
    }

    fn show(&self, state: &State<T>) {
        // No more than relaxed: those who look take the lock before they act, and waking has the fences it needs.
        self.board.signs.store(state.signs(), Ordering::Relaxed);
    }

    /// Shows the signs after a change that one waiter can use, leaves the lock, and wakes him.
    #[inline(always)]
    fn leave_and_wake(&self, state: L::Guard<'_>, sign: Sign) {
        if state.lines[sign as usize].is_empty() {
            self.show(&state);
            return;
        }
        let line = self.board.line(sign);
        let prepared = line.prepare();
        self.show(&state);
        let available = state.available(sign);
        drop(state);
        fence(Ordering::SeqCst);
        line.notify_prepared(prepared, 1, || available, Scope::Private);
    }

    /// Makes a change that all must see, which is rare.
    fn change<'a, R>(&'a self, key: L::Key<'a>, change: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.state.lock(key);
        let result = change(&mut state);
        self.show(&state);
        drop(state);
        [Sign::Item, Sign::Room, Sign::Done].iter().for_each(|sign| self.board.wake_all(*sign));
        result
    }

    /// Puts `item` if there is room.
    ///
    /// # Errors
    /// See [`Refused`]. The item comes back.
    #[inline]
    pub fn put_now<'a, J: Judge<T>>(
        &'a self,
        key: L::Key<'a>,
        item: T,
        judge: &mut J,
    ) -> Result<(), (T, Refused<J::Question>)> {
        self.put_with(key, item, judge, Whose::Anybodys)
    }

    /// The same, unless the room is reserved for one who waits: for a caller that would wait as well.
    ///
    /// # Errors
    /// See [`Refused`]. The item comes back.
    #[inline]
    pub fn put_unreserved<'a, J: Judge<T>>(
        &'a self,
        key: L::Key<'a>,
        item: T,
        judge: &mut J,
    ) -> Result<(), (T, Refused<J::Question>)> {
        self.put_with(key, item, judge, Whose::Unreserved)
    }

    #[inline(always)]
    fn put_with<'a, J: Judge<T>>(
        &'a self,
        key: L::Key<'a>,
        item: T,
        judge: &mut J,
        whose: Whose,
    ) -> Result<(), (T, Refused<J::Question>)> {
        let mut guard = self.state.lock(key);
        let state = &mut *guard;
        if state.shut | state.moved_out {
            return Err((item, if state.moved_out { Refused::MovedOut } else { Refused::ShutDown }));
        }
        if !(state.has_room() && whose.may_be_taken(self.board.line(Sign::Room), || state.available(Sign::Room))) {
            return Err((item, Refused::NotNow));
        }
        if state.items.make_room().is_err() {
            return Err((item, Refused::OutOfMemory));
        }
        match &mut state.items {
            Items::Fifo(ring) => ring.push_back(item),
            Items::Lifo(stack) => stack.push(item),
            Items::Priority(heap) => {
                judge.begin(state.put.wrapping_add(state.got));
                match heap.plan_push(&item, judge) {
                    Ok(rise) => heap.push(item, rise),
                    Err(question) => return Err((item, Refused::Compare(question))),
                }
            }
        }
        state.put += 1;
        state.unfinished += 1;
        self.leave_and_wake(guard, Sign::Item);
        Ok(())
    }

    /// Takes the next item if there is one.
    ///
    /// # Errors
    /// See [`Refused`].
    #[inline]
    pub fn take_now<'a, J: Judge<T>>(&'a self, key: L::Key<'a>, judge: &mut J) -> Result<T, Refused<J::Question>> {
        self.take_with(key, judge, Whose::Anybodys)
    }

    /// The same, unless it is reserved for one who waits: for a caller that would wait as well.
    ///
    /// # Errors
    /// See [`Refused`].
    #[inline]
    pub fn take_unreserved<'a, J: Judge<T>>(
        &'a self,
        key: L::Key<'a>,
        judge: &mut J,
    ) -> Result<T, Refused<J::Question>> {
        self.take_with(key, judge, Whose::Unreserved)
    }

    #[inline(always)]
    fn take_with<'a, J: Judge<T>>(
        &'a self,
        key: L::Key<'a>,
        judge: &mut J,
        whose: Whose,
    ) -> Result<T, Refused<J::Question>> {
        let mut guard = self.state.lock(key);
        let state = &mut *guard;
        let version = state.version();
        let is_admitted = whose.may_be_taken(self.board.line(Sign::Item), || state.available(Sign::Item));
        let item = match &mut state.items {
            _ if !is_admitted => None,
            Items::Fifo(ring) => ring.pop_front(),
            Items::Lifo(stack) => stack.pop(),
            Items::Priority(heap) => {
                judge.begin(version);
                let way = heap.plan_pop(judge).map_err(Refused::Compare)?;
                heap.pop(way)
            }
        };
        let Some(item) = item else {
            return Err(match () {
                () if state.moved_out => Refused::MovedOut,
                () if state.shut && is_admitted => Refused::ShutDown,
                () => Refused::NotNow,
            });
        };
        state.got += 1;
        state.items.taken_one();
        self.leave_and_wake(guard, Sign::Room);
        Ok(item)
    }

    /// Joins the line of those who wait for `sign`.
    pub fn line<'a>(&'a self, key: L::Key<'a>, sign: Sign) -> Place<'a, T, L> {
        self.state.lock(key).lines()[sign as usize].threads += 1;
        Place { queue: self, key, sign, waiting: Waiting::new(&self.board, sign) }
    }

    /// How many waiters for `sign` need not wait.
    pub fn available<'a>(&'a self, key: L::Key<'a>, sign: Sign) -> u32 {
        self.state.lock(key).available(sign)
    }

    /// Where a door for `sign` may be left: from now on, each change that may have made it come true rings there.
    pub fn line_of<'a>(&'a self, key: L::Key<'a>, sign: Sign) -> &'a wait::Line {
        self.state.lock(key).lines()[sign as usize].watched = true;
        self.board.line(sign)
    }

    /// Whether `sign` is true now.
    pub fn has(&self, sign: Sign) -> bool {
        self.board.has(sign)
    }

    /// Takes the door away again.
    pub fn take_door(&self, sign: Sign, door: Door) {
        self.board.line(sign).events().take_door(door, Scope::Private);
    }

    /// Which item is taken next.
    pub fn order<'a>(&'a self, key: L::Key<'a>) -> Order {
        match self.state.lock(key).items {
            Items::Fifo(_) => Order::Fifo,
            Items::Lifo(_) => Order::Lifo,
            Items::Priority(_) => Order::Priority,
        }
    }

    /// How many items there are in here.
    pub fn len<'a>(&'a self, key: L::Key<'a>) -> usize {
        self.state.lock(key).items.len()
    }

    /// Whether there is no item in here.
    pub fn is_empty<'a>(&'a self, key: L::Key<'a>) -> bool {
        self.len(key) == 0
    }

    /// How many items there are; None if they have moved out.
    pub fn len_unless_moved<'a>(&'a self, key: L::Key<'a>) -> Option<usize> {
        let state = self.state.lock(key);
        (!state.moved_out).then(|| state.items.len())
    }

    /// Whether there is no room.
    pub fn is_full<'a>(&'a self, key: L::Key<'a>) -> bool {
        !self.state.lock(key).has_room()
    }

    /// The bound; none if it is not positive.
    pub fn maxsize<'a>(&'a self, key: L::Key<'a>) -> i64 {
        self.state.lock(key).maxsize
    }

    /// Sets the bound. More items than that may be inside already.
    pub fn set_maxsize<'a>(&'a self, key: L::Key<'a>, maxsize: i64) {
        self.change(key, |state| state.maxsize = maxsize);
    }

    /// How many items were put that were not said to be done.
    pub fn unfinished<'a>(&'a self, key: L::Key<'a>) -> i64 {
        self.state.lock(key).unfinished
    }

    /// Sets that number, for a front whose users may do so.
    pub fn set_unfinished<'a>(&'a self, key: L::Key<'a>, unfinished: i64) {
        self.change(key, |state| state.unfinished = unfinished);
    }

    /// An item is done.
    ///
    /// # Errors
    /// If that was said more often than items were put, or the items have moved out.
    #[inline]
    pub fn task_done<'a>(&'a self, key: L::Key<'a>) -> Result<(), NotDone> {
        let state = self.state.lock(key);
        if state.moved_out { Err(NotDone::MovedOut) } else { self.count_done(state) }
    }

    fn count_done(&self, mut state: L::Guard<'_>) -> Result<(), NotDone> {
        if state.unfinished <= 0 {
            return Err(NotDone::TooMany);
        }
        state.unfinished -= 1;
        if state.unfinished == 0 {
            self.show(&state);
            let alone = state.lines[Sign::Done as usize].is_empty();
            drop(state);
            if !alone {
                self.board.wake_all(Sign::Done);
            }
        }
        Ok(())
    }

    /// Takes no more items. Those inside can still be taken, unless `immediate`: then they are given back here, and
    /// count as done. None, and nothing is changed, if they have moved out.
    #[must_use]
    pub fn shut_down<'a>(&'a self, key: L::Key<'a>, immediate: bool) -> Option<Vec<T>> {
        self.change(key, |state| {
            if state.moved_out {
                return None;
            }
            state.shut = true;
            let dropped = if immediate { state.items.take_all() } else { Vec::new() };
            state.got += dropped.len() as u64;
            state.unfinished = (state.unfinished - dropped.len() as i64).max(state.unfinished.min(0));
            Some(dropped)
        })
    }

    /// Whether it was shut down.
    pub fn is_shut<'a>(&'a self, key: L::Key<'a>) -> bool {
        self.state.lock(key).shut
    }

    /// Sets whether it is shut down, for a front whose users may do so.
    pub fn set_shut<'a>(&'a self, key: L::Key<'a>, shut: bool) {
        self.change(key, |state| state.shut = shut);
    }

    /// Hands all items over for good, in the order of a list or heap that holds them; None if that was done before.
    pub fn move_out<'a>(&'a self, key: L::Key<'a>) -> Option<Vec<T>> {
        self.change(key, |state| (!core::mem::replace(&mut state.moved_out, true)).then(|| state.items.take_all()))
    }

    /// An item was put elsewhere: counts it, and wakes an event loop that waits for one.
    pub fn note_put<'a>(&'a self, key: L::Key<'a>) {
        let mut state = self.state.lock(key);
        state.put += 1;
        state.unfinished += 1;
        self.leave_and_wake(state, Sign::Item);
    }

    /// An item was taken elsewhere: counts it, and wakes an event loop that waits for room.
    pub fn note_got<'a>(&'a self, key: L::Key<'a>) {
        let mut state = self.state.lock(key);
        state.got += 1;
        self.leave_and_wake(state, Sign::Room);
    }

    /// An item that was put elsewhere is done; as [`task_done`](Self::task_done).
    ///
    /// # Errors
    /// If that was said more often than items were put.
    pub fn note_done<'a>(&'a self, key: L::Key<'a>) -> Result<(), NotDone> {
        self.count_done(self.state.lock(key))
    }

    /// Calls `visit` with each item, under the lock: see the module for what it may do.
    ///
    /// # Errors
    /// What `visit` gives.
    pub fn try_for_each<'a, E>(&'a self, key: L::Key<'a>, mut visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match &self.state.lock(key).items {
            Items::Fifo(ring) => ring.iter().try_for_each(&mut visit),
            Items::Lifo(stack) => stack.iter().try_for_each(&mut visit),
            Items::Priority(heap) => heap.iter().try_for_each(&mut visit),
        }
    }

    /// Counters and the present state.
    pub fn statistics<'a>(&'a self, key: L::Key<'a>) -> QueueStatistics {
        let mut state = self.state.lock(key);
        let waiting = state.lines().map(|line| line.threads);
        let small = |n: i64| u32::try_from(n.max(0)).unwrap_or(u32::MAX);
        QueueStatistics {
            size: small(state.items.len() as i64),
            maxsize: small(state.maxsize),
            put: state.put as u32,
            got: state.got as u32,
            unfinished: small(state.unfinished),
            getters_waiting: waiting[Sign::Item as usize],
            putters_waiting: waiting[Sign::Room as usize],
            shut_down: state.shut,
            owners_died: 0,
            bytes: 0,
        }
    }
}

impl<T, L> fmt::Debug for LocalQueue<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalQueue").finish_non_exhaustive()
    }
}
