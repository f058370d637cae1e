//! Object headers: the first 64 bytes of every allocation, which record what it is and what keeps it alive.
//!
//! ```text
//! FREE ──allocate──► NEW ──publish──► LIVE ──last holder gone──► DYING ──► FREE
//!                     └──────────────────free────────────────────▲
//! ```
//!
//! * NEW: being filled; only its creator knows of it, so it is garbage once that process is dead.
//! * LIVE: kept by any live participant among its holders; or by a message that names it; or PINNED; or OVERFLOW; or
//!   reachable from something alive (according to the census).
//! * DYING: being torn down by its only holder. If that process dies as well, the remains are freed without further
//!   checks.
//!
//! PINNED: its token was given away by other means than a message, so nothing represents it. OVERFLOW: there was no
//! memory to record another holder. Both keep it alive for the rest of the session.
//!
//! Holders are added by a holder (for another process) or under the allocator's lock, and an object begins to die only
//! under that lock; so no process can become a holder of an object that is already dying.

use crate::arena::layout::participant::Participant;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};

/// The kind of lists of names.
pub const NAMES: u32 = 4;

/// The home of a list of names whose message travels outside the session's view.
pub(crate) const ON_ITS_WAY: u64 = u64::MAX;

/// The number of holders in a header.
pub(crate) const FIRST: usize = 5;

/// The length of a header; the data follows, and is therefore aligned to 64 bytes.
pub(crate) const HEADER: u64 = size_of::<ObjectHeader>() as u64;

const _: () = assert!(HEADER == 64);

#[repr(C, align(64))]
pub(crate) struct ObjectHeader {
    /// See [`State`]. Storing it commits the other fields.
    state: AtomicU64,
    /// The length of the data.
    len: AtomicU64,
    /// The object from which this one is reachable, and the position in it; while free: the next free one of its size.
    pub home: AtomicU64,
    pub home_pos: AtomicU64,
    /// The processes that keep it alive.
    pub holders: Holders,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Free,
    New,
    Live,
    Dying,
}

/// ```text
/// 63            32 31         8 7     4 3      0
/// [ generation   ][   kind    ][flags ][ status ]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

pub(crate) const PINNED: u64 = 1 << 4;
pub(crate) const OVERFLOW: u64 = 1 << 5;
/// An exclusive upper bound of kinds.
const KINDS: u32 = 1 << 24;

impl State {
    pub(crate) const fn new(generation: u32, kind: u32, status: Status) -> Self {
        assert!(kind < KINDS);
        Self((generation as u64) << 32 | (kind as u64) << 8 | status as u64)
    }
    pub(crate) const fn status(self) -> Status {
        match self.0 & 15 {
            1 => Status::New,
            2 => Status::Live,
            3 => Status::Dying,
            _ => Status::Free,
        }
    }
    const fn with(self, status: Status) -> Self {
        Self(self.0 & !15 | status as u64)
    }
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(crate) const fn kind(self) -> u32 {
        (self.0 >> 8) as u32 & (KINDS - 1)
    }
    /// Whether it lives as long as the session.
    pub(crate) const fn is_kept(self) -> bool {
        self.0 & (PINNED | OVERFLOW) != 0
    }
}

impl ObjectHeader {
    /// Writes a header, to be committed by its state. Overwrites everything about the previous object.
    pub(crate) fn prepare(&self, len: u64, holder: Participant) {
        self.len.store(len, Ordering::Relaxed);
        self.home.store(0, Ordering::Relaxed);
        self.home_pos.store(0, Ordering::Relaxed);
        self.holders.begin(holder);
    }

    pub(crate) fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }
    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state.0, Ordering::Release);
    }
    /// Changes the status and preserves the flags, which other processes may set concurrently.
    pub(crate) fn set_status(&self, status: Status) {
        let mut seen = self.state.load(Ordering::Relaxed);
        while let Err(now) =
            self.state.compare_exchange_weak(seen, State(seen).with(status).0, Ordering::AcqRel, Ordering::Relaxed)
        {
            seen = now;
        }
    }
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }
    /// Whether it lives as long as the session, or until a message arrives that is outside the session's view.
    pub(crate) fn is_pinned(&self) -> bool {
        let state = self.state();
        let is_on_its_way = || state.kind() == NAMES && self.home.load(Ordering::Relaxed) == ON_ITS_WAY;
        state.status() != Status::Free && (state.is_kept() || is_on_its_way())
    }

    /// Sets a flag, and returns the state before.
    pub(crate) fn set_flag(&self, flag: u64) -> State {
        State(self.state.fetch_or(flag, Ordering::AcqRel))
    }
}

impl core::fmt::Debug for ObjectHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ObjectHeader").field("state", &self.state()).field("len", &self.len()).finish()
    }
}

#[repr(C)]
pub(crate) struct Holders {
    /// The number of lists of names that keep the object alive as well; see `objects::names`. Changed under the
    /// allocator's lock.
    names: AtomicU32,
    pub first: [AtomicU32; FIRST],
    /// The first sheet, or 0.
    pub more: AtomicU64,
}

impl Holders {
    /// Initializes the holders of a new object, overwriting any previous content: one holder.
    pub(crate) fn begin(&self, p: Participant) {
        self.names.store(0, Ordering::Relaxed);
        self.first[0].store(p.to_bits(), Ordering::Relaxed);
        self.first[1..].iter().for_each(|e| e.store(0, Ordering::Relaxed));
        self.more.store(0, Ordering::Relaxed);
    }

    /// The number of lists that name it. After a death this may be out of date until a reclaim corrects it.
    pub(crate) fn name_count(&self) -> u32 {
        self.names.load(Ordering::Relaxed)
    }

    /// Whether a list names it; see [`name_count`](Self::name_count).
    pub(crate) fn is_named(&self) -> bool {
        self.name_count() != 0
    }

    /// With the allocator's lock held: sets the number of lists that name it.
    pub(crate) fn set_names(&self, count: u32) {
        self.names.store(count, Ordering::Relaxed);
    }

    /// With the allocator's lock held: counts one more list.
    pub(crate) fn named(&self) {
        self.set_names(self.names.load(Ordering::Relaxed).saturating_add(1));
    }

    /// With the allocator's lock held: counts one list less; returns whether that was the last one.
    pub(crate) fn no_longer_named(&self) -> bool {
        let names = self.names.load(Ordering::Relaxed);
        self.set_names(names.saturating_sub(1));
        names == 1
    }

    /// Whether `p` is among the entries in the header, for a caller that does not know whether the object stays: links
    /// are not followed.
    pub(crate) fn are_first(&self, p: Participant) -> bool {
        self.first.iter().any(|e| e.load(Ordering::Acquire) == p.to_bits())
    }
}
