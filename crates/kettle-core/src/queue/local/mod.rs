//! A queue of values for the threads of one process: first in, first out; last in, first out; or by priority.
//!
//! It transports values rather than bytes, and no thread dies alone: a thread that is killed in the middle of an
//! operation takes the process with it. So nothing of what protects [`Queue`](super::Queue) against deaths is needed,
//! and some of it would be in the way: there, messages cannot be inspected without taking them (as a garbage collector
//! has to), and the order is fixed. Hence a lock around a ring, a stack or a heap. Measured on one core, putting and
//! taking one word together costs 35 ns with the other implementation on the heap and 23 ns with this one, of which 17
//! are the mutex; a front end that has a lock anyway, such as an interpreter's, uses that instead ([`Lock`]).
//!
//! # The lock
//!
//! It is held only briefly: **no foreign code runs under it**. No value is dropped, none is compared by code that is
//! not known to be harmless (see [`Judge`]), and nothing blocks. So a caller with signal handlers, finalizers or a
//! garbage collector may re-enter from any of them, and an extension of an interpreter may take the lock while it holds
//! the interpreter's. Waiters sleep without the lock, and look at one word only:
//!
//! ```text
//! signs   bit 0  ITEM  there is something to take        } also set, for good, when the queue
//!         bit 1  ROOM  there is room to put               } is shut down or moved out, since
//!         bit 2  DONE  nothing is unfinished              } waiters must notice that
//! ```
//!
//! Each sign has a line of waiters. A thread that is going to wait joins the line under the lock, then looks at the
//! sign; a thread that makes a sign true looks at the line under the lock, then wakes. In the usual case of an empty
//! line, waking costs nothing, not even a fence.
//!
//! # Moving out
//!
//! A front end that must let its user access the container itself calls [`move_out`](LocalQueue::move_out): the items
//! are handed over, and from then on every operation is refused, with [`Refused::MovedOut`] or the like. Only this
//! refusal is conclusive: another thread may move the items out after any check. The counts stay here and are
//! maintained by the `note_` methods.

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

/// Why an item was not put or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<Q> {
    /// There is no room, or no item: wait in [`line`](LocalQueue::line).
    NotNow,
    /// The queue is shut down and, when taking, empty.
    ShutDown,
    /// The items were moved out.
    MovedOut,
    /// A comparison has to be made first.
    Compare(Q),
    /// There is no memory for one more item.
    OutOfMemory,
}

/// Why an item was not marked as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// More items were marked as done than were put.
    TooMany,
    /// The items were moved out, and waiters for the last of them wait elsewhere.
    MovedOut,
}

/// A queue of values; see the module docs.
pub struct LocalQueue<T, L = Mutex<State<T>>> {
    state: L,
    board: Board,
    /// Access is controlled by the lock alone: with a mutex, a `T` that is `Send` may be shared.
    items: PhantomData<fn(T) -> T>,
}

/// The state protected by a queue's lock.
pub struct State<T> {
    items: Items<T>,
    /// Unbounded if zero or less.
    maxsize: i64,
    unfinished: i64,
    /// Items whose consumers panicked, until a joiner is told.
    lost: u32,
    put: u64,
    got: u64,
    shut: bool,
    moved_out: bool,
    lines: [Line; SIGNS],
    /// The process that the lines belong to: threads do not survive a fork, so a child starts with empty ones.
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

    /// Changes whenever the items change.
    fn version(&self) -> u64 {
        self.put.wrapping_add(self.got)
    }

    /// The lines, emptied first if they are those of the process from which this one was forked.
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
    /// Creates an empty queue of at most `maxsize` items, or an unbounded one if `maxsize` is not positive.
    pub fn new(order: Order, maxsize: i64) -> Self {
        let state = State {
            items: Items::new(order),
            maxsize,
            unfinished: 0,
            lost: 0,
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

    /// Resets the queue to a new one, as `new` does, and returns its items.
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
        // Relaxed suffices: threads that see a sign take the lock before they act, and waking has the fences it needs.
        self.board.signs.store(state.signs(), Ordering::Relaxed);
    }

    /// Updates the signs after a change that one waiter can use, releases the lock, and wakes that waiter.
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

    /// Makes a change that all waiters must see, which is rare.
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
    /// See [`Refused`]. The item is returned.
    #[inline]
    pub fn put_now<'a, J: Judge<T>>(
        &'a self,
        key: L::Key<'a>,
        item: T,
        judge: &mut J,
    ) -> Result<(), (T, Refused<J::Question>)> {
        self.put_with(key, item, judge, Whose::Any)
    }

    /// The same, unless the room is reserved for a waiter: for a caller that would wait as well.
    ///
    /// # Errors
    /// See [`Refused`]. The item is returned.
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
        self.take_with(key, judge, Whose::Any)
    }

    /// The same, unless the item is reserved for a waiter: for a caller that would wait as well.
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

    /// Joins the line of waiters for `sign`.
    pub fn line<'a>(&'a self, key: L::Key<'a>, sign: Sign) -> Place<'a, T, L> {
        self.state.lock(key).lines()[sign as usize].threads += 1;
        Place { queue: self, key, sign, waiting: Waiting::new(&self.board, sign) }
    }

    /// How many waiters for `sign` need not wait.
    pub fn available<'a>(&'a self, key: L::Key<'a>, sign: Sign) -> u32 {
        self.state.lock(key).available(sign)
    }

    /// The line in which to register a door for `sign`: from now on each change that may have made the sign true rings
    /// it.
    pub fn line_of<'a>(&'a self, key: L::Key<'a>, sign: Sign) -> &'a wait::Line {
        self.state.lock(key).lines()[sign as usize].watched = true;
        self.board.line(sign)
    }

    /// Whether `sign` is true now.
    pub fn has(&self, sign: Sign) -> bool {
        self.board.has(sign)
    }

    /// Unregisters the door.
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

    /// The number of items in the queue; 0 after they were moved out.
    pub fn len<'a>(&'a self, key: L::Key<'a>) -> usize {
        self.state.lock(key).items.len()
    }

    /// Whether there are no items in the queue.
    pub fn is_empty<'a>(&'a self, key: L::Key<'a>) -> bool {
        self.len(key) == 0
    }

    /// The number of items; None if they were moved out.
    pub fn len_unless_moved<'a>(&'a self, key: L::Key<'a>) -> Option<usize> {
        let state = self.state.lock(key);
        (!state.moved_out).then(|| state.items.len())
    }

    /// Whether there is no room.
    pub fn is_full<'a>(&'a self, key: L::Key<'a>) -> bool {
        !self.state.lock(key).has_room()
    }

    /// The bound; unbounded if it is not positive.
    pub fn maxsize<'a>(&'a self, key: L::Key<'a>) -> i64 {
        self.state.lock(key).maxsize
    }

    /// Sets the bound. The queue may already have more items than that.
    pub fn set_maxsize<'a>(&'a self, key: L::Key<'a>, maxsize: i64) {
        self.change(key, |state| state.maxsize = maxsize);
    }

    /// The number of items that were put and not marked as done.
    pub fn unfinished<'a>(&'a self, key: L::Key<'a>) -> i64 {
        self.state.lock(key).unfinished
    }

    /// Sets that number, for a front end that exposes it.
    pub fn set_unfinished<'a>(&'a self, key: L::Key<'a>, unfinished: i64) {
        self.change(key, |state| state.unfinished = unfinished);
    }

    /// Marks an item as done.
    ///
    /// # Errors
    /// If more items were marked as done than were put, or if the items were moved out.
    #[inline]
    pub fn task_done<'a>(&'a self, key: L::Key<'a>) -> Result<(), NotDone> {
        let state = self.state.lock(key);
        if state.moved_out { Err(NotDone::MovedOut) } else { self.count_done(state) }
    }

    /// Marks an item as done whose consumer panicked, and counts it for [`take_lost`](Self::take_lost).
    ///
    /// # Errors
    /// As [`task_done`](Self::task_done).
    pub fn lose<'a>(&'a self, key: L::Key<'a>) -> Result<(), NotDone> {
        let mut state = self.state.lock(key);
        if state.moved_out {
            return Err(NotDone::MovedOut);
        }
        state.lost += 1;
        self.count_done(state)
    }

    /// How many items were lost since this was asked last.
    pub fn take_lost<'a>(&'a self, key: L::Key<'a>) -> u32 {
        std::mem::take(&mut self.state.lock(key).lost)
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

    /// Closes the queue for new items. Those in the queue can still be taken, unless `immediate`: then they are
    /// returned, and count as done. Returns None, without any change, if the items were moved out.
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

    /// Whether the queue is shut down.
    pub fn is_shut<'a>(&'a self, key: L::Key<'a>) -> bool {
        self.state.lock(key).shut
    }

    /// Sets whether the queue is shut down, for a front end that exposes it.
    pub fn set_shut<'a>(&'a self, key: L::Key<'a>, shut: bool) {
        self.change(key, |state| state.shut = shut);
    }

    /// Hands over all items for good, in the order of a list or heap that holds them; None if that has happened before.
    pub fn move_out<'a>(&'a self, key: L::Key<'a>) -> Option<Vec<T>> {
        self.change(key, |state| (!core::mem::replace(&mut state.moved_out, true)).then(|| state.items.take_all()))
    }

    /// Records an item that was put elsewhere, and wakes an event loop that waits for one.
    pub fn note_put<'a>(&'a self, key: L::Key<'a>) {
        let mut state = self.state.lock(key);
        state.put += 1;
        state.unfinished += 1;
        self.leave_and_wake(state, Sign::Item);
    }

    /// Records an item that was taken elsewhere, and wakes an event loop that waits for room.
    pub fn note_got<'a>(&'a self, key: L::Key<'a>) {
        let mut state = self.state.lock(key);
        state.got += 1;
        self.leave_and_wake(state, Sign::Room);
    }

    /// Marks an item that was put elsewhere as done; see [`task_done`](Self::task_done).
    ///
    /// # Errors
    /// If more items were marked as done than were put.
    pub fn note_done<'a>(&'a self, key: L::Key<'a>) -> Result<(), NotDone> {
        self.count_done(self.state.lock(key))
    }

    /// Calls `visit` with each item, with the lock held: see the module docs for what it may do.
    ///
    /// # Errors
    /// Those of `visit`.
    pub fn try_for_each<'a, E>(&'a self, key: L::Key<'a>, mut visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match &self.state.lock(key).items {
            Items::Fifo(ring) => ring.iter().try_for_each(&mut visit),
            Items::Lifo(stack) => stack.iter().try_for_each(&mut visit),
            Items::Priority(heap) => heap.iter().try_for_each(&mut visit),
        }
    }

    /// A snapshot of the counters.
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
