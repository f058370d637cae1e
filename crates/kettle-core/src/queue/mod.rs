//! A queue of messages in memory handed to it.
//!
//! The protocol — who writes which word when, and what a death at each step leaves behind — is in `README.md` beside
//! this file. In one sentence: a putter prepares everything beyond the tail and publishes it by storing one word; a
//! getter makes what it takes its own and commits by storing one word; each side has a lock that knows its holder.
//!
//! | module | what it is |
//! |---|---|
//! | `put` | the tail: room, the message, the commit |
//! | `get` | the head: the oldest message, the commit, chunks that are read to their end |
//! | `join`, `consumers` | what was taken and is not done with |
//! | `chunk`, `message` | how messages stand in memory |
//! | `weight` | how many bytes wait inside |
//! | `local` | a queue of values between threads |

mod ahead;
mod chunk;
mod consumers;
mod get;
mod join;
#[cfg(not(loom))]
pub mod local;
mod message;
mod put;
mod weight;

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU64;

pub use consumers::{Loss, TooManyDone};
pub use get::{GetError, TakeAllError};
pub use join::JoinError;
pub use message::{Body, Parcel, Taken};
pub use put::PutError;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::damage::{self, What};
use crate::stats::QueueStatistics;
use crate::sync::{Home, Lock, OnOwnerDeath};
use crate::sys::descriptor::DescriptorLost;
use crate::wait::{EventCount, Line, Patience, Stopped};
use ahead::Ahead;
use chunk::{Chunk, Cursor};
use consumers::Consumers;
use weight::Bytes;

/// Names a piece of memory of a [`Store`]: an offset in the arena, an address on the heap.
pub type Place = NonZeroU64;

/// There is no memory for what was asked, or this process cannot map it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// What stands in the way, and what to do about it.
    Memory(String),
    /// The program closed the descriptor of the memory, which therefore cannot grow.
    DescriptorLost(DescriptorLost),
    /// This process cannot take part in the session.
    NoPart,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(text) => f.write_str(text),
            Self::DescriptorLost(lost) => lost.fmt(f),
            Self::NoPart => f.write_str("this process cannot take part in the session"),
        }
    }
}

/// Why a [`Store`] cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no memory, or no address space for it.
    Exhausted(Exhausted),
    /// A word of the queue, or of its memory, cannot be; the session is marked.
    Damaged,
}

/// Memory of a chunk, where this process has it.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Its first byte, aligned to eight.
    pub at: *mut u8,
    /// So many bytes from there on are memory of the store, be it the chunk's or not. It is at least
    /// [`CHUNK_ZEROED`].
    pub len: usize,
}

/// Where a queue's memory comes from.
///
/// # Safety
/// `chunk` and `sheet` give memory for as many bytes as asked, aligned to eight, which nobody else uses until
/// `free_chunk`; a chunk begins with [`CHUNK_ZEROED`] zeros. `at` gives an address for any place that `chunk` gave, and
/// where others can write into the queue, for any number at all: the address and the length of memory that this process
/// may read and write, or an error; likewise `sheet_at`, and `find`, whose result `claim` turns into what `publish` was
/// given under that place.
pub unsafe trait Store {
    /// What its place can tell.
    type Home: Home;
    /// A piece of payload, owned by whoever has it.
    type Block;
    /// A piece of payload that was looked up: mapped here, and what it should be.
    type Found;

    /// Memory for a chunk: the `index`-th of `queue`.
    ///
    /// # Errors
    /// When there is none.
    fn chunk(len: usize, queue: Place, index: u32) -> Result<Place, Trouble>;
    /// Makes a chunk or a sheet the caller's, who is about to take it out of its queue: should the caller die in the
    /// middle of that, it is found as the caller's.
    ///
    /// # Errors
    /// When there is none.
    ///
    /// # Safety
    /// The caller holds the right to take it out.
    unsafe fn claim_chunk(place: Place) -> Result<(), Trouble>;
    /// Gives a chunk or a sheet back; what is neither is left alone.
    ///
    /// # Safety
    /// It was claimed, and nobody uses it any more.
    unsafe fn free_chunk(place: Place);
    /// Memory of `len` bytes for further consumers of the queue that `chunk` belongs to; given back by `free_chunk`.
    ///
    /// # Errors
    /// When there is none.
    fn sheet(len: usize, chunk: Place) -> Result<Place, Trouble>;
    /// From now on a sheet belongs to its queue alone, and no longer to the caller, who made and linked it.
    ///
    /// # Safety
    /// The sheet came from `sheet`, and is linked.
    unsafe fn disown_sheet(place: Place);
    /// Where a sheet of `len` bytes is in this process.
    ///
    /// # Errors
    /// When it cannot be mapped, or is none.
    fn sheet_at(place: Place, len: usize) -> Result<*mut u8, Trouble>;
    /// Where a chunk is in this process.
    ///
    /// # Errors
    /// When it cannot be mapped, or is nowhere.
    fn at(place: Place) -> Result<Room, Trouble>;
    /// Says that `value`, a word of a queue or of its chunk at `place`, cannot be.
    fn damaged(what: What, place: u64, value: u64) -> Trouble {
        damage::mark(Self::Home::SCOPE, what, place, value);
        Trouble::Damaged
    }

    /// Makes ready for being named by `queue` at `position`: from the commit on, the queue owns it.
    fn publish(block: Self::Block, queue: Place, position: u32) -> Place;
    /// Looks up a block that a message at `position` names, so that nothing can go wrong when it is claimed.
    ///
    /// # Errors
    /// When it cannot be mapped, or no block is there.
    fn find(place: Place, position: u32) -> Result<Self::Found, Trouble>;
    /// Makes a published block the caller's.
    ///
    /// # Safety
    /// The caller holds the right to take it.
    unsafe fn claim(found: Self::Found) -> Self::Block;
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

    /// Gives back all memory. What damage has made impossible to find stays.
    ///
    /// # Safety
    /// Nobody uses the queue any more.
    pub unsafe fn teardown<S: Store>(&self) {
        self.clear::<S>();
        // SAFETY: nobody uses the queue.
        unsafe { self.consumers.teardown::<S>() };
        self.tail_chunk.store(0, Ordering::Release);
        let mut place = Place::new(self.head_chunk.load(Ordering::Acquire));
        let mut chunk = place.and_then(|place| Chunk::at::<S>(place).ok());
        while let (Some(here), Some(at)) = (place, chunk) {
            place = Place::new(at.next());
            chunk = place.and_then(|next| at.followed_by::<S>(next).ok());
            // SAFETY: nobody uses the queue, and no chunk is linked twice, since each follows the one before it. Claimed
            // first, so that it is ours to free also in the eyes of a reclaim that looks just now.
            unsafe {
                if S::claim_chunk(here).is_err() {
                    return;
                }
                self.head_chunk.store(place.map_or(0, Place::get), Ordering::Release);
                S::free_chunk(here);
            }
        }
    }

    /// The number of messages inside.
    pub fn len(&self) -> u32 {
        self.head_and_len().1
    }

    /// The number of the oldest message, or of the next one, and how many there are.
    #[inline]
    fn head_and_len(&self) -> (u32, u32) {
        // The head first: if messages are got meanwhile, there are too many by those, never less than none.
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst)).count;
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst)).count;
        (head, tail.wrapping_sub(head))
    }

    /// Whether there is no message inside.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would wait.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.spare() == 0
    }

    /// How many messages it has room for, as far as the bound goes.
    #[inline]
    pub fn spare(&self) -> u32 {
        match self.maxsize() {
            0 => u32::MAX,
            n => n.saturating_sub(self.len()),
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

    /// Where getters wait.
    pub fn items(&self) -> &Line {
        &self.items
    }

    /// Where putters wait.
    pub fn space(&self) -> &Line {
        &self.space
    }

    /// Where those wait who join.
    pub fn finished(&self) -> &EventCount {
        &self.finished
    }

    /// How it is.
    pub fn statistics<S: Store>(&self) -> QueueStatistics {
        let died = |lock: &Lock| lock.statistics().owners_died;
        QueueStatistics {
            size: self.len(),
            maxsize: self.maxsize(),
            put: Cursor::unpack(self.tail.load(Ordering::Relaxed)).count,
            got: Cursor::unpack(self.head.load(Ordering::Relaxed)).count,
            unfinished: if self.is_joinable() { self.unfinished::<S>() } else { 0 },
            getters_waiting: self.items.sleepers(),
            putters_waiting: self.space.sleepers(),
            shut_down: self.is_shut(),
            owners_died: died(&self.tail_lock) + died(&self.head_lock),
            bytes: self.bytes(),
        }
    }

    /// Whether a block that was published at `position` is still to be got.
    pub fn holds_position(&self, position: u32) -> bool {
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst));
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst));
        position.wrapping_sub(head.position) < tail.position.wrapping_sub(head.position)
    }

    /// Whether the sheet of consumers at `place` is linked.
    ///
    /// The caller keeps memory from being allocated meanwhile, so that no sheet of this queue is given other content.
    pub fn holds_sheet<S: Store>(&self, place: Place) -> bool {
        self.consumers.holds::<S>(place)
    }

    /// Whether the chunk at `place`, made as the `index`-th, is part of the chain from head to tail. *No* is for good
    /// if its maker is dead, or if it was part of the chain once.
    ///
    /// The caller keeps memory from being allocated meanwhile, so that no chunk of this queue is given other content.
    pub fn holds_chunk<S: Store>(&self, place: Place, index: u32) -> bool {
        // What cannot be looked at is not garbage.
        self.reaches_chunk::<S>(place, index).unwrap_or(true)
    }

    fn reaches_chunk<S: Store>(&self, place: Place, index: u32) -> Result<bool, Trouble> {
        let chunk = Chunk::glance::<S>(place)?;
        if !chunk.is_linked() {
            // It may have been reached by the last step of a putter who died before he could mark it.
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
            // Between these looks somebody may have used it. Otherwise its address died with its maker.
            if !chunk.is_linked() {
                return Ok(false);
            }
        }
        // Chunks of the chain have indices without gaps, and it is left at the front only.
        let Some(head) = Place::new(self.head_chunk.load(Ordering::SeqCst)) else { return Ok(false) };
        Ok(index.wrapping_sub(Chunk::glance::<S>(head)?.index()) <= i32::MAX as u32)
    }
}

/// One of the queue's own locks, held: they are left also by a thread that unwinds. What it leaves is whole, as after a
/// death: see README.md, "a death at each step".
struct Hold<'q, H: Home> {
    lock: &'q Lock,
    home: PhantomData<H>,
}

impl<H: Home> Drop for Hold<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if !crate::crash::has_died() {
            // Damage may have freed it meanwhile.
            let _ = self.lock.release::<H>();
        }
    }
}

/// Takes one of the queue's own locks. They are held for nanoseconds, and their dead holders are found soon, so even a
/// caller that does not wait for messages waits for these; if a holder is stopped, not for ever.
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

/// Takes one of the queue's own locks, and waits for it no longer than is said.
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

    /// What a putter published at the tail and did not commit is not held; nor is what was got.
    #[test]
    fn what_stands_between_head_and_tail_is_held() {
        for head in [0, 1000, u32::MAX - 5] {
            let queue = queue((0, head), (2, head.wrapping_add(10)));
            let holds = |from_head: i32| queue.holds_position(head.wrapping_add(from_head as u32));
            assert_eq!([-1, 0, 1, 9, 10, 11].map(holds), [false, true, true, true, false, false]);
        }
        assert!(!queue((3, 70), (3, 70)).holds_position(70), "it is empty");
    }

    #[test]
    fn numbers_of_messages_wrap() {
        let queue = queue((u32::MAX, 0), (2, 6));
        assert_eq!((queue.len(), queue.is_empty(), queue.bytes()), (3, false, 48));
    }
}
