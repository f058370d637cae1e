//! Growing the arena: checking that the system has memory to spare, and adding a segment.

use core::sync::atomic::Ordering;

use crate::sys::{limits, memory};

use crate::arena::allocator::alloc::{Allocator, add};
use crate::arena::allocator::bins::{self, FreeRun};
use crate::arena::error::{ArenaError, InQueues, Shortage};
use crate::arena::layout::header::{HEADER_LEN, SEGMENTS};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{Kind, PAGE, map_pages};
use crate::arena::pages;
use crate::arena::reopen;
use crate::arena::segment::{self, Extent, GRAIN};
use crate::damage::{self, What};
use crate::sys::futex::Scope;

const FIRST_SEGMENT: u64 = 1 << 20;
const LARGEST_STEP: u64 = 64 << 20;
/// How many cold bytes may be allocated between two checks of the system's headroom; less than the reserve that the
/// check keeps.
const CHECK_EVERY: u64 = 4 << 20;

impl Allocator {
    /// Checks that this many bytes of cold memory may be touched. Asks the system only occasionally.
    pub(in crate::arena) fn check_headroom(&self, bytes: u64) -> Result<(), ArenaError> {
        let unchecked = &self.header.unchecked;
        let total = unchecked.load(Ordering::Relaxed).saturating_add(bytes);
        if total < CHECK_EVERY {
            unchecked.store(total, Ordering::Relaxed);
            return Ok(());
        }
        let headroom = limits::headroom();
        // Memory that was allocated and not touched yet will be; the file knows how much of it is backed already.
        let counts = &self.header.counts;
        let pages =
            counts.allocated_pages.load(Ordering::Relaxed).saturating_add(counts.warm_pages.load(Ordering::Relaxed));
        let in_use = pages.saturating_mul(PAGE);
        let untouched = in_use.saturating_sub(segment::resident().unwrap_or(in_use));
        if headroom.to_spare() < bytes.saturating_add(untouched) {
            let limits::Headroom { left, reserve, bound } = headroom;
            let why = Shortage::System { left: left.saturating_sub(untouched), reserve, bound };
            return Err(ArenaError::OutOfMemory { needed: bytes, why, in_queues: InQueues::default() });
        }
        unchecked.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a segment with a free run of at least `pages`.
    pub(in crate::arena) fn grow(&self, pages: u32) -> Result<(), ArenaError> {
        let header = self.header;
        let needed = u64::from(pages) * PAGE;
        let refuse = |why| ArenaError::OutOfMemory { needed, why, in_queues: InQueues::default() };
        let count = segment::count(header)?;
        if count == SEGMENTS {
            return Err(refuse(Shortage::Segments));
        }
        if segment::is_mapped(count) {
            // Segments that were listed once stay listed.
            return Err(damage::mark(Scope::Shared, What::Segments, 0, count as u64).into());
        }
        self.check_headroom(needed)?;
        let end = segment::end(header)?;
        // One page in 256 is for the map; one more page covers the rounding.
        let least = (needed + needed.div_ceil(255) + PAGE).next_multiple_of(GRAIN);
        let step = (FIRST_SEGMENT << (count - 1).min(6)).min(LARGEST_STEP).max((end / 16).next_multiple_of(GRAIN));
        let mut len = least.max(step);
        let limit = header.limit.load(Ordering::Relaxed);
        if limit != 0 {
            let used = end - HEADER_LEN as u64;
            let room = limit.saturating_sub(used);
            if room < least {
                let (warm, cold) = (&header.counts.warm_pages, &header.counts.cold_pages);
                let free =
                    warm.load(Ordering::Relaxed).saturating_add(cold.load(Ordering::Relaxed)).saturating_mul(PAGE);
                return Err(refuse(Shortage::Limit { limit, used: used.saturating_sub(free) }));
            }
            len = len.min(room / GRAIN * GRAIN);
        }
        let longest = limits::file_size();
        if longest < end + least {
            return Err(refuse(Shortage::FileSize(longest)));
        }
        len = len.min((longest - end) / GRAIN * GRAIN);

        let refuse_unless_lost = |e| match e {
            ArenaError::Map(e) => refuse(Shortage::Refused(e)),
            e => e,
        };
        segment::lengthen(end + len, || reopen::file(header)).map_err(refuse_unless_lost)?;
        let base = segment::map_range(end, len)
            .or_else(|_| {
                len = least;
                segment::map_range(end, len)
            })
            .map_err(refuse_unless_lost)?;
        let extent = Extent { base, len, offset: end };
        // A process may have died here after writing parts of a map, possibly of a longer one.
        // SAFETY: this part of the file belongs to no segment yet, and the lock under which it may become part of one
        // is held.
        if let Err(e) = unsafe { segment::give_back(extent, 0, len) } {
            // SAFETY: the range was just mapped, and its address has not been passed on.
            unsafe { memory::unmap(base, len as usize) };
            // If only the descriptor can do this, the error says to leave it open.
            segment::file()?;
            return Err(refuse(Shortage::Refused(e)));
        }
        // SAFETY: this part of the file belongs to no segment yet, and we hold the lock under which it may become part
        // of one. A process that died while growing may have written its own heads, which are inside our runs.
        let run = unsafe { pages::lay_out(base, len) };
        let entry = &header.segments[count];
        entry.offset.store(end, Ordering::Relaxed);
        entry.len.store(len, Ordering::Relaxed);
        crate::crash_point("arena.grow.before-commit");
        // Release: a process that sees the count sees the entry and the map.
        header.segment_count.store(count as u32 + 1, Ordering::Release);
        crate::crash_point("arena.grow.after-commit");
        segment::install(count, extent);
        add(&header.counts.cold_pages, u64::from(run.pages));
        let at = Off::new(count, map_pages(len) * PAGE);
        self.or_stale(bins::push(&header.bins, FreeRun { at, pages: run.pages, kind: Kind::Cold }))
    }
}
