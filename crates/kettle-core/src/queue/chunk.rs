//! The memory between head and tail: a chain of chunks, cut into units of eight bytes.

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
pub(super) const FIRST_LEN: usize = 4096 - 64;
/// Later ones are large, so that their allocation is shared by many messages.
pub(super) const LATER_LEN: usize = 65536 - 64;
/// How far head and tail may be apart; half of what positions can tell apart.
pub(super) const MOST_UNITS: u32 = 1 << 31;

/// What stands at the beginning of a chunk. Plain words: putters write them before the commit that leads a getter here.
#[repr(C)]
struct Header {
    next: u64,
    base: u32,
    units: u32,
    index: u32,
    _pad: u32,
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
        // SAFETY: a chunk begins with a header (`begin` wrote it before anybody learnt of the chunk), and it is written
        // afterwards only by `link`, through a raw pointer, under the tail's lock; a getter that reads `next` has seen
        // the commit that came after it.
        unsafe { &*self.0 }
    }

    /// Makes an empty chunk of `len` bytes that begins at position `base`.
    pub(super) fn begin(self, base: u32, len: usize, index: u32) {
        let units = ((len - size_of::<Header>()) / UNIT) as u32;
        // SAFETY: the chunk is fresh memory of at least `len` bytes that nobody else knows yet.
        unsafe { self.0.write(Header { next: 0, base, units, index, _pad: 0 }) };
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
        // SAFETY: as in `header`; volatile because `link` may have written it since.
        unsafe { (&raw const (*self.0).next).read_volatile() }
    }

    pub(super) fn link(self, next: u64) {
        // SAFETY: only the holder of the tail's lock links, once; getters do not look before the commit.
        unsafe { (&raw mut (*self.0).next).write_volatile(next) };
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
        // SAFETY: beyond the tail, under its lock, inside the chunk.
        unsafe { self.unit(position).cast::<u64>().write(SKIP) };
    }

    pub(super) fn is_skip(self, position: u32) -> bool {
        // SAFETY: between head and tail, where a putter wrote a message or this mark before its commit.
        unsafe { self.unit(position).cast::<u64>().read() == SKIP }
    }
}
