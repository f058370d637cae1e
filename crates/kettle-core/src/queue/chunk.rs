//! The memory between head and tail: a chain of chunks, cut into units of eight bytes.

use crate::atomics::{AtomicU32, AtomicU64, Ordering};

/// A count of messages and a position in units, moved together by one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) count: u32,
    pub(super) position: u32,
}

impl Cursor {
    pub(super) fn pack(self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.position)
    }

    pub(super) fn unpack(word: u64) -> Self {
        Self { count: (word >> 32) as u32, position: word as u32 }
    }
}

/// Bytes of a unit.
pub(super) const UNIT: usize = 8;
/// The first chunk is a page, so that many queues cost little; with the arena's header of 64 bytes it fills it.
#[cfg(not(loom))]
pub(super) const FIRST_LEN: usize = 4096 - 64;
/// Later ones are large, so that their allocation is shared by many messages.
#[cfg(not(loom))]
pub(super) const LATER_LEN: usize = 65536 - 64;
/// In a model, chunks are left and entered within a few messages.
#[cfg(loom)]
pub(super) const FIRST_LEN: usize = size_of::<Header>() + TRACED * UNIT;
#[cfg(loom)]
pub(super) const LATER_LEN: usize = FIRST_LEN;

const fn units(len: usize) -> u32 {
    ((len - size_of::<Header>()) / UNIT) as u32
}

// The longest message fits into any chunk.
#[cfg(not(loom))]
const _: () = assert!(units(FIRST_LEN) as usize > 1 + super::INLINE_MAX / UNIT + super::PARTS_MAX);

/// Bytes of a chunk's header.
pub(super) const HEADER: usize = size_of::<Header>();
/// How far head and tail may be apart; half of what positions can tell apart.
pub(super) const MOST_UNITS: u32 = 1 << 31;

/// What stands at the beginning of a chunk. `base` and `units` are written once, before anybody learns of the chunk.
#[repr(C)]
struct Header {
    /// The chunk behind this one, or 0. Stored once, under the tail's lock.
    next: AtomicU64,
    base: u32,
    units: u32,
    index: u32,
    /// Whether it has become part of the chain: until then only its maker's intention says so.
    linked: AtomicU32,
    #[cfg(loom)]
    trace: Trace,
}

/// A chunk where this process has it.
#[derive(Clone, Copy)]
pub(super) struct Chunk(*mut Header);

/// In place of a message: the rest of the chunk is empty.
const SKIP: u64 = u64::MAX;

impl Chunk {
    /// `at` comes from [`Store::at`](super::Store::at).
    pub(super) fn at(at: *mut u8) -> Self {
        Self(at.cast())
    }

    fn header(&self) -> &Header {
        // SAFETY: a chunk begins with a header (`begin` wrote it before anybody learnt of the chunk); what changes in
        // it afterwards is atomic, and the chunk stays while its queue's lock, or the arena's, is held by who looks.
        unsafe { &*self.0 }
    }

    /// Makes an empty chunk of `len` bytes that begins at position `base`.
    pub(super) fn begin(self, base: u32, len: usize, index: u32) {
        let units = units(len);
        let header = Header {
            next: AtomicU64::new(0),
            base,
            units,
            index,
            linked: AtomicU32::new(0),
            #[cfg(loom)]
            trace: Trace::default(),
        };
        // SAFETY: the chunk is fresh memory of at least `len` bytes that nobody else knows yet.
        unsafe { self.0.write(header) };
    }

    pub(super) fn base(self) -> u32 {
        self.header().base
    }

    /// The position after its last unit, where the next chunk begins.
    pub(super) fn end(self) -> u32 {
        self.base().wrapping_add(self.header().units)
    }

    pub(super) fn index(self) -> u32 {
        self.header().index
    }

    pub(super) fn next(self) -> u64 {
        self.header().next.load(Ordering::Acquire)
    }

    pub(super) fn link(self, next: u64) {
        self.header().next.store(next, Ordering::Release);
    }

    /// Says that it is part of the chain.
    pub(super) fn set_linked(self) {
        self.header().linked.store(1, Ordering::Release);
    }

    pub(super) fn is_linked(self) -> bool {
        self.header().linked.load(Ordering::Acquire) != 0
    }

    /// Whether the chunk begins at or before `position`, and ends at or after it.
    pub(super) fn is_before(self, position: u32) -> bool {
        position.wrapping_sub(self.base()) <= self.header().units
    }

    /// The address of a position inside the chunk.
    pub(super) fn unit(self, position: u32) -> *mut u8 {
        let offset = position.wrapping_sub(self.base());
        debug_assert!(offset < self.header().units);
        // SAFETY: the offset is within the chunk, whose units follow its header.
        unsafe { self.0.add(1).cast::<u8>().add(offset as usize * UNIT) }
    }

    /// Says that nothing follows in this chunk.
    pub(super) fn skip(self, position: u32) {
        self.writing(position);
        // SAFETY: beyond the tail, under its lock, inside the chunk.
        unsafe { self.unit(position).cast::<u64>().write(SKIP) };
    }

    pub(super) fn is_skip(self, position: u32) -> bool {
        self.reading(position);
        // SAFETY: between head and tail, where a putter wrote a message or this mark before its commit.
        unsafe { self.unit(position).cast::<u64>().read() == SKIP }
    }
}

/// A model's view of the units of a chunk, which are plain memory: one cell each, so that loom finds out if somebody
/// reads a message that is not ordered after its writing.
#[cfg(loom)]
const TRACED: usize = 5;
#[cfg(loom)]
type Trace = [loom::cell::UnsafeCell<()>; TRACED];

impl Chunk {
    /// Tells a model that the unit at `position` is written.
    pub(super) fn writing(self, position: u32) {
        #[cfg(loom)]
        self.header().trace[position.wrapping_sub(self.base()) as usize].with_mut(|_| ());
        #[cfg(not(loom))]
        let _ = position;
    }

    /// Tells a model that the unit at `position` is read.
    pub(super) fn reading(self, position: u32) {
        #[cfg(loom)]
        self.header().trace[position.wrapping_sub(self.base()) as usize].with(|_| ());
        #[cfg(not(loom))]
        let _ = position;
    }
}
