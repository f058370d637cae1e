//! A queue of messages in memory that the caller provides.
//!
//! The protocol (which word is written by whom and when, and what a death at each step leaves behind) is in `README.md`
//! next to this file. In short: a putter prepares everything beyond the tail and publishes it by storing one word; a
//! getter claims what it takes and commits by storing one word; each side has a lock that knows its holder.
//!
//! | module | what it is |
//! |---|---|
//! | `put` | the tail: room, the message, the commit |
//! | `get` | the head: the oldest message, the commit, freeing chunks that were read to their end |
//! | `join`, `consumers` | messages that were received and are not done yet |
//! | `chunk`, `message` | the memory layout |
//! | `weight` | the number of bytes in the queue |
//! | `local` | a queue of values between threads |

mod ahead;
mod chunk;
mod consumers;
mod get;
mod join;
mod limits;
#[cfg(not(loom))]
pub mod local;
mod message;
mod put;
mod store;
mod weight;

use core::marker::PhantomData;

pub use consumers::{Loss, TooManyDone};
pub use get::{GetError, TakeAllError};
pub use join::JoinError;
pub use limits::{INLINE_MAX, PARTS_MAX};
pub use message::{Body, Parcel, Taken};
pub use put::PutError;
pub use store::{Exhausted, Place, Room, Store, Trouble};

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::damage;
use crate::stats::QueueStatistics;
use crate::sync::{Home, Lock, OnOwnerDeath};
use crate::wait::{EventCount, Line, Patience, Stopped};
use ahead::Ahead;
use chunk::{Chunk, Cursor};
use consumers::Consumers;
use weight::Bytes;

/// A first-in, first-out queue, bounded or not.
///
/// `tail` and `head` each hold a message count and a position (both modulo 2³²), which one store moves together: the
/// number of messages is exact at every instant, even after a death.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Queue {
    tail_lock: Lock,
    tail: AtomicU64,
    tail_chunk: AtomicU64,
    maxsize: AtomicU32,
    state: AtomicU32,
    items: Line,

    head_lock: Lock,
    head: AtomicU64,
    head_chunk: AtomicU64,
    space: Line,
    bytes_got: Bytes,
    finished: EventCount,
    bytes_put: Bytes,
    consumers: Consumers,
    ahead: Ahead,
}

const SHUT: u32 = 1;
const JOINABLE: u32 = 2;

/// The number of zero bytes at the beginning of each chunk that a [`Store`] allocates.
pub const CHUNK_ZEROED: usize = chunk::HEADER;

impl Queue {
    /// Creates an empty queue. `maxsize` 0 means unbounded: `put` never waits.
    pub fn new(maxsize: u32, joinable: bool) -> Self {
        Self {
            tail_lock: Lock::new(OnOwnerDeath::Recover),
            tail: AtomicU64::new(0),
            tail_chunk: AtomicU64::new(0),
            maxsize: AtomicU32::new(maxsize),
            state: AtomicU32::new(if joinable { JOINABLE } else { 0 }),
            items: Line::new(),
            head_lock: Lock::new(OnOwnerDeath::Recover),
            head: AtomicU64::new(0),
            head_chunk: AtomicU64::new(0),
            space: Line::new(),
            bytes_got: Bytes::none(),
            finished: EventCount::new(),
            bytes_put: Bytes::none(),
            consumers: Consumers::new(),
            ahead: Ahead::none(),
        }
    }

    /// Creates an empty queue in the state after `count` messages with a total of `position` units, to test what
    /// happens when the numbers wrap.
    #[cfg(feature = "crash-points")]
    pub fn begun_at(maxsize: u32, joinable: bool, count: u32, position: u32) -> Self {
        let queue = Self::new(maxsize, joinable);
        let cursor = Cursor { count, position }.pack();
        queue.tail.store(cursor, Ordering::Relaxed);
        queue.head.store(cursor, Ordering::Relaxed);
        queue
    }

    /// Closes the queue for new messages. Those in the queue can still be received, unless `immediate`, which drops
    /// them.
    pub fn shutdown<S: Store>(&self, immediate: bool) {
        self.state.fetch_or(SHUT, Ordering::SeqCst);
        if immediate {
            self.clear::<S>();
        }
        self.items.notify_all(S::Home::SCOPE);
        self.space.notify_all(S::Home::SCOPE);
        self.finished.notify_all(S::Home::SCOPE);
    }

    /// Frees all memory, except what damage has made unreachable.
    ///
    /// # Safety
    /// The queue is no longer in use.
    pub unsafe fn teardown<S: Store>(&self) {
        self.clear::<S>();
        // SAFETY: the queue is no longer in use.
        unsafe { self.consumers.teardown::<S>() };
        self.tail_chunk.store(0, Ordering::Release);
        let mut place = Place::new(self.head_chunk.load(Ordering::Acquire));
        let mut chunk = place.and_then(|place| Chunk::at::<S>(place).ok());
        while let (Some(here), Some(at)) = (place, chunk) {
            place = Place::new(at.next());
            chunk = place.and_then(|next| at.followed_by::<S>(next).ok());
            // SAFETY: the queue is no longer in use, and no chunk is linked twice, since each follows the previous one.
            // Claimed first, so that a concurrent reclaim attributes the chunk to us.
            unsafe {
                if S::claim_chunk(here).is_err() {
                    return;
                }
                self.head_chunk.store(place.map_or(0, Place::get), Ordering::Release);
                S::free_chunk(here);
            }
        }
    }

    /// The number of messages in the queue.
    pub fn len(&self) -> u32 {
        self.head_and_len().1
    }

    /// The number of the oldest message (or of the next one), and how many messages there are.
    #[inline]
    fn head_and_len(&self) -> (u32, u32) {
        // The head first: messages received in the meantime make the result too high, but never negative.
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst)).count;
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst)).count;
        (head, tail.wrapping_sub(head))
    }

    /// The number of the oldest message, or of the next one: they are counted from 0, modulo 2³².
    #[inline]
    pub fn oldest_number(&self) -> u32 {
        Cursor::unpack(self.head.load(Ordering::SeqCst)).count
    }

    /// The number that the next message gets which is put.
    #[inline]
    pub fn next_number(&self) -> u32 {
        Cursor::unpack(self.tail.load(Ordering::SeqCst)).count
    }

    /// Whether there are no messages in the queue.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would wait.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.spare() == 0
    }

    /// How many more messages the bound permits.
    #[inline]
    pub fn spare(&self) -> u32 {
        match self.maxsize() {
            0 => u32::MAX,
            n => n.saturating_sub(self.len()),
        }
    }

    /// The bound; 0 for none.
    #[inline]
    pub fn maxsize(&self) -> u32 {
        self.maxsize.load(Ordering::Relaxed)
    }

    /// Whether the queue is shut down.
    #[inline]
    pub fn is_shut(&self) -> bool {
        self.state.load(Ordering::SeqCst) & SHUT != 0
    }

    /// Whether it counts unfinished messages.
    #[inline]
    pub fn is_joinable(&self) -> bool {
        self.state.load(Ordering::Relaxed) & JOINABLE != 0
    }

    /// The line in which getters wait.
    pub fn items(&self) -> &Line {
        &self.items
    }

    /// The line in which putters wait.
    pub fn space(&self) -> &Line {
        &self.space
    }

    /// The event count on which joiners wait.
    pub fn finished(&self) -> &EventCount {
        &self.finished
    }

    /// A snapshot of its counters.
    pub fn statistics<S: Store>(&self) -> QueueStatistics {
        let unfinished = if self.is_joinable() { self.unfinished::<S>() } else { 0 };
        QueueStatistics { unfinished, ..self.counters() }
    }

    /// A snapshot of those counters that are in the queue itself: all but the number of unfinished messages, which is 0.
    pub fn counters(&self) -> QueueStatistics {
        let died = |lock: &Lock| lock.statistics().owners_died;
        QueueStatistics {
            size: self.len(),
            maxsize: self.maxsize(),
            put: Cursor::unpack(self.tail.load(Ordering::Relaxed)).count,
            got: Cursor::unpack(self.head.load(Ordering::Relaxed)).count,
            unfinished: 0,
            getters_waiting: self.items.sleepers(),
            putters_waiting: self.space.sleepers(),
            shut_down: self.is_shut(),
            owners_died: died(&self.tail_lock).saturating_add(died(&self.head_lock)),
            bytes: self.bytes(),
        }
    }

    /// The processes that received messages and have not finished them, as far as they are noted in the queue itself.
    pub fn consumers(&self) -> impl Iterator<Item = Loss> {
        self.consumers.noted()
    }

    /// Whether a block published at `position` belongs to a message in the queue.
    pub fn holds_position(&self, position: u32) -> bool {
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst));
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst));
        position.wrapping_sub(head.position) < tail.position.wrapping_sub(head.position)
    }

    /// Whether the sheet of consumers at `place` is linked.
    ///
    /// The caller prevents allocations meanwhile, so that no sheet of this queue is reused.
    pub fn holds_sheet<S: Store>(&self, place: Place) -> bool {
        self.consumers.holds::<S>(place)
    }

    /// Whether the chunk at `place`, created with this `index`, is part of the chain from head to tail. *No* is final
    /// if its creator is dead, or if it was part of the chain before.
    ///
    /// The caller prevents allocations meanwhile, so that no chunk of this queue is reused.
    pub fn holds_chunk<S: Store>(&self, place: Place, index: u32) -> bool {
        // A chunk that cannot be inspected is not garbage.
        self.reaches_chunk::<S>(place, index).unwrap_or(true)
    }

    fn reaches_chunk<S: Store>(&self, place: Place, index: u32) -> Result<bool, Trouble> {
        let chunk = Chunk::glance::<S>(place)?;
        if !chunk.is_linked() {
            // It may have been linked by the last step of a putter that died before it could mark it.
            let is_here = |word: &AtomicU64| word.load(Ordering::SeqCst) == place.get();
            if is_here(&self.head_chunk) {
                return Ok(true);
            }
            if let Some(tail) = Place::new(self.tail_chunk.load(Ordering::SeqCst)) {
                if Chunk::glance::<S>(tail)?.next() == place.get() {
                    return Ok(true);
                }
            }
            if is_here(&self.tail_chunk) {
                return Ok(true);
            }
            // Another putter may have used it in the meantime. Otherwise its address died with its creator.
            if !chunk.is_linked() {
                return Ok(false);
            }
        }
        // Indexes in the chain have no gaps, and chunks leave it only at the front.
        let Some(head) = Place::new(self.head_chunk.load(Ordering::SeqCst)) else { return Ok(false) };
        Ok(index.wrapping_sub(Chunk::glance::<S>(head)?.index()) <= i32::MAX as u32)
    }
}

/// One of the queue's own locks, held. It is released even if the thread unwinds, which leaves the queue as consistent
/// as a death does: see README.md, "What an unwinding thread leaves".
struct Hold<'q, H: Home> {
    lock: &'q Lock,
    home: PhantomData<H>,
}

impl<H: Home> Drop for Hold<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if !crate::crash::has_died() {
            // Damage may have released it in the meantime.
            let _ = self.lock.release::<H>();
        }
    }
}

/// Acquires one of the queue's own locks. They are held for nanoseconds, and dead holders are noticed soon, so even
/// callers that do not wait for messages wait for these, but not forever, since a holder may be stopped.
#[inline(always)]
fn lock<'q, H: Home>(lock: &'q Lock, patience: &Patience<'_>) -> Result<Hold<'q, H>, Stopped> {
    if lock.try_acquire_now::<H>() { Ok(Hold { lock, home: PhantomData }) } else { lock_slow(lock, patience) }
}

#[cold]
fn lock_slow<'q, H: Home>(lock: &'q Lock, patience: &Patience<'_>) -> Result<Hold<'q, H>, Stopped> {
    if damage::is_marked(H::SCOPE) {
        return Err(Stopped::Damaged);
    }
    if H::try_me().is_none() {
        return Err(Stopped::NoPart);
    }
    if patience.is_instant() {
        return Err(Stopped::TimedOut);
    }
    lock_in_time::<H>(lock, &patience.at_least_a_second())
}

/// Acquires one of the queue's own locks, for no longer than `patience` allows.
fn lock_in_time<'q, H: Home>(lock: &'q Lock, patience: &Patience<'_>) -> Result<Hold<'q, H>, Stopped> {
    lock.acquire_inner::<H>(patience)?;
    Ok(Hold { lock, home: PhantomData })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn queue(head: (u32, u32), tail: (u32, u32)) -> Queue {
        let queue = Queue::new(0, false);
        for (word, (count, position)) in [(&queue.head, head), (&queue.tail, tail)] {
            word.store(Cursor { count, position }.pack(), Ordering::Relaxed);
        }
        queue
    }

    /// Blocks that a putter published at the tail and did not commit are not held, and neither are those already
    /// received.
    #[test]
    fn what_stands_between_head_and_tail_is_held() {
        for head in [0, 1000, u32::MAX - 5] {
            let queue = queue((0, head), (2, head.wrapping_add(10)));
            let holds = |from_head: i32| queue.holds_position(head.wrapping_add(from_head as u32));
            assert_eq!([-1, 0, 1, 9, 10, 11].map(holds), [false, true, true, true, false, false]);
        }
        assert!(!queue((3, 70), (3, 70)).holds_position(70), "the queue is empty");
    }

    #[test]
    fn numbers_of_messages_wrap() {
        let queue = queue((u32::MAX, 0), (2, 6));
        assert_eq!((queue.len(), queue.is_empty(), queue.bytes()), (3, false, 48));
    }
}
