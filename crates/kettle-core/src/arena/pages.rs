//! The page maps of the segments as mapped here: finding a page's entry, and walking over all runs.

use core::sync::atomic::Ordering;

use crate::damage::{self, What};
use crate::sys::futex::Scope;

use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{ENTRY, Kind, PAGE, PageEntry, Run, map_pages};
use crate::arena::layout::size_classes::is_class;
use crate::arena::segment::{self, Extent};

/// The page that contains `off`, its entry, and the run that begins there, which ends inside its segment: the result of
/// [`run_of`] in the normal case. For a caller that calls `run_of` if this finds nothing.
#[inline(always)]
pub(in crate::arena) fn run_of_now(off: Off) -> Option<(Off, &'static PageEntry, Run)> {
    let segment = segment::extent_now(off).filter(|segment| off.byte() < segment.len)?;
    let number = off.byte() / PAGE;
    // SAFETY: as in `entry_in`.
    let entry = unsafe { segment.base.add((number * ENTRY) as usize).cast::<PageEntry>().as_ref() };
    let run = Run::from_bits(entry.run.load(Ordering::Acquire))?;
    let fits = (number + u64::from(run.pages)) * PAGE <= segment.len;
    (fits && (run.kind != Kind::Slab || is_class(run))).then(|| (off.page(), entry, run))
}

/// The entry of the page that contains `at`.
///
/// # Errors
/// If the segment cannot be mapped here, or has no such page.
pub(in crate::arena) fn entry(at: Off) -> Result<&'static PageEntry, ArenaError> {
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
pub(in crate::arena) fn run_at(at: Off) -> Result<Option<Run>, ArenaError> {
    let segment = segment::extent_of(at)?;
    let bits = entry_in(segment, at)?.run.load(Ordering::Acquire);
    let Some(run) = Run::from_bits(bits) else { return Ok(None) };
    let is_slab = run.kind == Kind::Slab;
    if at.byte() + u64::from(run.pages) * PAGE > segment.len || (is_slab && !is_class(run)) {
        return Err(damaged(What::Pages, at, bits));
    }
    Ok(Some(run))
}

/// The page that contains `off`, and the run that begins there, if there is one.
///
/// # Errors
/// See [`run_at`].
#[inline]
pub(in crate::arena) fn run_of(off: Off) -> Result<(Off, Option<Run>), ArenaError> {
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
pub(in crate::arena) fn the_run_at(at: Off) -> Result<Run, ArenaError> {
    match run_at(at)? {
        Some(run) => Ok(run),
        None => Err(damaged(What::Pages, at, entry(at)?.run.load(Ordering::Relaxed))),
    }
}

pub(in crate::arena) fn damaged(what: What, at: Off, value: u64) -> ArenaError {
    damage::mark(Scope::Shared, what, at.to_bits(), value).into()
}

/// Initializes a new segment before it is visible to others: the map, and one cold run.
///
/// # Safety
/// `base` maps `len` bytes of zeros, to which no other code has access yet.
pub(in crate::arena) unsafe fn lay_out(base: core::ptr::NonNull<u8>, len: u64) -> Run {
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
pub(in crate::arena) fn walk(
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
