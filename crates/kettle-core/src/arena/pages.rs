//! The page map: what each page of a segment is used for. It alone is authoritative.
//!
//! A segment begins with sixteen bytes for each of its pages. The pages form *runs*; the entry of a run's first page
//! holds its kind and length, so the runs are found by walking from the first page on. Every change of what is
//! allocated is one store to such a word:
//!
//! ```text
//! taking part of a free run      write the remainder's head, then the head: ALLOC, shorter
//! freeing                        the head: FREE
//! merging neighbours             the first head: FREE, longer; then clear the second
//! ```
//!
//! A process that dies between two stores leaves a map that can be walked and shows either the old or the new state.

use core::sync::atomic::Ordering;

use crate::atomics::AtomicU64;
use crate::damage::{self, What};
use crate::sys::futex::Scope;

use super::error::ArenaError;
use super::header::Header;
use super::offset::Off;
use super::segment::{self, Extent};
use super::slab;

/// The unit of allocation, independent of the kernel's page size.
pub(super) const PAGE: u64 = 4096;
const ENTRY: u64 = size_of::<PageEntry>() as u64;

#[repr(C)]
pub(super) struct PageEntry {
    /// A [`Run`] if this is the first page of one.
    pub run: AtomicU64,
    /// For a free run: the offset of the next one in its bin, or 0.
    pub link: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Free, with memory behind its pages.
    Warm,
    /// Free, and reads as zeros; without memory behind it, except perhaps for a page here and there.
    Cold,
    /// One object.
    Object,
    /// Many small objects of one size.
    Slab,
    /// The page map itself.
    Map,
}

/// ```text
/// 63         32 31     16 15    8 7    0
/// [   pages    ]    0     [class ][kind]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub kind: Kind,
    /// For a slab: the index of its size.
    pub class: u8,
    pub pages: u32,
}

impl Run {
    pub(super) const fn new(kind: Kind, pages: u32) -> Self {
        Self { kind, class: 0, pages }
    }

    pub(super) const fn is_free(self) -> bool {
        matches!(self.kind, Kind::Warm | Kind::Cold)
    }

    pub(super) const fn to_bits(self) -> u64 {
        let kind = match self.kind {
            Kind::Warm => 1,
            Kind::Cold => 2,
            Kind::Object => 3,
            Kind::Slab => 4,
            Kind::Map => 5,
        };
        (self.pages as u64) << 32 | (self.class as u64) << 8 | kind
    }

    pub(super) const fn from_bits(bits: u64) -> Option<Self> {
        let kind = match bits as u8 {
            1 => Kind::Warm,
            2 => Kind::Cold,
            3 => Kind::Object,
            4 => Kind::Slab,
            5 => Kind::Map,
            _ => return None,
        };
        let pages = (bits >> 32) as u32;
        if pages == 0 { None } else { Some(Self { kind, class: (bits >> 8) as u8, pages }) }
    }
}

/// The page that contains `off`, its entry, and the run that begins there, which ends inside its segment: the result of
/// [`run_of`] in the normal case. For a caller that calls `run_of` if this finds nothing.
#[inline(always)]
pub(super) fn run_of_now(off: Off) -> Option<(Off, &'static PageEntry, Run)> {
    let segment = segment::extent_now(off).filter(|segment| off.byte() < segment.len)?;
    let number = off.byte() / PAGE;
    // SAFETY: as in `entry_in`.
    let entry = unsafe { segment.base.add((number * ENTRY) as usize).cast::<PageEntry>().as_ref() };
    let run = Run::from_bits(entry.run.load(Ordering::Acquire))?;
    let fits = (number + u64::from(run.pages)) * PAGE <= segment.len;
    (fits && (run.kind != Kind::Slab || slab::is_class(run))).then(|| (off.page(), entry, run))
}

/// The entry of the page that contains `at`.
///
/// # Errors
/// If the segment cannot be mapped here, or has no such page.
pub(super) fn entry(at: Off) -> Result<&'static PageEntry, ArenaError> {
    entry_in(segment::extent_of(at)?, at)
}

fn entry_in(segment: Extent, at: Off) -> Result<&'static PageEntry, ArenaError> {
    if at.byte() >= segment.len {
        return Err(damaged(What::Place, at, segment.len));
    }
    let page = at.byte() / PAGE;
    // SAFETY: the page is one of the segment's, whose map is at its beginning and has an entry for each page; entries
    // are atomics, and mappings are never removed.
    Ok(unsafe { segment.base.add((page * ENTRY) as usize).cast::<PageEntry>().as_ref() })
}

/// The run that begins at `at`, if there is one; it ends inside its segment.
///
/// # Errors
/// See [`entry`]; and if the entry says that it ends elsewhere.
pub(super) fn run_at(at: Off) -> Result<Option<Run>, ArenaError> {
    let segment = segment::extent_of(at)?;
    let bits = entry_in(segment, at)?.run.load(Ordering::Acquire);
    let Some(run) = Run::from_bits(bits) else { return Ok(None) };
    let is_slab = run.kind == Kind::Slab;
    if at.byte() + u64::from(run.pages) * PAGE > segment.len || (is_slab && !slab::is_class(run)) {
        return Err(damaged(What::Pages, at, bits));
    }
    Ok(Some(run))
}

/// The page that contains `off`, and the run that begins there, if there is one.
///
/// # Errors
/// See [`run_at`].
#[inline]
pub(super) fn run_of(off: Off) -> Result<(Off, Option<Run>), ArenaError> {
    match run_of_now(off) {
        Some((page, _, run)) => Ok((page, Some(run))),
        None => run_of_after_all(off),
    }
}

#[cold]
fn run_of_after_all(off: Off) -> Result<(Off, Option<Run>), ArenaError> {
    // Pages of the header have no offset, so the page has one if it exists.
    entry(off)?;
    let page = off.page();
    Ok((page, run_at(page)?))
}

/// The run that begins at `at`, where there must be one.
///
/// # Errors
/// See [`run_at`]; and if there is none.
pub(super) fn the_run_at(at: Off) -> Result<Run, ArenaError> {
    match run_at(at)? {
        Some(run) => Ok(run),
        None => Err(damaged(What::Pages, at, entry(at)?.run.load(Ordering::Relaxed))),
    }
}

pub(super) fn damaged(what: What, at: Off, value: u64) -> ArenaError {
    damage::mark(Scope::Shared, what, at.to_bits(), value).into()
}

/// The number of pages of the map of a segment of `len` bytes.
pub(super) const fn map_pages(len: u64) -> u64 {
    (len / PAGE * ENTRY).div_ceil(PAGE)
}

/// Initializes a new segment before it is visible to others: the map, and one cold run.
///
/// # Safety
/// `base` maps `len` bytes of zeros, to which no other code has access yet.
pub(super) unsafe fn lay_out(base: core::ptr::NonNull<u8>, len: u64) -> Run {
    let map = map_pages(len);
    let rest = Run::new(Kind::Cold, (len / PAGE - map) as u32);
    // SAFETY: both entries are in the map at the segment's beginning; zeros are valid entries.
    unsafe {
        let entries = base.cast::<PageEntry>();
        entries.as_ref().run.store(Run::new(Kind::Map, map as u32).to_bits(), Ordering::Relaxed);
        entries.add(map as usize).as_ref().run.store(rest.to_bits(), Ordering::Relaxed);
    }
    rest
}

/// Visits all runs of all segments, in order.
///
/// # Errors
/// If a segment cannot be mapped here, or its map is inconsistent; or the error of `visit`.
pub(super) fn walk(
    header: &Header,
    mut visit: impl FnMut(Off, Run) -> Result<(), ArenaError>,
) -> Result<(), ArenaError> {
    for segment in 1..segment::count(header)? {
        let end = segment::extent(segment)?.len;
        let mut at = Off::new(segment, 0);
        while at.byte() < end {
            // Each run is at least a page long and ends inside the segment, so this terminates.
            let run = the_run_at(at)?;
            let next = at.byte() + u64::from(run.pages) * PAGE;
            visit(at, run)?;
            at = Off::new(segment, next);
        }
    }
    Ok(())
}
