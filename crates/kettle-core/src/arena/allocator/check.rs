//! Checks of the invariants, for tests: walks through everything with the lock held.

use core::sync::atomic::Ordering;
use std::collections::BTreeSet;

use crate::arena::allocator::alloc::Allocator;
use crate::arena::allocator::bins;
use crate::arena::allocator::slab;
use crate::arena::layout::header::Header;
use crate::arena::layout::object_header::Status;
use crate::arena::layout::page_map::{Kind, PAGE, map_pages};
use crate::arena::layout::size_classes::{CLASS_COUNT, small_size};
use crate::arena::objects::raw;
use crate::arena::pages;
use crate::arena::segment;

/// Every page belongs to one run, every free run is in the right bin once, and all counters are exact.
pub(in crate::arena) fn check(header: &'static Header) -> Result<(), String> {
    let allocator = Allocator::lock(header).map_err(|e| e.to_string())?;
    let (mut allocated, mut warm, mut cold, mut objects, mut pinned) = (0, 0, 0, 0, 0);
    let mut free = BTreeSet::new();
    let (mut free_small, mut spare) = (0, 0);
    pages::walk(header, |at, run| {
        let pages = u64::from(run.pages);
        match run.kind {
            Kind::Map => assert_eq!(at.byte(), 0, "a map in the middle of a segment"),
            Kind::Warm => warm += pages,
            Kind::Cold => cold += pages,
            Kind::Object => {
                allocated += pages;
                let object = raw::header_at(at)?;
                objects += u64::from(object.state().status() != Status::Free);
                pinned += u64::from(object.is_pinned());
                assert!(object.len() <= pages * PAGE, "{at:?} is longer than its run");
            }
            Kind::Slab => {
                allocated += pages;
                slab::for_each_small(at, run.class, |_, object| match object.state().status() {
                    Status::Free => {
                        free_small += 1;
                        spare += small_size(run.class);
                    }
                    _ => {
                        objects += 1;
                        pinned += u64::from(object.is_pinned());
                    }
                })?;
            }
        }
        if run.is_free() {
            free.insert(at);
        }
        Ok(())
    })
    .map_err(|e| e.to_string())?;

    let counts = &header.counts;
    for (name, counted, noted) in [
        ("allocated pages", allocated, &counts.allocated_pages),
        ("warm pages", warm, &counts.warm_pages),
        ("cold pages", cold, &counts.cold_pages),
        ("spare bytes", spare, &counts.spare_bytes),
        ("objects", objects, &counts.objects),
        ("pinned objects", pinned, &counts.pinned),
    ] {
        let noted = noted.load(Ordering::Relaxed);
        if counted != noted {
            return Err(format!("{counted} {name}, but {noted} were noted"));
        }
    }
    let mut total = 0;
    for number in 1..segment::count(header).map_err(|e| e.to_string())? {
        let len = segment::extent(number).map_err(|e| e.to_string())?.len;
        total += len / PAGE - map_pages(len);
    }
    if allocated + warm + cold != total {
        return Err(format!("{total} pages, but {allocated} + {warm} + {cold} are accounted for"));
    }
    let binned = bins::contents(&header.bins, free.len()).map_err(|e| e.to_string())?;
    let unique: BTreeSet<_> = binned.iter().map(|found| found.at).collect();
    if unique.len() != binned.len() || unique != free {
        return Err(format!("{} runs are free, {} lie in bins", free.len(), binned.len()));
    }
    let mut listed = 0;
    for (class, head) in (0..CLASS_COUNT).zip(&header.bins.slabs) {
        listed += allocator.count_small(head, class, free_small).map_err(|e| e.to_string())?;
    }
    if listed != free_small {
        return Err(format!("{free_small} small objects are free, {listed} are listed"));
    }
    Ok(())
}
