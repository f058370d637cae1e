//! The memory between head and tail: a chain of chunks, divided into units of eight bytes.

use super::limits::{INLINE_MAX, PARTS_MAX};
use super::store::{Place, Room, Store, Trouble};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::damage::What;

/// A message count and a position in units, moved together by one store.
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

/// Bytes per unit.
pub(super) const UNIT: usize = 8;
/// The first chunk takes one page, including the arena's header of 64 bytes, so that many queues cost little.
#[cfg(not(loom))]
pub(super) const FIRST_LEN: usize = 4096 - 64;
/// Later chunks are large, so that many messages share the cost of an allocation.
#[cfg(not(loom))]
pub(super) const LATER_LEN: usize = 65536 - 64;
/// In a model, a few messages are enough to leave and enter chunks.
#[cfg(loom)]
pub(super) const FIRST_LEN: usize = size_of::<Header>() + TRACED * UNIT;
#[cfg(loom)]
pub(super) const LATER_LEN: usize = FIRST_LEN;

const fn units(len: usize) -> u32 {
    ((len - size_of::<Header>()) / UNIT) as u32
}

/// Units of a later chunk.
pub(super) const LATER_UNITS: u32 = units(LATER_LEN);

// The longest message fits into any chunk.
#[cfg(not(loom))]
const _: () = assert!(units(FIRST_LEN) as usize > 1 + INLINE_MAX / UNIT + PARTS_MAX);

/// Bytes of a chunk's header.
pub(super) const HEADER: usize = size_of::<Header>();
/// How far apart head and tail may be: half of the range of positions.
pub(super) const MOST_UNITS: u32 = 1 << 31;

/// Units of the longest message.
const LONGEST: u32 = (1 + INLINE_MAX / UNIT + PARTS_MAX) as u32;

/// The beginning of a chunk. `base`, `units` and `index` are written before the queue refers to the chunk; a reclaim,
/// which may look earlier, finds zeros or these values.
#[repr(C)]
struct Header {
    /// The next chunk, or 0. Stored once, under the tail's lock.
    next: AtomicU64,
    base: AtomicU32,
    units: AtomicU32,
    index: AtomicU32,
    /// Whether the chunk is known to be part of the chain.
    linked: AtomicU32,
    #[cfg(loom)]
    trace: Trace,
}

/// A chunk as mapped in this process. The part of its header that locates it was read once and validated, so its units
/// are memory of the queue's store, whatever other processes write into the header.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    header: *mut Header,
    base: u32,
    units: u32,
    place: Place,
}

/// A chunk whose header alone is inspected.
#[derive(Clone, Copy)]
pub(super) struct Glance(*mut Header);

/// In place of a message: the rest of the chunk is unused.
const SKIP: u64 = u64::MAX;

impl Glance {
    fn of(room: Room) -> Self {
        debug_assert!(room.len >= HEADER);
        Self(room.at.cast())
    }

    fn header(&self) -> &Header {
        // SAFETY: a store provides at least a header's memory, aligned to eight, and never unmaps it; a chunk begins
        // with zeros, which are a valid header, and is changed by atomics only.
        unsafe { &*self.0 }
    }

    pub(super) fn index(self) -> u32 {
        self.header().index.load(Ordering::Relaxed)
    }

    pub(super) fn next(self) -> u64 {
        self.header().next.load(Ordering::Acquire)
    }

    pub(super) fn is_linked(self) -> bool {
        self.header().linked.load(Ordering::Acquire) != 0
    }
}

impl Chunk {
    /// The header of the chunk at `place`, for a reclaim: the chunk may be freed at any time.
    pub(super) fn glance<S: Store>(place: Place) -> Result<Glance, Trouble> {
        S::at(place).map(Glance::of)
    }

    /// The chunk at `place`, which is part of the chain.
    #[inline(always)]
    pub(super) fn at<S: Store>(place: Place) -> Result<Self, Trouble> {
        let room = S::at(place)?;
        let glance = Glance::of(room);
        let header = glance.header();
        let (base, units) = (header.base.load(Ordering::Relaxed), header.units.load(Ordering::Relaxed));
        let is_a_length = units == self::units(FIRST_LEN) || units == self::units(LATER_LEN);
        if !is_a_length || HEADER + units as usize * UNIT > room.len {
            return Err(S::damaged(What::Chunk, place.get(), u64::from(units)));
        }
        Ok(Self { header: glance.0, base, units, place })
    }

    /// The chunk at `next`, if it follows this one.
    pub(super) fn followed_by<S: Store>(self, next: Place) -> Result<Self, Trouble> {
        let chunk = Self::at::<S>(next)?;
        if chunk.base != self.end() || chunk.index() != self.index().wrapping_add(1) {
            return Err(S::damaged(What::Chunk, next.get(), u64::from(chunk.base)));
        }
        Ok(chunk)
    }

    fn glanced(&self) -> Glance {
        Glance(self.header)
    }

    fn header(&self) -> &Header {
        // SAFETY: as in `Glance::header`.
        unsafe { &*self.header }
    }

    /// Initializes an empty chunk of `len` bytes at `place`, which is fresh memory that no other thread knows yet. It
    /// begins at position `base`.
    pub(super) fn begin<S: Store>(place: Place, base: u32, len: usize, index: u32) -> Result<Self, Trouble> {
        let (glance, units) = (Glance::of(S::at(place)?), units(len));
        #[cfg(loom)]
        // SAFETY: fresh memory of at least a header. A model's atomics must be created before they are used.
        unsafe {
            glance.0.write(Header {
                next: AtomicU64::new(0),
                base: AtomicU32::new(0),
                units: AtomicU32::new(0),
                index: AtomicU32::new(0),
                linked: AtomicU32::new(0),
                trace: Trace::default(),
            });
        }
        let header = glance.header();
        // A store provides zeros: not linked, and without a next chunk.
        header.base.store(base, Ordering::Relaxed);
        header.units.store(units, Ordering::Relaxed);
        header.index.store(index, Ordering::Relaxed);
        Ok(Self { header: glance.0, base, units, place })
    }

    pub(super) fn place(self) -> Place {
        self.place
    }

    pub(super) fn base(self) -> u32 {
        self.base
    }

    /// The position after its last unit, where the next chunk begins.
    pub(super) fn end(self) -> u32 {
        self.base.wrapping_add(self.units)
    }

    pub(super) fn index(self) -> u32 {
        self.glanced().index()
    }

    pub(super) fn next(self) -> u64 {
        self.glanced().next()
    }

    pub(super) fn link(self, next: Place) {
        self.header().next.store(next.get(), Ordering::Release);
    }

    /// Marks it as part of the chain.
    pub(super) fn set_linked(self) {
        self.header().linked.store(1, Ordering::Release);
    }

    /// Where to continue in this chunk: at `position` if that is inside or at the end; otherwise at the base, because
    /// the thread that moved here died before it could record that.
    ///
    /// The gap that is skipped is shorter than the longest message, which did not fit there.
    #[inline(always)]
    pub(super) fn enter<S: Store>(self, position: u32) -> Result<u32, Trouble> {
        if self.is_before(position) {
            return Ok(position);
        }
        if self.base.wrapping_sub(position) >= LONGEST {
            return Err(S::damaged(What::Cursor, self.place.get(), u64::from(position)));
        }
        Ok(self.base)
    }

    /// Whether `position` is inside the chunk or at its end.
    pub(super) fn is_before(self, position: u32) -> bool {
        position.wrapping_sub(self.base) <= self.units
    }

    /// The address of a position inside the chunk, before its end.
    pub(super) fn unit(self, position: u32) -> *mut u64 {
        let offset = position.wrapping_sub(self.base);
        debug_assert!(offset < self.units);
        // SAFETY: the caller found the position inside the chunk, whose units follow its header and were validated as
        // memory of the store when the chunk was located.
        unsafe { self.header.add(1).cast::<u64>().add(offset as usize) }
    }

    /// Marks the rest of this chunk as unused.
    pub(super) fn skip(self, position: u32) {
        self.writing(position);
        // SAFETY: beyond the tail, with its lock held, inside the chunk.
        unsafe { write(self.unit(position), SKIP) };
    }

    pub(super) fn is_skip(self, position: u32) -> bool {
        self.reading(position);
        // SAFETY: inside the chunk.
        unsafe { read(self.unit(position)) == SKIP }
    }
}

/// Reads a unit once; later writes do not affect the value read.
///
/// # Safety
/// `at` is aligned and inside a chunk.
#[inline]
pub(super) unsafe fn read(at: *const u64) -> u64 {
    // SAFETY: as the caller promises; the first unit of a message and the units that name blocks are accessed by
    // atomics only.
    unsafe { (*at.cast::<core::sync::atomic::AtomicU64>()).load(core::sync::atomic::Ordering::Relaxed) }
}

/// Writes a unit.
///
/// # Safety
/// As for [`read`].
#[inline]
pub(super) unsafe fn write(at: *mut u64, value: u64) {
    // SAFETY: as the caller promises.
    unsafe { (*at.cast::<core::sync::atomic::AtomicU64>()).store(value, core::sync::atomic::Ordering::Relaxed) };
}

/// A model's stand-in for the units of a chunk, which are plain memory: one cell each, so that loom detects a read of a
/// message that is not ordered after its write.
#[cfg(loom)]
const TRACED: usize = 5;
#[cfg(loom)]
type Trace = [loom::cell::UnsafeCell<()>; TRACED];

impl Chunk {
    /// Tells the model that the unit at `position` is being written.
    pub(super) fn writing(self, position: u32) {
        #[cfg(loom)]
        self.header().trace[position.wrapping_sub(self.base) as usize].with_mut(|_| ());
        #[cfg(not(loom))]
        let _ = position;
    }

    /// Tells the model that the unit at `position` is being read.
    pub(super) fn reading(self, position: u32) {
        #[cfg(loom)]
        self.header().trace[position.wrapping_sub(self.base) as usize].with(|_| ());
        #[cfg(not(loom))]
        let _ = position;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Body, Parcel};
    use super::*;
    use crate::shared::HeapStore as S;

    const FIRST_UNITS: u32 = units(FIRST_LEN);

    /// One chunk of each length: the first begins at `base` and is followed by the second.
    fn chain(base: u32) -> [Chunk; 2] {
        let begin = |base, len, index| Chunk::begin::<S>(S::chunk(len, Place::MIN, index).unwrap(), base, len, index);
        let first = begin(base, FIRST_LEN, 0).unwrap();
        let second = begin(first.end(), LATER_LEN, 1).unwrap();
        first.link(second.place());
        [first, second]
    }

    fn give_back(chunks: [Chunk; 2]) {
        // SAFETY: the test created them and no longer uses them.
        chunks.iter().for_each(|chunk| unsafe { S::free_chunk(chunk.place()) });
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        let chunks = chain(0);
        let [short, long] = chunks;
        for (chunk, units, can_be) in [
            (short, FIRST_UNITS, true),
            (short, FIRST_UNITS + 1, false),
            (short, 0, false),
            // There is less memory than that.
            (short, LATER_UNITS, false),
            (long, LATER_UNITS, true),
            (long, LATER_UNITS - 1, false),
            (long, u32::MAX, false),
            (long, FIRST_UNITS, true),
        ] {
            chunk.header().units.store(units, Ordering::Relaxed);
            assert_eq!(Chunk::at::<S>(chunk.place()).is_ok(), can_be, "{units}");
        }
        give_back(chunks);
    }

    #[test]
    fn a_link_to_another_chunk_is_not_believed() {
        for base in [0, 12_345, u32::MAX - 3] {
            let chunks = chain(base);
            let [first, second] = chunks;
            assert_eq!(first.next(), second.place().get());
            assert!(first.followed_by::<S>(second.place()).is_ok());
            assert!(first.followed_by::<S>(first.place()).is_err(), "a chunk cannot follow itself");
            second.header().base.store(first.end().wrapping_add(1), Ordering::Relaxed);
            assert!(first.followed_by::<S>(second.place()).is_err());
            second.header().base.store(first.end(), Ordering::Relaxed);
            second.header().index.store(2, Ordering::Relaxed);
            assert!(first.followed_by::<S>(second.place()).is_err());
            give_back(chunks);
        }
    }

    #[test]
    fn no_message_is_longer_than_the_longest() {
        let parts = (0..PARTS_MAX).map(|_| Box::default()).collect();
        let longest = Parcel::<S>::blocks(0, Body::Inline(&[0; INLINE_MAX]), parts);
        assert_eq!(longest.units(), LONGEST);
    }

    #[test]
    fn a_chunk_is_entered_where_it_was_left_or_at_its_beginning() {
        for base in [0, 70_000, u32::MAX - 3] {
            let chunks = chain(base);
            let enter = |from: u32| chunks[0].enter::<S>(base.wrapping_add(from)).ok().map(|p| p.wrapping_sub(base));
            assert_eq!([0, 1, FIRST_UNITS].map(enter), [Some(0), Some(1), Some(FIRST_UNITS)]);
            // Positions before it are at the end of another chunk, in which the longest message did not fit.
            assert_eq!([-1, 1 - LONGEST as i32].map(|from| enter(from as u32)), [Some(0); 2]);
            assert_eq!([-(LONGEST as i32), i32::MIN].map(|from| enter(from as u32)), [None; 2]);
            assert_eq!([FIRST_UNITS + 1, 1 << 30].map(enter), [None; 2]);
            give_back(chunks);
        }
    }
}
