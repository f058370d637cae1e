//! Rebuilding the free lists: bins and counts are rebuilt from the page maps, neighbours merged, and memory released.

use core::sync::atomic::Ordering;

use crate::arena::allocator::alloc::{Allocator, add};
use crate::arena::allocator::bins::{self, FreeRun};
use crate::arena::allocator::slab;
use crate::arena::error::ArenaError;
use crate::arena::layout::object_header::Status;
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{Kind, PAGE, Run};
use crate::arena::layout::size_classes::small_size;
use crate::arena::objects::raw;
use crate::arena::pages;
use crate::arena::segment::cool;

/// Which free neighbours are merged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::arena) enum Merge {
    /// Those of the same kind.
    Alike,
    /// All; where kinds differ, the memory of the warm one is returned to the system first.
    All,
}

impl Allocator {
    /// Rebuilds bins and counts from the page maps, merging neighbours on the way.
    pub(in crate::arena) fn rebuild(&self, merge: Merge) -> Result<(), ArenaError> {
        self.rebuild_keeping(merge, u64::MAX)
    }

    /// The same, and returns memory to the system: `warm` pages of the free memory stay warm.
    fn rebuild_keeping(&self, merge: Merge, warm: u64) -> Result<(), ArenaError> {
        let header = self.header;
        // Until this is done, the bins must not be trusted by others.
        header.stale.store(1, Ordering::Relaxed);
        let counts = &header.counts;
        header.bins.clear();
        for count in [
            &counts.allocated_pages,
            &counts.warm_pages,
            &counts.cold_pages,
            &counts.spare_bytes,
            &counts.objects,
            &counts.pinned,
        ] {
            count.store(0, Ordering::Relaxed);
        }
        crate::crash_point("arena.rebuild.cleared");
        let (mut runs, mut looks) = (0u64, 0u64);
        let mut pending: Option<FreeRun> = None;
        let put = |found: Option<FreeRun>| -> Result<(), ArenaError> {
            match found {
                Some(found) => self.shelve(found, warm),
                None => Ok(()),
            }
        };
        pages::walk(header, |at, run| {
            runs += 1;
            looks += if run.kind == Kind::Slab { PAGE / small_size(run.class) } else { 1 };
            let run = self.take_stock(at, run)?;
            if !run.is_free() {
                add(&counts.allocated_pages, if run.kind == Kind::Map { 0 } else { u64::from(run.pages) });
                return put(pending.take());
            }
            let next = FreeRun { at, pages: run.pages, kind: run.kind };
            pending = match pending.take() {
                Some(first) if first.at.plus(u64::from(first.pages) * PAGE) == at => {
                    match merge_neighbours(first, next, merge)? {
                        Some(merged) => {
                            runs -= 1;
                            Some(merged)
                        }
                        None => {
                            put(Some(first))?;
                            Some(next)
                        }
                    }
                }
                first => {
                    put(first)?;
                    Some(next)
                }
            };
            Ok(())
        })?;
        put(pending)?;
        header.runs.store(runs, Ordering::Relaxed);
        header.freed.store(0, Ordering::Relaxed);
        header.stock_due.store(looks / 4, Ordering::Relaxed);
        header.stale.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the memory of all free pages to the system.
    pub(in crate::arena) fn trim(&self) -> Result<(), ArenaError> {
        self.rebuild_keeping(Merge::Alike, 0)?;
        self.rebuild(Merge::All)
    }

    /// Returns memory of free pages to the system, and leaves room for the next freed memory to stay warm.
    #[cold]
    pub(in crate::arena) fn cool_down(&self) -> Result<(), ArenaError> {
        let limit = self.header.warm_limit.load(Ordering::Relaxed) / PAGE;
        self.rebuild_keeping(Merge::Alike, limit / 2)
    }

    /// Counts a free run and puts it into its bin. Warm memory beyond a total of `most` pages is returned to the
    /// system.
    fn shelve(&self, found: FreeRun, most: u64) -> Result<(), ArenaError> {
        let put = |found: FreeRun| {
            add(self.free_pages(found.kind), u64::from(found.pages));
            bins::push(&self.header.bins, found)
        };
        let warm = self.header.counts.warm_pages.load(Ordering::Relaxed);
        let kept = match found.kind {
            Kind::Warm => most.saturating_sub(warm).min(u64::from(found.pages)) as u32,
            _ => found.pages,
        };
        let surplus =
            FreeRun { at: found.at.plus(u64::from(kept) * PAGE), pages: found.pages - kept, kind: Kind::Cold };
        if surplus.pages == 0 || !cool(surplus.at, 0, surplus.pages) {
            return put(found);
        }
        // Inside a free run this has no effect yet.
        pages::entry(surplus.at)?.run.store(Run::new(Kind::Cold, surplus.pages).to_bits(), Ordering::Release);
        crate::crash_point("arena.rebuild.cooled");
        if kept > 0 {
            pages::entry(found.at)?.run.store(Run::new(Kind::Warm, kept).to_bits(), Ordering::Release);
            put(FreeRun { pages: kept, ..found })?;
        }
        put(surplus)
    }

    /// Counts the objects of a run; finishes what a dead process began; frees slabs without objects.
    fn take_stock(&self, at: Off, run: Run) -> Result<Run, ArenaError> {
        let (objects, pinned) = (&self.header.counts.objects, &self.header.counts.pinned);
        let freed = Run::new(Kind::Warm, run.pages);
        match run.kind {
            Kind::Object => {
                let object = raw::header_at(at)?;
                if object.state().status() != Status::Free {
                    add(objects, 1);
                    add(pinned, object.is_pinned().into());
                    return Ok(run);
                }
            }
            Kind::Slab => {
                let mut used = 0;
                slab::for_each_small(at, run.class, |_, o| {
                    used += u64::from(o.state().status() != Status::Free);
                    add(pinned, o.is_pinned().into());
                })?;
                if used > 0 {
                    add(objects, used);
                    add(&self.header.counts.spare_bytes, PAGE - used * small_size(run.class));
                    let head = &self.header.bins.slabs[run.class as usize];
                    slab::for_each_small(at, run.class, |off, object| {
                        if object.state().status() == Status::Free {
                            slab::link(head, off, object);
                        }
                    })?;
                    return Ok(run);
                }
            }
            Kind::Warm | Kind::Cold | Kind::Map => return Ok(run),
        }
        pages::entry(at)?.run.store(freed.to_bits(), Ordering::Release);
        Ok(freed)
    }
}

/// Merges two free neighbours, if `merge` permits.
fn merge_neighbours(first: FreeRun, second: FreeRun, merge: Merge) -> Result<Option<FreeRun>, ArenaError> {
    if first.kind != second.kind {
        let warm = if first.kind == Kind::Warm { first } else { second };
        if merge == Merge::Alike || !cool(warm.at, 0, warm.pages) {
            return Ok(None);
        }
        pages::entry(warm.at)?.run.store(Run::new(Kind::Cold, warm.pages).to_bits(), Ordering::Release);
    }
    let kind = if first.kind == second.kind { first.kind } else { Kind::Cold };
    let Some(pages) = first.pages.checked_add(second.pages) else { return Ok(None) };
    let merged = FreeRun { at: first.at, pages, kind };
    pages::entry(first.at)?.run.store(Run::new(kind, merged.pages).to_bits(), Ordering::Release);
    crate::crash_point("arena.rebuild.merged");
    pages::entry(second.at)?.run.store(0, Ordering::Release);
    Ok(Some(merged))
}
