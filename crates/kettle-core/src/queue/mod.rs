//! A queue of messages in memory handed to it.
//!
//! The protocol — who writes which word when, and what a death at each step leaves behind — is in `README.md` beside
//! this file. In one sentence: a putter prepares everything beyond the tail and publishes it by storing one word; a
//! getter makes what it takes its own and commits by storing one word; each side has a lock that knows its holder.

mod chunk;
mod consumers;
#[cfg(not(loom))]
pub mod local;
mod message;

use core::num::NonZeroU64;
use core::ops::Range;

pub use consumers::{Loss, TooManyDone};
pub use message::{Body, Parcel, Taken};

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::stats::QueueStatistics;
use crate::sync::{Home, Lock, LockError, OnOwnerDeath};
use crate::wait::{EventCount, Patience, Stopped, spin_until};
use chunk::{Chunk, Cursor};
use consumers::Consumers;

/// Names a piece of memory of a [`Store`]: an offset in the arena, an address on the heap.
pub type Place = NonZeroU64;

/// There is no memory for what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted(pub String);

/// Where a queue's memory comes from.
///
/// # Safety
/// `chunk` gives memory for as many bytes as asked, aligned to eight and beginning with [`CHUNK_ZEROED`] zeros, which
/// nobody else uses until `free_chunk`; `at` gives its address in this process. `claim` and `retract` give back what `publish` was given under that place.
pub unsafe trait Store {
    /// What its place can tell.
    type Home: Home;
    /// A piece of payload, owned by whoever has it.
    type Block;

    /// Memory for a chunk: the `index`-th of `queue`.
    ///
    /// # Errors
    /// When there is none.
    fn chunk(len: usize, queue: Place, index: u32) -> Result<Place, Exhausted>;
    /// Makes a chunk the caller's, who is about to take it out of its queue: dies he in the middle of that, it is
    /// found as his.
    ///
    /// # Safety
    /// The chunk came from `chunk`, and the caller holds the right to take it out.
    unsafe fn claim_chunk(place: Place);
    /// Gives a chunk back.
    ///
    /// # Safety
    /// The chunk came from `chunk` and nobody uses it any more.
    unsafe fn free_chunk(place: Place);
    /// Where a chunk is in this process.
    fn at(place: Place) -> *mut u8;

    /// Makes ready for being named by `queue` at `position`: from the commit on, the queue owns it.
    fn publish(block: Self::Block, queue: Place, position: u32) -> Place;
    /// Makes a published block the caller's.
    ///
    /// # Safety
    /// The block was published under this place, and the caller holds the right to take it.
    unsafe fn claim(place: Place) -> Self::Block;
    /// The length of a block in bytes.
    fn len(block: &Self::Block) -> usize;
}

/// A first-in, first-out queue, bounded or not.
///
/// `tail` and `head` each hold a count of messages and a position (both modulo 2³²), so that one store moves both: the
/// number of messages is exact at every instant, also after a death.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Queue {
    tail_lock: Lock,
    tail: AtomicU64,
    tail_chunk: AtomicU64,
    maxsize: AtomicU32,
    state: AtomicU32,
    items: EventCount,

    head_lock: Lock,
    head: AtomicU64,
    head_chunk: AtomicU64,
    space: EventCount,
    finished: EventCount,
    consumers: Consumers,
}

const SHUT: u32 = 1;
const JOINABLE: u32 = 2;

/// Why a message was not put. It is handed back.
#[derive(Debug)]
pub enum PutError<P> {
    /// The queue stayed full until the deadline.
    Full(P),
    /// The queue takes nothing any more.
    ShutDown(P),
    /// The caller was interrupted.
    Interrupted(P),
    /// There is no memory for it.
    Exhausted(P, Exhausted),
}

/// Why no message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetError {
    /// The queue stayed empty until the deadline.
    Empty,
    /// It is empty and will stay so.
    ShutDown,
    /// The caller was interrupted.
    Interrupted,
}

/// Why a wait for all messages to be done ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The wait ended first.
    Stopped(Stopped),
    /// A process died with messages it had taken and not finished.
    ConsumerDied(Loss),
}

/// The most bytes that travel inside the queue itself; larger bodies stand in a block of their own.
pub const INLINE_MAX: usize = message::INLINE_MAX;
/// How many bytes of zeros a chunk begins with when a [`Store`] gives it.
pub const CHUNK_ZEROED: usize = chunk::HEADER;
/// The most further blocks that a message may have.
pub const PARTS_MAX: usize = message::PARTS_MAX;

impl Queue {
    /// An empty queue. `maxsize` 0 is unbounded: `put` never waits.
    pub fn new(maxsize: u32, joinable: bool) -> Self {
        Self {
            tail_lock: Lock::new(OnOwnerDeath::Recover),
            tail: AtomicU64::new(0),
            tail_chunk: AtomicU64::new(0),
            maxsize: AtomicU32::new(maxsize),
            state: AtomicU32::new(if joinable { JOINABLE } else { 0 }),
            items: EventCount::new(),
            head_lock: Lock::new(OnOwnerDeath::Recover),
            head: AtomicU64::new(0),
            head_chunk: AtomicU64::new(0),
            space: EventCount::new(),
            finished: EventCount::new(),
            consumers: Consumers::new(),
        }
    }

    /// An empty queue that looks as if `count` messages of together `position` units had been through: for tests of what
    /// happens when the numbers wrap.
    #[cfg(feature = "crash-points")]
    pub fn begun_at(maxsize: u32, joinable: bool, count: u32, position: u32) -> Self {
        let queue = Self::new(maxsize, joinable);
        let cursor = Cursor { count, position }.pack();
        queue.tail.store(cursor, Ordering::Relaxed);
        queue.head.store(cursor, Ordering::Relaxed);
        queue
    }

    /// Puts a message. `me` is where this queue is, for the blocks that it will own.
    ///
    /// # Errors
    /// See [`PutError`]; the message comes back with it.
    pub fn put<'b, S: Store>(
        &self,
        me: Place,
        parcel: Parcel<'b, S>,
        patience: &Patience<'_>,
    ) -> Result<(), PutError<Parcel<'b, S>>> {
        let mut waited = false;
        loop {
            if let Err(stopped) = lock::<S::Home>(&self.tail_lock, patience) {
                if waited {
                    self.space.notify_one(S::Home::SCOPE);
                }
                return Err(match stopped {
                    Stopped::TimedOut => PutError::Full(parcel),
                    Stopped::Interrupted => PutError::Interrupted(parcel),
                });
            }
            if self.is_shut() {
                unlock::<S::Home>(&self.tail_lock);
                return Err(PutError::ShutDown(parcel));
            }
            if !self.is_full() {
                let result = self.append(me, parcel);
                crash_point("queue.put.before-unlock");
                unlock::<S::Home>(&self.tail_lock);
                if result.is_ok() {
                    crash_point("queue.put.before-notify");
                    // The unlock was a sequentially consistent exchange, after the commit.
                    self.items.notify_after_fence(1, S::Home::SCOPE);
                }
                if waited && !self.is_full() {
                    self.space.notify_one(S::Home::SCOPE);
                }
                return result.map_err(|(parcel, e)| PutError::Exhausted(parcel, e));
            }
            unlock::<S::Home>(&self.tail_lock);
            let room = || (!self.is_full() || self.is_shut()).then_some(());
            if patience.may_wait() && spin_until(|| room().is_some()) {
                continue;
            }
            match self.space.wait_for(patience, S::Home::SCOPE, room, || None) {
                // The wake-up that may have come to us stands for one place; if there are more, it is passed on.
                Ok(()) => waited = true,
                Err(Stopped::TimedOut) => return Err(PutError::Full(parcel)),
                Err(Stopped::Interrupted) => return Err(PutError::Interrupted(parcel)),
            }
        }
    }

    /// Under the tail's lock: writes the message beyond the tail, then moves the tail past it.
    fn append<'b, S: Store>(&self, me: Place, parcel: Parcel<'b, S>) -> Result<(), (Parcel<'b, S>, Exhausted)> {
        let tail = Cursor::unpack(self.tail.load(Ordering::Relaxed));
        let units = parcel.units();
        let (chunk, position) = match self.room::<S>(me, tail, units) {
            Ok(room) => room,
            Err(e) => return Err((parcel, e)),
        };
        chunk.writing(position);
        // SAFETY: the tail's lock is held, so nobody else writes beyond the tail, and `room` found `units` units at
        // `position` in `chunk`, all of them beyond the tail, which no getter reads before the commit below.
        unsafe { parcel.write(chunk.unit(position), me, position) };
        crash_point("queue.put.before-commit");
        let next = Cursor { count: tail.count.wrapping_add(1), position: position.wrapping_add(units) };
        // [P] pairs with [G]: whoever sees the tail sees what stands before it.
        self.tail.store(next.pack(), Ordering::Release);
        crash_point("queue.put.committed");
        Ok(())
    }

    /// Under the tail's lock: finds room for `units` units, in a new chunk if need be.
    fn room<S: Store>(&self, me: Place, tail: Cursor, units: u32) -> Result<(Chunk, u32), Exhausted> {
        let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
        if tail.position.wrapping_sub(head.position) > chunk::MOST_UNITS {
            return Err(Exhausted("a queue holds at most 16 GiB of small messages".into()));
        }
        let Some(place) = Place::new(self.tail_chunk.load(Ordering::Relaxed)) else {
            return self.first_chunk::<S>(me, tail);
        };
        let chunk = Chunk::at(S::at(place));
        let end = chunk.end();
        // A putter that died after it moved to this chunk, and before its commit, left the tail behind it.
        let position = if chunk.is_before(tail.position) { tail.position } else { chunk.base() };
        if end.wrapping_sub(position) >= units {
            return Ok((chunk, position));
        }
        // A putter that died here may have linked the next chunk already: use it.
        let next = match Place::new(chunk.next()) {
            Some(next) => next,
            None => {
                let next = S::chunk(chunk::LATER_LEN, me, chunk.index().wrapping_add(1))?;
                Chunk::at(S::at(next)).begin(end, chunk::LATER_LEN, chunk.index().wrapping_add(1));
                crash_point("queue.put.before-link");
                chunk.link(next.get());
                next
            }
        };
        crash_point("queue.put.linked");
        Chunk::at(S::at(next)).set_linked();
        if end != position {
            chunk.skip(position);
        }
        self.tail_chunk.store(next.get(), Ordering::Release);
        crash_point("queue.put.next-chunk");
        Ok((Chunk::at(S::at(next)), end))
    }

    fn first_chunk<S: Store>(&self, me: Place, tail: Cursor) -> Result<(Chunk, u32), Exhausted> {
        let place = match Place::new(self.head_chunk.load(Ordering::Relaxed)) {
            // A putter died between the two stores below.
            Some(place) => place,
            None => {
                let place = S::chunk(chunk::FIRST_LEN, me, 0)?;
                Chunk::at(S::at(place)).begin(tail.position, chunk::FIRST_LEN, 0);
                crash_point("queue.put.before-first-chunk");
                self.head_chunk.store(place.get(), Ordering::Release);
                crash_point("queue.put.first-chunk");
                place
            }
        };
        Chunk::at(S::at(place)).set_linked();
        self.tail_chunk.store(place.get(), Ordering::Release);
        Ok((Chunk::at(S::at(place)), tail.position))
    }

    /// Takes a message. A short body is appended to `bytes`.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get<S: Store>(&self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Taken<S::Block>, GetError> {
        let stopped = |why| match why {
            Stopped::TimedOut => GetError::Empty,
            Stopped::Interrupted => GetError::Interrupted,
        };
        let mut waited = false;
        loop {
            if !self.is_empty() {
                if let Err(why) = lock::<S::Home>(&self.head_lock, patience) {
                    if waited {
                        self.items.notify_one(S::Home::SCOPE);
                    }
                    return Err(stopped(why));
                }
                let taken = self.take::<S>(bytes);
                crash_point("queue.get.before-unlock");
                unlock::<S::Home>(&self.head_lock);
                if let Some(taken) = taken {
                    crash_point("queue.get.before-notify");
                    if self.maxsize() != 0 {
                        self.space.notify_after_fence(1, S::Home::SCOPE);
                    }
                    if waited && !self.is_empty() {
                        self.items.notify_one(S::Home::SCOPE);
                    }
                    return Ok(taken);
                }
            }
            if self.is_shut() {
                // A putter that got in before the flag may be about to commit.
                self.let_putter_out::<S::Home>(patience).map_err(stopped)?;
                if self.is_empty() {
                    return Err(GetError::ShutDown);
                }
                continue;
            }
            let some = || (!self.is_empty() || self.is_shut()).then_some(());
            if patience.may_wait() && spin_until(|| some().is_some()) {
                continue;
            }
            self.items.wait_for(patience, S::Home::SCOPE, some, || None).map_err(stopped)?;
            // The wake-up that may have come to us stands for one message; if there are more, it is passed on.
            waited = true;
        }
    }

    /// Takes all messages that are there, in one go: whoever gets meanwhile gets those before them or those after them.
    /// Short bodies are appended to `bytes`; each message is given to `each` with its part of them.
    ///
    /// # Errors
    /// When the lock of the getters was not to be had. Nothing was taken then.
    pub fn take_all<S: Store>(
        &self,
        bytes: &mut Vec<u8>,
        mut each: impl FnMut(Taken<S::Block>, Range<usize>),
        patience: &Patience<'_>,
    ) -> Result<(), Stopped> {
        lock::<S::Home>(&self.head_lock, patience)?;
        loop {
            let start = bytes.len();
            let Some(taken) = self.take::<S>(bytes) else { break };
            each(taken, start..bytes.len());
        }
        unlock::<S::Home>(&self.head_lock);
        if self.maxsize() != 0 {
            self.space.notify_all(S::Home::SCOPE);
        }
        Ok(())
    }

    /// Under the head's lock: makes the oldest message the caller's, then moves the head past it.
    fn take<S: Store>(&self, bytes: &mut Vec<u8>) -> Option<Taken<S::Block>> {
        let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
        // [G] pairs with [P].
        let tail = Cursor::unpack(self.tail.load(Ordering::Acquire));
        if head.count == tail.count {
            return None;
        }
        let (chunk, position) = self.oldest::<S>(head)?;
        chunk.reading(position);
        // SAFETY: a committed message stands at `position`, between head and tail, and the head's lock is held: nobody
        // else takes it, and no putter writes there.
        let (taken, units) = unsafe { message::read::<S>(chunk.unit(position), bytes) };
        crash_point("queue.get.claimed");
        if self.is_joinable() {
            self.consumers.took(S::Home::me(), S::Home::is_dead);
        }
        crash_point("queue.get.before-commit");
        let next = Cursor { count: head.count.wrapping_add(1), position: position.wrapping_add(units) };
        self.head.store(next.pack(), Ordering::Release);
        crash_point("queue.get.committed");
        Some(taken)
    }

    /// Under the head's lock, with a message there: where it is. Chunks that are read to their end are given back.
    fn oldest<S: Store>(&self, head: Cursor) -> Option<(Chunk, u32)> {
        let mut place = Place::new(self.head_chunk.load(Ordering::Acquire))?;
        let mut position = head.position;
        loop {
            let chunk = Chunk::at(S::at(place));
            // A getter that died after it moved to this chunk, and before its commit, left the head behind it.
            if !chunk.is_before(position) {
                position = chunk.base();
            }
            if position != chunk.end() && !chunk.is_skip(position) {
                return Some((chunk, position));
            }
            let next = Place::new(chunk.next())?;
            // SAFETY: the head is about to leave the chunk, the tail did so before, and the head's lock is held.
            unsafe { S::claim_chunk(place) };
            crash_point("queue.get.claimed-chunk");
            self.head_chunk.store(next.get(), Ordering::Release);
            crash_point("queue.get.before-free-chunk");
            // SAFETY: the head has left the chunk, the tail did so before, and the head's lock is held.
            unsafe { S::free_chunk(place) };
            position = chunk_base::<S>(next);
            place = next;
        }
    }

    /// No more messages are taken in; those inside can still be got, unless `immediate`, which drops them.
    pub fn shutdown<S: Store>(&self, immediate: bool) {
        self.state.fetch_or(SHUT, Ordering::SeqCst);
        if immediate {
            self.clear::<S>();
        }
        self.items.notify_all(S::Home::SCOPE);
        self.space.notify_all(S::Home::SCOPE);
        self.finished.notify_all(S::Home::SCOPE);
    }

    /// Drops all messages.
    pub fn clear<S: Store>(&self) {
        let patience = Patience::forever();
        if self.let_putter_out::<S::Home>(&patience).is_err() || lock::<S::Home>(&self.head_lock, &patience).is_err() {
            return;
        }
        let mut bytes = Vec::new();
        loop {
            let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
            let tail = Cursor::unpack(self.tail.load(Ordering::Acquire));
            if head.count == tail.count {
                break;
            }
            let Some((chunk, position)) = self.oldest::<S>(head) else { break };
            bytes.clear();
            chunk.reading(position);
            // SAFETY: as in `take`.
            let (taken, units) = unsafe { message::read::<S>(chunk.unit(position), &mut bytes) };
            let next = Cursor { count: head.count.wrapping_add(1), position: position.wrapping_add(units) };
            self.head.store(next.pack(), Ordering::Release);
            drop(taken);
        }
        unlock::<S::Home>(&self.head_lock);
        self.space.notify_all(S::Home::SCOPE);
        self.finished.notify_all(S::Home::SCOPE);
    }

    /// Waits until nobody is inside a put any more who did not see what was stored before this call.
    fn let_putter_out<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        lock::<H>(&self.tail_lock, patience)?;
        unlock::<H>(&self.tail_lock);
        Ok(())
    }

    /// Gives back all memory.
    ///
    /// # Safety
    /// Nobody uses the queue any more.
    pub unsafe fn teardown<S: Store>(&self) {
        self.clear::<S>();
        self.tail_chunk.store(0, Ordering::Release);
        while let Some(place) = Place::new(self.head_chunk.load(Ordering::Acquire)) {
            let next = Chunk::at(S::at(place)).next();
            // SAFETY: nobody uses the queue, and no chunk is linked twice. Claimed first, so that it is ours to free
            // also in the eyes of a reclaim that looks just now.
            unsafe {
                S::claim_chunk(place);
                self.head_chunk.store(next, Ordering::Release);
                S::free_chunk(place);
            }
        }
    }

    /// One message that was got is done with.
    ///
    /// # Errors
    /// When none is outstanding.
    pub fn task_done<H: Home>(&self) -> Result<(), TooManyDone> {
        self.consumers.done(H::me())?;
        if self.unfinished() == 0 {
            self.finished.notify_all(H::SCOPE);
        }
        Ok(())
    }

    /// Waits until every message that was put is done with.
    ///
    /// # Errors
    /// See [`JoinError`]. A loss is told to everybody who was waiting when it was found, and then counts as done.
    pub fn join<H: Home>(&self, patience: &Patience<'_>) -> Result<(), JoinError> {
        let losses = self.consumers.losses();
        let look = || match self.consumers.loss_since(losses) {
            Some(loss) => Some(Err(JoinError::ConsumerDied(loss))),
            None => (self.unfinished() == 0).then_some(Ok(())),
        };
        if let Some(r) = look() {
            return r;
        }
        let each_nap = || self.find_loss::<H>().map(|loss| Err(JoinError::ConsumerDied(loss)));
        match self.finished.wait_for(patience, H::SCOPE, look, each_nap) {
            Ok(r) => r,
            Err(Stopped::TimedOut) => each_nap().unwrap_or(Err(JoinError::Stopped(Stopped::TimedOut))),
            Err(stopped) => Err(JoinError::Stopped(stopped)),
        }
    }

    /// Writes off what a dead process had taken and not finished, if there is such a one.
    pub fn find_loss<H: Home>(&self) -> Option<Loss> {
        let loss = self.consumers.find_loss(H::is_dead)?;
        self.finished.notify_all(H::SCOPE);
        Some(loss)
    }

    /// The number of messages inside.
    pub fn len(&self) -> u32 {
        // The head first: if messages are got meanwhile, the number is too high by those, never below zero.
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst));
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst));
        tail.count.wrapping_sub(head.count)
    }

    /// Whether there is no message inside.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would wait.
    #[inline]
    pub fn is_full(&self) -> bool {
        match self.maxsize() {
            0 => false,
            n => self.len() >= n,
        }
    }

    /// The bound, 0 for none.
    #[inline]
    pub fn maxsize(&self) -> u32 {
        self.maxsize.load(Ordering::Relaxed)
    }

    /// Whether it was shut down.
    #[inline]
    pub fn is_shut(&self) -> bool {
        self.state.load(Ordering::SeqCst) & SHUT != 0
    }

    /// Whether it counts what is done.
    #[inline]
    pub fn is_joinable(&self) -> bool {
        self.state.load(Ordering::Relaxed) & JOINABLE != 0
    }

    /// Messages that are inside, or taken and not done with. Zero is exact: there was an instant without any.
    pub fn unfinished(&self) -> u32 {
        loop {
            let before = self.tail.load(Ordering::SeqCst);
            // The queue first: a message counts as taken before it leaves the queue, so it is never in neither place.
            let inside = self.len();
            let unfinished = inside.saturating_add(self.consumers.outstanding());
            // But a consumer may put a new message and then finish his own, between the two looks: what was put since
            // the first look has been overlooked. If nothing was, what is taken can only have become less.
            if unfinished != 0 || self.tail.load(Ordering::SeqCst) == before {
                return unfinished;
            }
        }
    }

    /// Where getters wait.
    pub fn items(&self) -> &EventCount {
        &self.items
    }

    /// Where putters wait.
    pub fn space(&self) -> &EventCount {
        &self.space
    }

    /// Where those wait who join.
    pub fn finished(&self) -> &EventCount {
        &self.finished
    }

    /// How it is.
    pub fn statistics(&self) -> QueueStatistics {
        let died = |lock: &Lock| lock.statistics().owners_died;
        QueueStatistics {
            size: self.len(),
            maxsize: self.maxsize(),
            put: Cursor::unpack(self.tail.load(Ordering::Relaxed)).count,
            got: Cursor::unpack(self.head.load(Ordering::Relaxed)).count,
            unfinished: if self.is_joinable() { self.unfinished() } else { 0 },
            getters_waiting: self.items.sleepers(),
            putters_waiting: self.space.sleepers(),
            shut_down: self.is_shut(),
            owners_died: died(&self.tail_lock) + died(&self.head_lock),
        }
    }

    /// Whether a block that was published at `position` is still to be got.
    pub fn holds_position(&self, position: u32) -> bool {
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst));
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst));
        position.wrapping_sub(head.position) < tail.position.wrapping_sub(head.position)
    }

    /// Whether the chunk at `place`, made as the `index`-th, is part of the chain from head to tail. *No* is for good
    /// if its maker is dead, or if it was part of the chain once.
    ///
    /// # Safety
    /// No chunk of this queue is given other content meanwhile: the caller keeps the memory from being allocated.
    pub unsafe fn holds_chunk<S: Store>(&self, place: Place, index: u32) -> bool {
        let chunk = Chunk::at(S::at(place));
        if !chunk.is_linked() {
            // It may have been reached by the last step of a putter who died before he could mark it.
            let is_here = |word: &AtomicU64| word.load(Ordering::SeqCst) == place.get();
            let is_behind_tail = || {
                Place::new(self.tail_chunk.load(Ordering::SeqCst))
                    .is_some_and(|tail| Chunk::at(S::at(tail)).next() == place.get())
            };
            if is_here(&self.head_chunk) || is_behind_tail() || is_here(&self.tail_chunk) {
                return true;
            }
            // Between these looks somebody may have used it. Otherwise its address died with its maker.
            if !chunk.is_linked() {
                return false;
            }
        }
        // Chunks of the chain have indices without gaps, and it is left at the front only.
        let Some(head) = Place::new(self.head_chunk.load(Ordering::SeqCst)) else { return false };
        index.wrapping_sub(Chunk::at(S::at(head)).index()) <= i32::MAX as u32
    }
}

fn chunk_base<S: Store>(place: Place) -> u32 {
    Chunk::at(S::at(place)).base()
}

/// Takes one of the queue's own locks. They are held for nanoseconds, and their dead holders are found soon, so even a
/// caller that does not wait for messages waits for these; if a holder is stopped, not for ever.
#[inline]
fn lock<H: Home>(lock: &Lock, patience: &Patience<'_>) -> Result<(), Stopped> {
    if lock.try_acquire_now::<H>() {
        return Ok(());
    }
    if patience.is_instant() {
        return Err(Stopped::TimedOut);
    }
    match lock.acquire::<H>(&patience.at_least_a_second()) {
        // What a dead holder left is whole: see README.md, "a death at each step".
        Ok(_) => Ok(()),
        Err(LockError::Stopped(stopped)) => Err(stopped),
        Err(LockError::OwnerDied(_)) => unreachable!("the lock recovers"),
    }
}

#[inline]
fn unlock<H: Home>(lock: &Lock) {
    let released = lock.release::<H>();
    debug_assert!(released.is_ok());
}
