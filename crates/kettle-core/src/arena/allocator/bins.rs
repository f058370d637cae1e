//! Free runs in their bins: pushing, taking, and listing them.
//!
//! All of this requires the allocator's lock, so plain loads and stores suffice.

use core::sync::atomic::Ordering;

use crate::arena::error::ArenaError;
use crate::arena::layout::bins::{Bins, Shelf, bin_of};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{Kind, Run};
use crate::arena::pages;
use crate::damage::What;

/// How many runs of a bin with different lengths are examined before going to the next bin.
const LOOKS: usize = 16;

/// A free run that is in no bin.
#[derive(Clone, Copy, Debug)]
pub(in crate::arena) struct FreeRun {
    pub at: Off,
    pub pages: u32,
    pub kind: Kind,
}

/// Pushes a free run onto its bin.
pub(in crate::arena) fn push(bins: &Bins, run: FreeRun) -> Result<(), ArenaError> {
    let shelf = bins.shelf(run.kind);
    let bin = bin_of(run.pages);
    let head = &shelf.heads()[bin];
    pages::entry(run.at)?.link.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
    shelf.note_occupied(bin);
    head.store(run.at.to_bits(), Ordering::Relaxed);
    Ok(())
}

/// Takes a run of at least `pages` pages from the best-fitting bin that has one.
pub(in crate::arena) fn take(bins: &Bins, kind: Kind, pages: u32) -> Result<Option<FreeRun>, ArenaError> {
    let shelf = bins.shelf(kind);
    let mut bin = bin_of(pages);
    while let Some(found) = shelf.next_occupied(bin) {
        if let Some(run) = take_from(shelf, found, kind, pages)? {
            return Ok(Some(run));
        }
        bin = found + 1;
    }
    Ok(None)
}

fn take_from(shelf: &Shelf, bin: usize, kind: Kind, pages: u32) -> Result<Option<FreeRun>, ArenaError> {
    let mut previous = &shelf.heads()[bin];
    for _ in 0..LOOKS {
        let Some(at) = Off::from_bits(previous.load(Ordering::Relaxed)) else { break };
        let (entry, run) = match pages::run_of_now(at) {
            Some((page, entry, run)) if run.kind == kind && page == at => (entry, run),
            _ => (pages::entry(at)?, free_run_after_all(at, kind, bin)?),
        };
        if run.pages >= pages {
            previous.store(entry.link.load(Ordering::Relaxed), Ordering::Relaxed);
            shelf.note_if_empty(bin);
            return Ok(Some(FreeRun { at, pages: run.pages, kind }));
        }
        previous = &entry.link;
    }
    shelf.note_if_empty(bin);
    Ok(None)
}

/// The free run that a bin refers to, at the first access to its segment.
#[cold]
fn free_run_after_all(at: Off, kind: Kind, bin: usize) -> Result<Run, ArenaError> {
    let (page, run) = pages::run_of(at)?;
    let run = run.filter(|run| run.kind == kind && page == at);
    run.ok_or_else(|| pages::damaged(What::Bins, at, bin as u64))
}

/// The content of all bins, at most `most` runs.
pub(in crate::arena) fn contents(bins: &Bins, most: usize) -> Result<Vec<FreeRun>, ArenaError> {
    let mut all = Vec::new();
    for kind in [Kind::Warm, Kind::Cold] {
        for (bin, head) in bins.shelf(kind).heads().iter().enumerate() {
            let mut next = Off::from_bits(head.load(Ordering::Relaxed));
            while let Some(at) = next.filter(|_| all.len() <= most) {
                let run = pages::run_at(at)?.filter(|run| run.kind == kind && bin_of(run.pages) == bin);
                let run = run.ok_or_else(|| pages::damaged(What::Bins, at, bin as u64))?;
                all.push(FreeRun { at, pages: run.pages, kind });
                next = Off::from_bits(pages::entry(at)?.link.load(Ordering::Relaxed));
            }
        }
    }
    Ok(all)
}
