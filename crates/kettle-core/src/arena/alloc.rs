//! Finding room, and giving it back.
//!
//! One lock, short critical sections, and two kinds of memory: the page maps ([`super::pages`]) and the state words
//! of objects ([`super::object`]) are the truth and each change of them is one store; the bins ([`super::bins`]) are
//! hints. Whoever takes the lock over from a dead holder makes the hints anew from the truth ([`Allocator::rebuild`])
//! and goes on.
//!
//! Neighbours are not merged when something is freed, but all at once when nothing fits: the blocks of a queue are
//! mostly of a few sizes and come back at once, and merging would only split them again.
//!
//! Where room is looked for, in this order: warm runs, cold runs, what the dead left behind, merged neighbours, a
//! new segment; and before giving up, warm and cold neighbours merged.

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use crate::sys::{limits, memory};

use super::bins::Found;
use super::error::{ArenaError, Shortage};
use super::header::{HEADER_LEN, Header, SEGMENTS};
use super::lock::Guard;
use super::object::{self, HEADER, ObjectHeader, State, Status};
use super::offset::Off;
use super::pages::{self, Kind, PAGE, Run};
use super::participants::{self, Participant};
use super::{recover, segment};

/// Sizes of small objects, header included. Each divides a page.
const CLASSES: [u64; 5] = [128, 256, 512, 1024, 2048];
const FIRST_SEGMENT: u64 = 1 << 20;
const LARGEST_STEP: u64 = 64 << 20;
/// Segments are multiples of every page size of the kernel.
const GRAIN: u64 = 1 << 16;
/// The system is asked for headroom each time so many cold bytes were handed out.
const CHECK_EVERY: u64 = 4 << 20;
/// What must remain for everybody else.
const RESERVE: u64 = 8 << 20;
/// Runs shorter than this are not worth a system call to give them back, unless there are very many.
const WORTH_COOLING: u32 = 16;

/// Where a new object is.
pub(super) struct Placed {
    pub off: Off,
    pub cold: bool,
}

/// Nothing that is free will do: because of this, or because nothing fits.
struct NoRoom(Option<ArenaError>);

/// Which free neighbours become one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// Those of the same warmth.
    Alike,
    /// All; the warm ones among unequal neighbours are given back to the system first.
    All,
}

/// The allocator, locked.
pub(super) struct Allocator {
    header: &'static Header,
    _guard: Guard,
}

/// Makes an object that is NEW and held by `holder`.
pub(super) fn allocate(
    header: &'static Header,
    kind: u32,
    len: u64,
    holder: Participant,
) -> Result<Placed, ArenaError> {
    let wish = Wish::new(kind, len, holder)?;
    if let Ok(placed) = Allocator::lock(header)?.place(&wish)? {
        return Ok(placed);
    }
    // Asking who lives, and tearing down what the dead had, are done without the lock.
    participants::find_the_dead(header);
    if header.dirty.load(Ordering::Acquire) != 0 {
        recover::reclaim(header)?;
    }
    let allocator = Allocator::lock(header)?;
    if let Ok(placed) = allocator.place(&wish)? {
        return Ok(placed);
    }
    if allocator.is_worth_merging() {
        allocator.rebuild(Merge::Alike)?;
    }
    allocator.place_or_grow(&wish)
}

/// What is to be allocated.
pub(super) struct Wish {
    kind: u32,
    len: u64,
    holder: Participant,
    size: Size,
}

enum Size {
    Small(u8),
    Pages(u32),
}

impl Wish {
    pub(super) fn new(kind: u32, len: u64, holder: Participant) -> Result<Self, ArenaError> {
        let total = len.saturating_add(HEADER);
        let size = match CLASSES.iter().position(|&c| total <= c) {
            Some(class) => Size::Small(class as u8),
            None => match u32::try_from(total.div_ceil(PAGE)) {
                Ok(pages) => Size::Pages(pages),
                Err(_) => return Err(ArenaError::OutOfMemory { needed: len, why: Shortage::Segments }),
            },
        };
        Ok(Self { kind, len, holder, size })
    }

    /// When a segment was made that is long enough, and still nothing fits.
    fn refused(&self) -> ArenaError {
        ArenaError::OutOfMemory { needed: self.len, why: Shortage::Segments }
    }

    fn pages(&self) -> u32 {
        match self.size {
            Size::Small(_) => 1,
            Size::Pages(pages) => pages,
        }
    }
}

impl Allocator {
    pub(super) fn lock(header: &'static Header) -> Result<Self, ArenaError> {
        let allocator = Self { header, _guard: Guard::take(header)? };
        if header.stale.load(Ordering::Relaxed) != 0 {
            allocator.rebuild(Merge::Alike)?;
        }
        Ok(allocator)
    }

    /// Runs `f`; if it fails half-way, the bins are not to be believed any more.
    fn or_stale<T>(&self, r: Result<T, ArenaError>) -> Result<T, ArenaError> {
        if r.is_err() {
            self.header.stale.store(1, Ordering::Relaxed);
        }
        r
    }

    /// Places an object in what is free, in a new segment, or between merged neighbours.
    pub(super) fn place_or_grow(&self, wish: &Wish) -> Result<Placed, ArenaError> {
        if let Ok(placed) = self.place(wish)? {
            return Ok(placed);
        }
        let shortage = match self.grow(wish.pages()) {
            Ok(()) => None,
            Err(e) => {
                self.rebuild(Merge::All)?;
                Some(e)
            }
        };
        self.place(wish)?.map_err(|NoRoom(found)| shortage.or(found).unwrap_or_else(|| wish.refused()))
    }

    /// Places an object in what is free.
    fn place(&self, wish: &Wish) -> Result<Result<Placed, NoRoom>, ArenaError> {
        match wish.size {
            Size::Small(class) => self.place_small(wish, class),
            Size::Pages(pages) => self.place_run(wish, pages),
        }
    }

    fn new_state(&self, kind: u32) -> State {
        let generation = self.header.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.header.generation.store(generation, Ordering::Relaxed);
        State::new(generation, kind, Status::New)
    }

    fn place_run(&self, wish: &Wish, pages: u32) -> Result<Result<Placed, NoRoom>, ArenaError> {
        let found = match self.take(pages)? {
            Ok(found) => found,
            Err(no_room) => return Ok(Err(no_room)),
        };
        let r = self.carve(found, Run::new(Kind::Object, pages), |at| {
            // SAFETY: the run is ours alone until it is committed, and long enough for a header.
            let object = unsafe { object::header_at(at)? };
            object.prepare(wish.len, wish.holder);
            object.set_state(self.new_state(wish.kind));
            Ok(())
        });
        self.or_stale(r)?;
        add(&self.header.counts.objects, 1);
        Ok(Ok(Placed { off: found.at, cold: found.kind == Kind::Cold }))
    }

    fn place_small(&self, wish: &Wish, class: u8) -> Result<Result<Placed, NoRoom>, ArenaError> {
        let head = &self.header.bins.slabs[class as usize];
        if head.load(Ordering::Relaxed) == 0 {
            if let Err(no_room) = self.make_slab(class)? {
                return Ok(Err(no_room));
            }
        }
        let Some(off) = Off::from_bits(head.load(Ordering::Relaxed)) else { return Ok(Err(NoRoom(None))) };
        // SAFETY: the list of a slab size links free objects of that size.
        let object = unsafe { object::header_at(off)? };
        head.store(object.home.load(Ordering::Relaxed), Ordering::Relaxed);
        object.prepare(wish.len, wish.holder);
        crate::crash_point("arena.slab.before-commit");
        object.set_state(self.new_state(wish.kind));
        crate::crash_point("arena.slab.after-commit");
        add(&self.header.counts.objects, 1);
        Ok(Ok(Placed { off, cold: false }))
    }

    /// Cuts a page into small objects.
    fn make_slab(&self, class: u8) -> Result<Result<(), NoRoom>, ArenaError> {
        let found = match self.take(1)? {
            Ok(found) => found,
            Err(no_room) => return Ok(Err(no_room)),
        };
        let run = Run { kind: Kind::Slab, class, pages: 1 };
        let r = self.carve(found, run, |at| {
            for_each_small(at, class, |_, object| object.set_state(State::new(0, 0, Status::Free)))
        });
        self.or_stale(r)?;
        let head = &self.header.bins.slabs[class as usize];
        let r = for_each_small(found.at, class, |off, object| link_small(head, off, object));
        self.or_stale(r)?;
        Ok(Ok(()))
    }

    /// Takes a free run out of its bin, a warm one if there is one.
    fn take(&self, pages: u32) -> Result<Result<Found, NoRoom>, ArenaError> {
        let bins = &self.header.bins;
        let limit = self.header.limit.load(Ordering::Relaxed);
        let allocated = self.header.counts.allocated_pages.load(Ordering::Relaxed);
        if limit != 0 && (allocated + u64::from(pages)) * PAGE > limit {
            // The file may be longer than that: the limit was lowered.
            return Ok(Err(NoRoom(None)));
        }
        if let Some(found) = self.or_stale(bins.take(Kind::Warm, pages))? {
            return Ok(Ok(found));
        }
        let Some(found) = self.or_stale(bins.take(Kind::Cold, pages))? else { return Ok(Err(NoRoom(None))) };
        if let Err(e) = self.check_headroom(u64::from(pages) * PAGE) {
            self.or_stale(bins.push(found))?;
            return Ok(Err(NoRoom(Some(e))));
        }
        Ok(Ok(found))
    }

    /// Makes the beginning of a free run into `run`, filled by `fill`; the rest of it remains free.
    fn carve(
        &self,
        found: Found,
        run: Run,
        fill: impl FnOnce(Off) -> Result<(), ArenaError>,
    ) -> Result<(), ArenaError> {
        let rest = (found.pages > run.pages).then(|| Found {
            at: found.at.plus(u64::from(run.pages) * PAGE),
            pages: found.pages - run.pages,
            kind: found.kind,
        });
        if let Some(rest) = rest {
            // Inside of a free run this says nothing yet.
            pages::entry(rest.at)?.run.store(Run::new(rest.kind, rest.pages).to_bits(), Ordering::Release);
            crate::crash_point("arena.alloc.split");
        }
        if found.kind == Kind::Cold {
            // Cold memory reads as zeros; this part is about to be written to, whether we live to commit it or not.
            pages::entry(found.at)?.run.store(Run::new(Kind::Warm, run.pages).to_bits(), Ordering::Release);
            crate::crash_point("arena.alloc.warmed");
        }
        fill(found.at)?;
        crate::crash_point("arena.alloc.before-commit");
        pages::entry(found.at)?.run.store(run.to_bits(), Ordering::Release);
        crate::crash_point("arena.alloc.after-commit");
        if let Some(rest) = rest {
            self.header.bins.push(rest)?;
        }
        subtract(self.free_pages(found.kind), u64::from(run.pages));
        add(&self.header.counts.allocated_pages, u64::from(run.pages));
        Ok(())
    }

    fn free_pages(&self, kind: Kind) -> &crate::atomics::AtomicU64 {
        let counts = &self.header.counts;
        if kind == Kind::Warm { &counts.warm_pages } else { &counts.cold_pages }
    }

    /// Frees a DYING object whose holder is this process, and ends with the lock released. If enough is kept warm
    /// already, its memory is given back to the system, which takes a while and is done without the lock: until
    /// then it stays DYING.
    pub(super) fn free_and_cool(self, off: Off, object: &'static ObjectHeader) {
        let header = self.header;
        match self.free(off, object) {
            Ok(None) | Err(_) => {}
            Ok(Some(pages)) => {
                drop(self);
                // The first page, where the header is, is cleared by hand.
                let kind = if cool(header, off, 1, pages) { Kind::Cold } else { Kind::Warm };
                // Failing, it is found and freed by a later reclaim, when this process has ended.
                if let Ok(allocator) = Self::lock(header) {
                    let _ = allocator.free_run(off, object, pages, kind);
                }
            }
        }
    }

    /// Frees the sheets of an object that was freed just now.
    fn free_sheets(&self, sheets: Vec<Off>) -> Result<(), ArenaError> {
        for off in sheets {
            // SAFETY: it was a sheet of the object, and is nobody's now.
            let sheet = unsafe { object::header_at(off)? };
            self.free(off, sheet)?;
        }
        Ok(())
    }

    /// Frees a DYING object; or says how many pages it has, if these are to be given back first.
    pub(super) fn free(&self, off: Off, object: &ObjectHeader) -> Result<Option<u32>, ArenaError> {
        let start = Off::new(off.segment(), off.byte() / PAGE * PAGE);
        match pages::run_at(start)? {
            Some(run) if run.kind == Kind::Slab => {
                let sheets = object.holders.places();
                crate::crash_point("arena.free.before-commit");
                object.set_state(State::new(object.state().generation(), 0, Status::Free));
                crate::crash_point("arena.free.after-commit");
                link_small(&self.header.bins.slabs[run.class as usize], off, object);
                add(&self.header.freed, 1);
                subtract(&self.header.counts.objects, 1);
                self.free_sheets(sheets)?;
                Ok(None)
            }
            Some(run) if run.kind == Kind::Object && start == off => {
                if self.is_warm_enough(run.pages) {
                    return Ok(Some(run.pages));
                }
                self.free_run(off, object, run.pages, Kind::Warm).map(|()| None)
            }
            _ => panic!("{off:?} was freed, but no object is there"),
        }
    }

    fn free_run(&self, off: Off, object: &ObjectHeader, pages: u32, kind: Kind) -> Result<(), ArenaError> {
        let sheets = object.holders.places();
        object.set_state(State::new(object.state().generation(), 0, Status::Free));
        crate::crash_point("arena.free.before-commit");
        if kind == Kind::Cold {
            // SAFETY: the object's first page is ours, and nobody looks at a free object.
            unsafe { segment::resolve(off)?.write_bytes(0, PAGE as usize) };
        }
        pages::entry(off)?.run.store(Run::new(kind, pages).to_bits(), Ordering::Release);
        crate::crash_point("arena.free.after-commit");
        self.or_stale(self.header.bins.push(Found { at: off, pages, kind }))?;
        add(&self.header.freed, 1);
        add(self.free_pages(kind), u64::from(pages));
        subtract(&self.header.counts.allocated_pages, u64::from(pages));
        subtract(&self.header.counts.objects, 1);
        self.free_sheets(sheets)
    }

    fn is_warm_enough(&self, pages: u32) -> bool {
        let limit = self.header.warm_limit.load(Ordering::Relaxed) / PAGE;
        let warm = self.header.counts.warm_pages.load(Ordering::Relaxed);
        warm + u64::from(pages) > limit && (pages >= WORTH_COOLING || warm > 2 * limit)
    }

    fn is_worth_merging(&self) -> bool {
        let freed = self.header.freed.load(Ordering::Relaxed);
        freed > 0 && freed * 8 >= self.header.runs.load(Ordering::Relaxed)
    }

    /// Makes bins and counts anew from the page maps, merging neighbours on the way.
    pub(super) fn rebuild(&self, merge: Merge) -> Result<(), ArenaError> {
        let header = self.header;
        // Until this is done, nobody else may believe the bins.
        header.stale.store(1, Ordering::Relaxed);
        let counts = &header.counts;
        header.bins.clear();
        for count in [&counts.allocated_pages, &counts.warm_pages, &counts.cold_pages, &counts.objects] {
            count.store(0, Ordering::Relaxed);
        }
        crate::crash_point("arena.rebuild.cleared");
        let mut runs = 0;
        let mut pending: Option<Found> = None;
        let put = |found: Option<Found>| -> Result<(), ArenaError> {
            if let Some(found) = found {
                add(self.free_pages(found.kind), u64::from(found.pages));
                header.bins.push(found)?;
            }
            Ok(())
        };
        pages::walk(header, |at, run| {
            runs += 1;
            let run = self.take_stock(at, run)?;
            if !run.is_free() {
                add(&counts.allocated_pages, if run.kind == Kind::Map { 0 } else { u64::from(run.pages) });
                return put(pending.take());
            }
            let next = Found { at, pages: run.pages, kind: run.kind };
            pending = match pending.take() {
                Some(first) if first.at.plus(u64::from(first.pages) * PAGE) == at => {
                    match merge_neighbours(header, first, next, merge)? {
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
        header.stale.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the memory of all free pages back to the system.
    pub(super) fn trim(&self) -> Result<(), ArenaError> {
        // First, so that neighbours are given back together, and slabs without objects with them.
        self.rebuild(Merge::Alike)?;
        self.header.stale.store(1, Ordering::Relaxed);
        pages::walk(self.header, |at, run| {
            if run.kind == Kind::Warm && cool(self.header, at, 0, run.pages) {
                pages::entry(at)?.run.store(Run::new(Kind::Cold, run.pages).to_bits(), Ordering::Release);
            }
            Ok(())
        })?;
        self.rebuild(Merge::All)
    }

    /// Counts the objects of a run; finishes what somebody who died began; frees slabs without objects.
    fn take_stock(&self, at: Off, run: Run) -> Result<Run, ArenaError> {
        let objects = &self.header.counts.objects;
        let freed = Run::new(Kind::Warm, run.pages);
        match run.kind {
            Kind::Object => {
                // SAFETY: the map says that an object begins here.
                if unsafe { object::header_at(at)? }.state().status() != Status::Free {
                    add(objects, 1);
                    return Ok(run);
                }
            }
            Kind::Slab => {
                let mut used = 0;
                for_each_small(at, run.class, |_, o| used += u64::from(o.state().status() != Status::Free))?;
                if used > 0 {
                    add(objects, used);
                    let head = &self.header.bins.slabs[run.class as usize];
                    for_each_small(at, run.class, |off, object| {
                        if object.state().status() == Status::Free {
                            link_small(head, off, object);
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

    /// Whether so many bytes of cold memory may be touched. Looks only now and then.
    fn check_headroom(&self, bytes: u64) -> Result<(), ArenaError> {
        let unchecked = &self.header.unchecked;
        let total = unchecked.load(Ordering::Relaxed) + bytes;
        if total < CHECK_EVERY {
            unchecked.store(total, Ordering::Relaxed);
            return Ok(());
        }
        let headroom = limits::headroom();
        // What was handed out and not touched yet will be; the file knows how much of it has memory.
        let counts = &self.header.counts;
        let in_use =
            (counts.allocated_pages.load(Ordering::Relaxed) + counts.warm_pages.load(Ordering::Relaxed)) * PAGE;
        let untouched = in_use.saturating_sub(memory::resident(segment::file()).unwrap_or(in_use));
        if headroom.bytes < bytes.saturating_add(untouched).saturating_add(RESERVE + CHECK_EVERY) {
            let why = Shortage::System { headroom: headroom.bytes.saturating_sub(untouched), bound: headroom.bound };
            return Err(ArenaError::OutOfMemory { needed: bytes, why });
        }
        unchecked.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Makes another segment with a free run of at least `pages`.
    fn grow(&self, pages: u32) -> Result<(), ArenaError> {
        let header = self.header;
        let needed = u64::from(pages) * PAGE;
        let refuse = |why| ArenaError::OutOfMemory { needed, why };
        let count = header.segment_count.load(Ordering::Relaxed) as usize;
        if count == SEGMENTS {
            return Err(refuse(Shortage::Segments));
        }
        self.check_headroom(needed)?;
        let (last, last_len) = segment::extent(header, count - 1);
        let end = last + last_len;
        // Of 256 pages one is for their map; a page more covers the rounding.
        let least = (needed + needed.div_ceil(255) + PAGE).next_multiple_of(GRAIN);
        let step = (FIRST_SEGMENT << (count - 1).min(6)).min(LARGEST_STEP).max((end / 16).next_multiple_of(GRAIN));
        let mut len = least.max(step);
        let limit = header.limit.load(Ordering::Relaxed);
        if limit != 0 {
            let used = end - HEADER_LEN as u64;
            let room = limit.saturating_sub(used);
            if room < least {
                let free = (header.counts.warm_pages.load(Ordering::Relaxed)
                    + header.counts.cold_pages.load(Ordering::Relaxed))
                    * PAGE;
                return Err(refuse(Shortage::Limit { limit, used: used.saturating_sub(free) }));
            }
            len = len.min(room / GRAIN * GRAIN);
        }
        let longest = limits::file_size();
        if longest < end + least {
            return Err(refuse(Shortage::FileSize(longest)));
        }
        len = len.min((longest - end) / GRAIN * GRAIN);

        let file = segment::file();
        let present = memory::length(file).map_err(|e| refuse(Shortage::Refused(e)))?;
        if present > end {
            // Somebody died here, having written parts of a map that may have been a longer one.
            memory::punch(file, end, present - end).map_err(|e| refuse(Shortage::Refused(e)))?;
        }
        if present < end + len {
            memory::grow(file, end + len).map_err(|e| refuse(Shortage::Refused(e)))?;
        }
        let base = memory::map(file, end, len as usize)
            .or_else(|_| {
                len = least;
                memory::map(file, end, len as usize)
            })
            .map_err(|e| refuse(Shortage::Refused(e)))?;
        // SAFETY: this part of the file belongs to no segment yet, and we hold the lock under which it may become
        // part of one. A grower that died here may have written its own heads, which lie inside of our runs.
        let run = unsafe { pages::lay_out(base, len) };
        let entry = &header.segments[count];
        entry.offset.store(end, Ordering::Relaxed);
        entry.len.store(len, Ordering::Relaxed);
        crate::crash_point("arena.grow.before-commit");
        // Release: whoever sees the count sees the entry and the map.
        header.segment_count.store(count as u32 + 1, Ordering::Release);
        crate::crash_point("arena.grow.after-commit");
        segment::install(count, base, len);
        add(&header.counts.cold_pages, u64::from(run.pages));
        let at = Off::new(count, pages::map_pages(len) * PAGE);
        self.or_stale(header.bins.push(Found { at, pages: run.pages, kind: Kind::Cold }))
    }
}

impl Allocator {
    /// How many small objects are listed from `head` on.
    pub(super) fn count_small(&self, head: &crate::atomics::AtomicU64) -> u64 {
        let mut count = 0;
        let mut next = Off::from_bits(head.load(Ordering::Relaxed));
        while let Some(off) = next {
            count += 1;
            // SAFETY: the list links free objects of one size; it cannot change while the lock is held.
            next = unsafe { object::header_at(off) }.ok().and_then(|o| Off::from_bits(o.home.load(Ordering::Relaxed)));
        }
        count
    }
}

/// Makes two free neighbours one, if `merge` allows.
fn merge_neighbours(header: &Header, first: Found, second: Found, merge: Merge) -> Result<Option<Found>, ArenaError> {
    if first.kind != second.kind {
        let warm = if first.kind == Kind::Warm { first } else { second };
        if merge == Merge::Alike || !cool(header, warm.at, 0, warm.pages) {
            return Ok(None);
        }
        pages::entry(warm.at)?.run.store(Run::new(Kind::Cold, warm.pages).to_bits(), Ordering::Release);
    }
    let kind = if first.kind == second.kind { first.kind } else { Kind::Cold };
    let merged = Found { at: first.at, pages: first.pages + second.pages, kind };
    pages::entry(first.at)?.run.store(Run::new(kind, merged.pages).to_bits(), Ordering::Release);
    crate::crash_point("arena.rebuild.merged");
    pages::entry(second.at)?.run.store(0, Ordering::Release);
    Ok(Some(merged))
}

/// Gives the memory of a run back to the system, but for its first `keep` pages; says whether that worked.
fn cool(header: &Header, at: Off, keep: u64, pages: u32) -> bool {
    let (offset, _) = segment::extent(header, at.segment());
    let from = at.byte() + keep * PAGE;
    let len = (u64::from(pages) - keep) * PAGE;
    len == 0 || memory::punch(segment::file(), offset + from, len).is_ok()
}

/// The size of the small objects of a class, header included.
pub(super) const fn small_size(class: u8) -> u64 {
    CLASSES[class as usize]
}

/// Visits the small objects of a slab page, free or not.
pub(super) fn for_each_small(
    page: Off,
    class: u8,
    mut f: impl FnMut(Off, &'static ObjectHeader),
) -> Result<(), ArenaError> {
    let size = small_size(class);
    // From the last to the first, so that they come off the list in order.
    for n in (0..PAGE / size).rev() {
        let off = page.plus(n * size);
        // SAFETY: a slab page is cut into objects of this size, each beginning with a header.
        f(off, unsafe { object::header_at(off)? });
    }
    Ok(())
}

fn link_small(head: &crate::atomics::AtomicU64, off: Off, object: &ObjectHeader) {
    object.home.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
    head.store(off.to_bits(), Ordering::Relaxed);
}

/// The lock is held, so nobody else counts.
fn add(count: &crate::atomics::AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

fn subtract(count: &crate::atomics::AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
}

/// Copies `bytes` to `off`, which is at `to` in this process: through the descriptor where the pages are cold.
///
/// # Safety
/// There are `bytes.len()` bytes of room at `off` and `to`, which nobody else uses and which do not overlap `bytes`.
pub(super) unsafe fn copy_in(off: Off, to: NonNull<u8>, cold: bool, bytes: &[u8]) {
    if cold && bytes.len() as u64 >= PAGE {
        if let Some(header) = segment::header_if_any() {
            let offset = segment::extent(header, off.segment()).0 + off.byte();
            // The limit on the length of files may be lower here than where the segment was made.
            if offset + bytes.len() as u64 <= limits::file_size() {
                // SAFETY: the caller has this range to itself.
                if unsafe { memory::write_at(segment::file(), offset, bytes) }.is_ok() {
                    return;
                }
            }
        }
    }
    // SAFETY: the caller promises room without overlap.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
}
