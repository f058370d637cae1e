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

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::atomics::AtomicU64;

use super::alloc::{self, Allocator};
use super::error::{ArenaError, TokenError};
use super::holders::Holders;
use super::names::{NAMES, ON_ITS_WAY};
use super::offset::Off;
use super::pages::{self, Kind, PAGE};
use super::participants::{self, Participant};
use super::{segment, slab};
use crate::damage::{self, What};

/// The length of a header; the data follows, and is therefore aligned to 64 bytes.
pub(super) const HEADER: u64 = size_of::<ObjectHeader>() as u64;

const _: () = assert!(HEADER == 64);

#[repr(C, align(64))]
pub(super) struct ObjectHeader {
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
pub(super) enum Status {
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
pub(super) struct State(u64);

const PINNED: u64 = 1 << 4;
const OVERFLOW: u64 = 1 << 5;
/// An exclusive upper bound of kinds.
const KINDS: u32 = 1 << 24;

impl State {
    pub(super) const fn new(generation: u32, kind: u32, status: Status) -> Self {
        assert!(kind < KINDS);
        Self((generation as u64) << 32 | (kind as u64) << 8 | status as u64)
    }
    pub(super) const fn status(self) -> Status {
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
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(super) const fn kind(self) -> u32 {
        (self.0 >> 8) as u32 & (KINDS - 1)
    }
    /// Whether it lives as long as the session.
    pub(super) const fn is_kept(self) -> bool {
        self.0 & (PINNED | OVERFLOW) != 0
    }
}

/// The header at `off`, whether or not it is one: 64 aligned bytes of atomics, in a mapping that stays.
///
/// # Errors
/// If its segment cannot be mapped here, or the offset is invalid.
#[inline]
pub(super) fn header_at(off: Off) -> Result<&'static ObjectHeader, ArenaError> {
    if off.byte() % HEADER != 0 {
        return Err(pages::damaged(What::Place, off, off.byte()));
    }
    let start = segment::resolve(off, HEADER)?;
    // SAFETY: the bytes are inside a segment, whose base is page-aligned and which stays mapped; any bytes are a valid
    // header, which is changed by atomics only.
    Ok(unsafe { start.cast::<ObjectHeader>().as_ref() })
}

impl ObjectHeader {
    /// Writes a header, to be committed by its state. Overwrites everything about the previous object.
    pub(super) fn prepare(&self, len: u64, holder: Participant) {
        self.len.store(len, Ordering::Relaxed);
        self.home.store(0, Ordering::Relaxed);
        self.home_pos.store(0, Ordering::Relaxed);
        self.holders.begin(holder);
    }

    pub(super) fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state.0, Ordering::Release);
    }
    /// Changes the status and preserves the flags, which other processes may set concurrently.
    pub(super) fn set_status(&self, status: Status) {
        let mut seen = self.state.load(Ordering::Relaxed);
        while let Err(now) =
            self.state.compare_exchange_weak(seen, State(seen).with(status).0, Ordering::AcqRel, Ordering::Relaxed)
        {
            seen = now;
        }
    }
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }
    pub(super) fn pin(&self) {
        self.keep(PINNED, None);
    }

    /// Keeps it alive as long as the session lives. `allocator`: the lock, if the caller has it.
    fn keep(&self, flag: u64, allocator: Option<&Allocator>) {
        // Pinned objects are counted under the lock.
        let header = segment::header_if_any();
        let _lock = match (allocator, header) {
            (None, Some(header)) => Allocator::lock(header).ok(),
            _ => None,
        };
        let before = State(self.state.fetch_or(flag, Ordering::AcqRel));
        if let (false, Some(header)) = (before.is_kept(), header) {
            alloc::add(&header.counts.pinned, 1);
        }
    }

    /// Whether it lives as long as the session, or until a message arrives that is outside the session's view.
    pub(super) fn is_pinned(&self) -> bool {
        let state = self.state();
        let is_on_its_way = || state.kind() == NAMES && self.home.load(Ordering::Relaxed) == ON_ITS_WAY;
        state.status() != Status::Free && (state.is_kept() || is_on_its_way())
    }

    /// Adds a holder, unless the object is kept in any case. Called by a holder, or under the allocator's lock.
    pub(super) fn add_holder(&self, off: Off, p: Participant, allocator: Option<&Allocator>) {
        if !self.state().is_kept() && self.holders.add(off, p, allocator).is_err() {
            self.keep(OVERFLOW, allocator);
        }
    }

    /// Makes it DYING in the hands of `p`.
    pub(super) fn condemn(&self, p: Participant) -> Result<(), ArenaError> {
        self.holders.replace(Some(p))?;
        self.set_status(Status::Dying);
        Ok(())
    }
}

/// An object of any kind as seen by code that builds on raw memory, with the address of its data in this process.
///
/// A `Raw` owns nothing: it may be copied, and dropping it has no effect.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    off: Off,
    header: &'static ObjectHeader,
    data: NonNull<u8>,
    /// The length of the data at the time of creation, which is inside the segment. Later changes to the header have no
    /// effect on it.
    len: usize,
    cold: bool,
}

// SAFETY: a Raw is an address of memory that stays mapped; accesses to the data are unsafe code elsewhere, and the
// header consists of atomics.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

impl core::fmt::Debug for ObjectHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ObjectHeader").field("state", &self.state()).field("len", &self.len()).finish()
    }
}

/// Allocates an object with `len` bytes of data of arbitrary content. It is NEW, and held by this process.
///
/// # Errors
/// [`ArenaError::OutOfMemory`] if there is no room.
pub fn allocate(kind: u32, len: usize) -> Result<Raw, ArenaError> {
    let me = Participant::of(participants::try_me()?);
    let placed = alloc::allocate(segment::header()?, kind, len as u64, me)?;
    // The run has just been created with that length.
    let start = segment::resolve(placed.off, HEADER + len as u64)?;
    Ok(Raw::new(placed.off, start, len, placed.cold))
}

impl Raw {
    /// The object at `off`, which is at `start` in this process: a multiple of 64 bytes inside a segment, with room for
    /// a header and `len` bytes.
    #[inline(always)]
    fn new(off: Off, start: NonNull<u8>, len: usize, cold: bool) -> Self {
        // SAFETY: the bytes are inside a segment, whose base is page-aligned and which stays mapped; any bytes are a
        // valid header, which is changed by atomics only. The data follows.
        let (header, data) = unsafe { (start.cast::<ObjectHeader>().as_ref(), start.add(HEADER as usize)) };
        Self { off, header, data, len, cold }
    }

    /// The object at `off`, free or not. Keeping it alive is the caller's responsibility.
    ///
    /// # Errors
    /// If its segment cannot be mapped here, or no object begins there.
    #[inline]
    pub(crate) fn at(off: Off) -> Result<Self, ArenaError> {
        match look_now(off) {
            Some(raw) => Ok(raw),
            None => look_after_all(off)?.ok_or_else(|| pages::damaged(What::Object, off, 0)),
        }
    }

    pub(super) fn header(&self) -> &'static ObjectHeader {
        self.header
    }

    /// Its offset, which names it within the session.
    pub fn off(&self) -> Off {
        self.off
    }

    /// The address of its data in this process, aligned to 64 bytes.
    pub fn data(&self) -> NonNull<u8> {
        self.data
    }

    /// The length of its data in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Distinguishes it from earlier and later objects at the same offset.
    pub fn generation(&self) -> u32 {
        self.header.state().generation()
    }

    /// Whether it is published and not being torn down.
    pub(crate) fn is_live(&self) -> bool {
        self.header.state().status() == Status::Live
    }

    /// Its kind.
    pub fn kind(&self) -> u32 {
        self.header.state().kind()
    }

    /// Whether its pages had no memory behind them when it was allocated.
    pub fn is_cold(&self) -> bool {
        self.cold
    }

    /// Declares that its data is complete: from now on the census decides about it when its holders are dead.
    pub fn publish(&self) {
        self.header.set_status(Status::Live);
    }

    /// Sets from where it is reachable. To be called before it is.
    pub fn set_home(&self, home: u64, position: u64) {
        self.header.home_pos.store(position, Ordering::Relaxed);
        self.header.home.store(home, Ordering::Release);
    }

    /// The values set by [`set_home`](Self::set_home).
    pub fn home(&self) -> (u64, u64) {
        (self.header.home.load(Ordering::Acquire), self.header.home_pos.load(Ordering::Relaxed))
    }

    /// Makes `holder` the only holder.
    ///
    /// # Errors
    /// If the list of holders is damaged.
    pub fn stamp(&self, holder: Participant) -> Result<(), ArenaError> {
        self.header.holders.replace(Some(holder))
    }

    /// Removes all holders: it lives as long as the census reaches it.
    ///
    /// # Errors
    /// If the list of holders is damaged.
    pub fn disown(&self) -> Result<(), ArenaError> {
        self.header.holders.replace(None)
    }

    /// Fills the beginning of its data.
    ///
    /// # Safety
    /// No other code accesses the data yet, and `bytes` is not part of it.
    ///
    /// # Panics
    /// If there is less room than bytes.
    pub unsafe fn fill(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len(), "more bytes than the object has room for");
        // SAFETY: the room was checked, and the caller has exclusive access to it.
        unsafe { alloc::copy_in(self.off.plus(HEADER), self.data, self.cold, bytes) };
    }

    /// Fills `len` bytes of its data with zeros, starting at byte `from`.
    ///
    /// # Safety
    /// These bytes are part of the data, and no other code accesses them yet.
    pub(super) unsafe fn clear(&self, from: usize, len: usize) {
        // Cold memory already reads as zeros; writing to it would allocate all of it.
        if !self.cold {
            // SAFETY: the caller guarantees the room and exclusive access to it.
            unsafe { self.data.add(from).write_bytes(0, len) };
        }
    }

    /// Frees it. On errors it is left to a later reclaim.
    ///
    /// # Safety
    /// The caller has the right to free it, and it is no longer in use.
    pub unsafe fn free(&self) {
        // SAFETY: the caller guarantees what `free` requires.
        unsafe { free(self.off, self.header) };
    }
}

/// Frees an object. On errors it is left to a later reclaim; in a damaged arena everything is left as it is.
///
/// # Safety
/// The caller has the right to free it, and it is no longer in use.
pub(super) unsafe fn free(off: Off, object: &'static ObjectHeader) {
    let Ok(me) = participants::try_me() else { return };
    if damage::check().is_err() || object.condemn(Participant::of(me)).is_err() {
        return;
    }
    crate::crash_point("arena.object.dying");
    let Some(header) = segment::header_if_any() else { return };
    let Ok(allocator) = Allocator::lock(header) else { return };
    allocator.free_and_cool(off, object);
}

/// The object that begins at `off`, if the page map says so and its length is possible. None also if its segment is not
/// mapped yet.
#[inline]
fn look_now(off: Off) -> Option<Raw> {
    let (page, _, run) = pages::run_of_now(off)?;
    let room = match run.kind {
        Kind::Object if off == page => u64::from(run.pages) * PAGE,
        Kind::Slab if (off.byte() - page.byte()) % slab::small_size(run.class) == 0 => slab::small_size(run.class),
        _ => return None,
    };
    let (start, _) = segment::resolve_now(off, room)?;
    let mut raw = Raw::new(off, start, 0, false);
    let len = raw.header.len();
    raw.len = len as usize;
    (len <= room - HEADER).then_some(raw)
}

/// As [`look_now`], but maps the segment first.
#[inline]
fn look(off: Off) -> Result<Option<Raw>, ArenaError> {
    match look_now(off) {
        Some(raw) => Ok(Some(raw)),
        None => look_after_all(off),
    }
}

#[cold]
fn look_after_all(off: Off) -> Result<Option<Raw>, ArenaError> {
    pages::run_of(off)?;
    Ok(look_now(off))
}

/// The object that begins at `off`, if there is one: whatever the bits of `off`, only memory that is known to be an
/// object header is accessed. The object may be freed at any time unless it is held, or the allocator's lock is; so
/// anomalies found here need not be damage.
pub(super) fn find(off: Off) -> Result<Option<Raw>, TokenError> {
    let header = segment::header_if_any().ok_or(TokenError::OtherSession)?;
    let count = segment::count(header)?;
    if !(1..count).contains(&off.segment()) || off.byte() % HEADER != 0 {
        return Err(TokenError::Malformed);
    }
    if off.byte() + HEADER > segment::extent_of(off)?.len {
        return Err(TokenError::Malformed);
    }
    Ok(look(off)?)
}

/// The address in this process of memory at `off`, which follows an object header, and its length up to the end of its
/// segment, at least `least`.
///
/// # Errors
/// If the segment cannot be mapped here, or has no such offset.
#[inline(always)]
pub(crate) fn room_at(off: Off, least: usize) -> Result<(NonNull<u8>, usize), ArenaError> {
    let found = segment::resolve_now(off, HEADER + least as u64).filter(|_| off.byte() % HEADER == 0);
    let (start, room) = match found {
        Some(found) => found,
        None => room_after_all(off, least)?,
    };
    // SAFETY: there are at least that many bytes.
    Ok((unsafe { start.add(HEADER as usize) }, (room - HEADER) as usize))
}

#[cold]
fn room_after_all(off: Off, least: usize) -> Result<(NonNull<u8>, u64), ArenaError> {
    if off.byte() % HEADER != 0 {
        return Err(pages::damaged(What::Place, off, off.byte()));
    }
    segment::resolve_at_least(off, HEADER + least as u64)
}
