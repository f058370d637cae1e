//! Allocating and freeing.
//!
//! One lock, short critical sections, and two kinds of state. The page maps (`layout::page_map`) and the state words of
//! objects (`layout::object_header`) are authoritative, and each change of them is a single store. The bins ([`bins`])
//! are hints. A thread that takes the lock over from a dead holder rebuilds the hints from the authoritative state
//! ([`super::rebuild`]) and continues.
//!
//! Neighbours are not merged on every free, but all at once when nothing fits: the blocks of a queue mostly have a few
//! sizes and are reused soon, so merging would only lead to splitting them again.
//!
//! The search for room proceeds in this order: warm runs, cold runs, objects left by dead processes
//! (`objects::allocate`), merged neighbours, a new segment ([`super::grow`]); and as a last resort, warm and cold
//! neighbours merged. Small objects share pages ([`slab`]).

use core::sync::atomic::Ordering;

use crate::arena::allocator::bins::{self, FreeRun};
use crate::arena::allocator::lock::Guard;
use crate::arena::allocator::rebuild::Merge;
use crate::arena::allocator::slab;
use crate::arena::error::{ArenaError, InQueues, Shortage};
use crate::arena::layout::header::Header;
use crate::arena::layout::object_header::{HEADER, ObjectHeader, State, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{Kind, PAGE, Run};
use crate::arena::layout::participant::Participant;
use crate::arena::layout::size_classes::{class_of, small_size};
use crate::arena::objects::{holders, raw};
use crate::arena::pages;
use crate::arena::segment::{self, cool};
use crate::damage::{self, What};

/// Runs shorter than this are not worth a system call each to release their memory. If there are very many, it is
/// released for all of them at once, after merging.
const WORTH_COOLING: u32 = 16;

/// The location of a new object.
pub(in crate::arena) struct Placed {
    pub off: Off,
    pub cold: bool,
}

/// No free run fits; with the reason, if there is a particular one.
pub(in crate::arena) struct NoRoom(pub(in crate::arena) Option<ArenaError>);

/// The allocator, locked.
pub(in crate::arena) struct Allocator {
    pub(in crate::arena) header: &'static Header,
    _guard: Guard,
}

/// An allocation request.
pub(in crate::arena) struct Wish {
    pub(in crate::arena) kind: u32,
    pub(in crate::arena) len: u64,
    pub(in crate::arena) holder: Participant,
    size: Size,
}

enum Size {
    Small(u8),
    Pages(u32),
}

impl Wish {
    pub(in crate::arena) fn new(kind: u32, len: u64, holder: Participant) -> Result<Self, ArenaError> {
        let total = len.saturating_add(HEADER);
        let size = match class_of(total) {
            Some(class) => Size::Small(class),
            None => match u32::try_from(total.div_ceil(PAGE)) {
                Ok(pages) => Size::Pages(pages),
                Err(_) => {
                    return Err(ArenaError::OutOfMemory {
                        needed: len,
                        why: Shortage::Segments,
                        in_queues: InQueues::default(),
                    });
                }
            },
        };
        Ok(Self { kind, len, holder, size })
    }

    /// The error if a sufficiently long segment was added and still nothing fits.
    fn refused(&self) -> ArenaError {
        ArenaError::OutOfMemory { needed: self.len, why: Shortage::Segments, in_queues: InQueues::default() }
    }

    fn pages(&self) -> u32 {
        match self.size {
            Size::Small(_) => 1,
            Size::Pages(pages) => pages,
        }
    }
}

impl Allocator {
    pub(in crate::arena) fn lock(header: &'static Header) -> Result<Self, ArenaError> {
        damage::check()?;
        let allocator = Self { header, _guard: Guard::take(header)? };
        if header.stale.load(Ordering::Relaxed) != 0 {
            allocator.rebuild(Merge::Alike)?;
        }
        Ok(allocator)
    }

    /// Returns `r`; if it is an error, the operation failed halfway and the bins can no longer be trusted.
    pub(in crate::arena) fn or_stale<T>(&self, r: Result<T, ArenaError>) -> Result<T, ArenaError> {
        if r.is_err() {
            self.header.stale.store(1, Ordering::Relaxed);
        }
        r
    }

    /// Places an object in free memory, in a new segment, or between merged neighbours.
    pub(in crate::arena) fn place_or_grow(&self, wish: &Wish) -> Result<Placed, ArenaError> {
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

    /// Places an object in free memory.
    pub(in crate::arena) fn place(&self, wish: &Wish) -> Result<Result<Placed, NoRoom>, ArenaError> {
        match wish.size {
            Size::Small(class) => self.place_small(wish, class),
            Size::Pages(pages) => self.place_run(wish, pages),
        }
    }

    pub(in crate::arena) fn new_state(&self, kind: u32) -> State {
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
            // The run is exclusively ours until it is committed, and long enough for a header.
            let object = raw::header_at(at)?;
            object.prepare(wish.len, wish.holder);
            object.set_state(self.new_state(wish.kind));
            Ok(())
        });
        self.or_stale(r)?;
        add(&self.header.counts.objects, 1);
        Ok(Ok(Placed { off: found.at, cold: found.kind == Kind::Cold }))
    }

    /// Takes a free run out of its bin, preferably a warm one.
    pub(in crate::arena) fn take(&self, pages: u32) -> Result<Result<FreeRun, NoRoom>, ArenaError> {
        let bins = &self.header.bins;
        let limit = self.header.limit.load(Ordering::Relaxed);
        let allocated = self.header.counts.allocated_pages.load(Ordering::Relaxed);
        if limit != 0 && allocated.saturating_add(u64::from(pages)).saturating_mul(PAGE) > limit {
            // The file may be longer than that if the limit was lowered.
            return Ok(Err(NoRoom(None)));
        }
        if let Some(found) = self.or_stale(bins::take(bins, Kind::Warm, pages))? {
            return Ok(Ok(found));
        }
        let Some(found) = self.or_stale(bins::take(bins, Kind::Cold, pages))? else { return Ok(Err(NoRoom(None))) };
        if let Err(e) = self.check_headroom(u64::from(pages) * PAGE) {
            self.or_stale(bins::push(bins, found))?;
            return Ok(Err(NoRoom(Some(e))));
        }
        Ok(Ok(found))
    }

    /// Turns the beginning of a free run into `run`, initialized by `fill`; the rest stays free.
    pub(in crate::arena) fn carve(
        &self,
        found: FreeRun,
        run: Run,
        fill: impl FnOnce(Off) -> Result<(), ArenaError>,
    ) -> Result<(), ArenaError> {
        let rest = (found.pages > run.pages).then(|| FreeRun {
            at: found.at.plus(u64::from(run.pages) * PAGE),
            pages: found.pages - run.pages,
            kind: found.kind,
        });
        if let Some(rest) = rest {
            // Inside a free run this has no effect yet.
            pages::entry(rest.at)?.run.store(Run::new(rest.kind, rest.pages).to_bits(), Ordering::Release);
            crate::crash_point("arena.alloc.split");
        }
        if found.kind == Kind::Cold {
            // Cold memory reads as zeros; this part is about to be written to, whether or not this process lives to
            // commit it.
            pages::entry(found.at)?.run.store(Run::new(Kind::Warm, run.pages).to_bits(), Ordering::Release);
            crate::crash_point("arena.alloc.warmed");
        }
        fill(found.at)?;
        crate::crash_point("arena.alloc.before-commit");
        pages::entry(found.at)?.run.store(run.to_bits(), Ordering::Release);
        crate::crash_point("arena.alloc.after-commit");
        if let Some(rest) = rest {
            bins::push(&self.header.bins, rest)?;
        }
        subtract(self.free_pages(found.kind), u64::from(run.pages));
        add(&self.header.counts.allocated_pages, u64::from(run.pages));
        Ok(())
    }

    pub(in crate::arena) fn free_pages(&self, kind: Kind) -> &crate::atomics::AtomicU64 {
        let counts = &self.header.counts;
        if kind == Kind::Warm { &counts.warm_pages } else { &counts.cold_pages }
    }

    /// Frees a DYING object held by this process, and releases the lock. If enough memory is kept warm already, the
    /// object's memory is returned to the system, which takes a while and happens without the lock; until then the
    /// object stays DYING.
    pub(in crate::arena) fn free_and_cool(self, off: Off, object: &'static ObjectHeader) {
        let header = self.header;
        match self.free(off, object) {
            Err(_) => {}
            Ok(None) => {
                if self.keeps_too_much() {
                    // On failure the next allocation rebuilds the free lists.
                    let _ = self.cool_down();
                }
            }
            Ok(Some(pages)) => {
                drop(self);
                // The first page, which has the header, is released once the header is no longer needed.
                let kind = if cool(off, 1, pages) { Kind::Cold } else { Kind::Warm };
                // On failure a later reclaim finds and frees it, after this process has ended.
                if let Ok(allocator) = Self::lock(header) {
                    let _ = allocator.free_run(off, object, pages, kind);
                }
            }
        }
    }

    /// Frees the overflow sheets of an object that has just been freed.
    fn free_sheets(&self, sheets: Vec<Off>) -> Result<(), ArenaError> {
        for off in sheets {
            let sheet = raw::header_at(off)?;
            sheet.set_status(Status::Dying);
            self.free(off, sheet)?;
        }
        Ok(())
    }

    /// Frees a DYING object; or returns its number of pages, if their memory is to be released first.
    pub(in crate::arena) fn free(&self, off: Off, object: &ObjectHeader) -> Result<Option<u32>, ArenaError> {
        // The caller made it DYING; an object that is free already would get into a list twice.
        let state = object.state();
        let (start, run) = pages::run_of(off)?;
        match run.filter(|_| state.status() == Status::Dying) {
            Some(run) if run.kind == Kind::Slab && (off.byte() - start.byte()) % small_size(run.class) == 0 => {
                let sheets = holders::places(&object.holders)?;
                crate::crash_point("arena.free.before-commit");
                object.set_state(State::new(state.generation(), 0, Status::Free));
                crate::crash_point("arena.free.after-commit");
                slab::link(&self.header.bins.slabs[run.class as usize], off, object);
                add(&self.header.freed, 1);
                add(&self.header.counts.spare_bytes, small_size(run.class));
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
            _ => Err(pages::damaged(What::Object, off, u64::from(state.kind()))),
        }
    }

    fn free_run(&self, off: Off, object: &ObjectHeader, pages: u32, kind: Kind) -> Result<(), ArenaError> {
        let sheets = holders::places(&object.holders)?;
        object.set_state(State::new(object.state().generation(), 0, Status::Free));
        crate::crash_point("arena.free.before-commit");
        if kind == Kind::Cold && !cool(off, 0, 1) {
            // SAFETY: the object's first page is ours, and a free object is not accessed.
            unsafe { segment::resolve(off, PAGE)?.write_bytes(0, PAGE as usize) };
        }
        pages::entry(off)?.run.store(Run::new(kind, pages).to_bits(), Ordering::Release);
        crate::crash_point("arena.free.after-commit");
        self.or_stale(bins::push(&self.header.bins, FreeRun { at: off, pages, kind }))?;
        add(&self.header.freed, 1);
        add(self.free_pages(kind), u64::from(pages));
        subtract(&self.header.counts.allocated_pages, u64::from(pages));
        subtract(&self.header.counts.objects, 1);
        self.free_sheets(sheets)
    }

    fn is_warm_enough(&self, pages: u32) -> bool {
        let limit = self.header.warm_limit.load(Ordering::Relaxed) / PAGE;
        let warm = self.header.counts.warm_pages.load(Ordering::Relaxed);
        pages >= WORTH_COOLING && warm.saturating_add(u64::from(pages)) > limit
    }

    /// Whether far more free memory is warm than is to be kept, and enough was freed to look for it.
    fn keeps_too_much(&self) -> bool {
        let (header, counts) = (self.header, &self.header.counts);
        let warm = counts.warm_pages.load(Ordering::Relaxed).saturating_mul(PAGE);
        let spare = warm.saturating_add(counts.spare_bytes.load(Ordering::Relaxed));
        spare / 2 > header.warm_limit.load(Ordering::Relaxed)
            && header.freed.load(Ordering::Relaxed) > header.stock_due.load(Ordering::Relaxed)
    }

    pub(in crate::arena) fn is_worth_merging(&self) -> bool {
        let freed = self.header.freed.load(Ordering::Relaxed);
        freed > 0 && freed.saturating_mul(8) >= self.header.runs.load(Ordering::Relaxed)
    }
}

/// Requires the lock, so there are no concurrent updates.
pub(in crate::arena) fn add(count: &crate::atomics::AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).saturating_add(n), Ordering::Relaxed);
}

pub(in crate::arena) fn subtract(count: &crate::atomics::AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
}
