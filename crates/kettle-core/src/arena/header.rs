//! The first segment: what every process of the session must find at a fixed place.
//!
//! All of it is words that are zero at first, so a fresh file *is* an empty header; parts that were never touched
//! cost no memory.

use crate::atomics::{AtomicU32, AtomicU64};
use crate::damage::Mark;
use crate::wait::Doorbells;

use super::bins::Bins;
use super::participants::Table;
use super::waiters::Waiters;

/// "kettle" and a byte that no text file begins with.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"\x89kettle\n");
/// Counts changes of anything that processes share.
pub(super) const LAYOUT: u32 = 7;
/// The length of the first segment: a multiple of every page size.
pub(super) const HEADER_LEN: usize = 2 << 20;
/// How many segments there can be, the header among them.
pub(super) const SEGMENTS: usize = 1024;

const _: () = assert!(size_of::<Header>() <= HEADER_LEN);

#[repr(C)]
pub(super) struct Header {
    /// [`MAGIC`]; stored last when the session begins.
    pub magic: AtomicU64,
    /// [`LAYOUT`].
    pub layout: AtomicU32,
    /// Somebody died since the last reclaim: there may be garbage.
    pub dirty: AtomicU32,
    /// A random number: which session this is.
    pub session: AtomicU64,
    /// The pid namespace of the process that began the session; 0 if it could not be told.
    pub namespace: AtomicU64,
    /// The most bytes that data segments may take together; 0: no limit.
    pub limit: AtomicU64,
    /// The most bytes of free runs that are kept warm.
    pub warm_limit: AtomicU64,
    /// Who allocates. See [`super::lock`].
    pub lock: AtomicU64,
    /// A lock holder died, or could not finish: the bins must be made anew before they are believed.
    pub stale: AtomicU32,
    /// Given to each new object, so that a name of an old one is not taken for it.
    pub generation: AtomicU32,
    /// How many entries of `segments` are in use.
    pub segment_count: AtomicU32,
    _pad: AtomicU32,
    /// Cold bytes handed out since the system's headroom was last looked at.
    pub unchecked: AtomicU64,
    /// Runs freed since neighbours were last merged.
    pub freed: AtomicU64,
    /// Runs that the last merge left.
    pub runs: AtomicU64,
    /// Before so many were freed, no stock is taken to give memory back: it costs too much to be done often.
    pub stock_due: AtomicU64,
    /// Whether a word was found that cannot be.
    pub damage: Mark,
    /// Pages by what they are used for; exact while the lock is held.
    pub counts: Counts,
    pub doorbells: Doorbells,
    pub segments: [SegmentEntry; SEGMENTS],
    pub bins: Bins,
    pub participants: Table,
    pub waiters: Waiters,
}

/// Each field with its place and length in bytes: for tests that write over them.
pub(super) fn layout() -> Vec<(&'static str, usize, usize)> {
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
pub(super) struct Counts {
    pub allocated_pages: AtomicU64,
    pub warm_pages: AtomicU64,
    pub cold_pages: AtomicU64,
    /// Bytes of free small objects, in pages that are allocated.
    pub spare_bytes: AtomicU64,
    pub objects: AtomicU64,
    /// Those of them that are kept for as long as the session lives.
    pub pinned: AtomicU64,
}

/// Where in the file a segment lies. Written before `segment_count` covers it, never changed after.
#[repr(C)]
pub(super) struct SegmentEntry {
    pub offset: AtomicU64,
    pub len: AtomicU64,
}
