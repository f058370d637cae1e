//! Objects as found in memory: their headers, and the addresses of their data in this process.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::arena::error::{ArenaError, TokenError};
use crate::arena::layout::object_header::{HEADER, ObjectHeader, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{Kind, PAGE};
use crate::arena::layout::size_classes::small_size;
use crate::arena::{pages, segment};
use crate::damage::What;

/// The header at `off`, whether or not it is one: 64 aligned bytes of atomics, in a mapping that stays.
///
/// # Errors
/// If its segment cannot be mapped here, or the offset is invalid.
#[inline]
pub(in crate::arena) fn header_at(off: Off) -> Result<&'static ObjectHeader, ArenaError> {
    if off.byte() % HEADER != 0 {
        return Err(pages::damaged(What::Place, off, off.byte()));
    }
    let start = segment::resolve(off, HEADER)?;
    // SAFETY: the bytes are inside a segment, whose base is page-aligned and which stays mapped; any bytes are a valid
    // header, which is changed by atomics only.
    Ok(unsafe { start.cast::<ObjectHeader>().as_ref() })
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

impl Raw {
    /// The object at `off`, which is at `start` in this process: a multiple of 64 bytes inside a segment, with room for
    /// a header and `len` bytes.
    #[inline(always)]
    pub(in crate::arena) fn new(off: Off, start: NonNull<u8>, len: usize, cold: bool) -> Self {
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

    pub(in crate::arena) fn header(&self) -> &'static ObjectHeader {
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
        unsafe { segment::copy_in(self.off.plus(HEADER), self.data, self.cold, bytes) };
    }

    /// Fills `len` bytes of its data with zeros, starting at byte `from`.
    ///
    /// # Safety
    /// These bytes are part of the data, and no other code accesses them yet.
    pub(in crate::arena) unsafe fn clear(&self, from: usize, len: usize) {
        // Cold memory already reads as zeros; writing to it would allocate all of it.
        if !self.cold {
            // SAFETY: the caller guarantees the room and exclusive access to it.
            unsafe { self.data.add(from).write_bytes(0, len) };
        }
    }
}

/// The object that begins at `off`, if the page map says so and its length is possible. None also if its segment is not
/// mapped yet.
#[inline]
fn look_now(off: Off) -> Option<Raw> {
    let (page, _, run) = pages::run_of_now(off)?;
    let room = match run.kind {
        Kind::Object if off == page => u64::from(run.pages) * PAGE,
        Kind::Slab if (off.byte() - page.byte()) % small_size(run.class) == 0 => small_size(run.class),
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
pub(in crate::arena) fn find(off: Off) -> Result<Option<Raw>, TokenError> {
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
