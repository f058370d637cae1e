//! The first segment, which every process of the session finds at a fixed position.
//!
//! It consists of words that are zero at first, so a fresh file *is* an empty header; parts that were never touched
//! take no memory.

use crate::atomics::{AtomicU32, AtomicU64};
use crate::damage::Mark;
use crate::wait::Doorbells;

use crate::arena::layout::bins::Bins;
use crate::arena::layout::participant_rows::Table;
use crate::arena::layout::wait_rows::Waiters;

/// "kettle" with a first byte that no text file starts with.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"\x89kettle\n");
/// Incremented with every change to anything that processes share.
pub(crate) const LAYOUT: u32 = 8;
/// The length of the first segment: a multiple of every page size.
pub(crate) const HEADER_LEN: usize = 2 << 20;
/// The maximum number of segments, including the header.
pub(crate) const SEGMENTS: usize = 1024;

const _: () = assert!(size_of::<Header>() <= HEADER_LEN);

#[repr(C)]
pub(crate) struct Header {
    /// [`MAGIC`]; stored last when the session begins.
    pub magic: AtomicU64,
    /// [`LAYOUT`].
    pub layout: AtomicU32,
    /// Set when a process died since the last reclaim: there may be garbage.
    pub dirty: AtomicU32,
    /// A random number that identifies the session.
    pub session: AtomicU64,
    /// The PID namespace of the process that began the session; 0 if unknown.
    pub namespace: AtomicU64,
    /// The maximum total size of the data segments in bytes; 0 means no limit.
    pub limit: AtomicU64,
    /// The maximum number of bytes of free runs that are kept warm.
    pub warm_limit: AtomicU64,
    /// The allocator's lock. See `allocator::lock`.
    pub lock: AtomicU64,
    /// Set when a lock holder died or failed halfway: the bins must be rebuilt before they are used.
    pub stale: AtomicU32,
    /// Assigned to each new object, so that a name of an earlier object at the same offset is not mistaken for its own.
    pub generation: AtomicU32,
    /// The number of entries of `segments` in use.
    pub segment_count: AtomicU32,
    _pad: AtomicU32,
    /// Cold bytes allocated since the system's headroom was last checked.
    pub unchecked: AtomicU64,
    /// Runs freed since neighbours were last merged.
    pub freed: AtomicU64,
    /// Runs left by the last merge.
    pub runs: AtomicU64,
    /// The number of frees before which the free lists are not rebuilt to release memory, which is too expensive to do
    /// often.
    pub stock_due: AtomicU64,
    /// The mark of damage.
    pub damage: Mark,
    /// Pages by use; exact while the lock is held.
    pub counts: Counts,
    pub doorbells: Doorbells,
    pub segments: [SegmentEntry; SEGMENTS],
    pub bins: Bins,
    pub participants: Table,
    pub waiters: Waiters,
}

/// Each field with its offset and length in bytes, for tests that overwrite them.
pub(crate) fn layout() -> Vec<(&'static str, usize, usize)> {
    macro_rules! fields {
        ($($field:ident),* $(,)?) => {
            vec![$((stringify!($field), core::mem::offset_of!(Header, $field), size(|h: &Header| &h.$field))),*]
        };
    }
    const fn size<T>(_: fn(&Header) -> &T) -> usize {
        size_of::<T>()
    }
    fields![
        magic,
        layout,
        dirty,
        session,
        namespace,
        limit,
        warm_limit,
        lock,
        stale,
        generation,
        segment_count,
        unchecked,
        freed,
        runs,
        stock_due,
        damage,
        counts,
        doorbells,
        segments,
        bins,
        participants,
        waiters,
    ]
}

#[repr(C)]
pub(crate) struct Counts {
    pub allocated_pages: AtomicU64,
    pub warm_pages: AtomicU64,
    pub cold_pages: AtomicU64,
    /// Bytes of free small objects, in allocated pages.
    pub spare_bytes: AtomicU64,
    pub objects: AtomicU64,
    /// The objects that are kept as long as the session lives.
    pub pinned: AtomicU64,
}

/// The position of a segment in the file. Written before `segment_count` covers it, and never changed after that.
#[repr(C)]
pub(crate) struct SegmentEntry {
    pub offset: AtomicU64,
    pub len: AtomicU64,
}
