//! Finding room, and giving it back.
//!
//! One lock, short critical sections, and two kinds of memory: the page maps ([`super::pages`]) and the state words
//! of objects ([`super::object`]) are the truth and each change of them is one store; the bins ([`super::bins`]) are
//! hints. Whoever takes the lock over from a dead holder makes the hints anew from the truth ([`super::stock`]) and
//! goes on.
//!
//! Neighbours are not merged when something is freed, but all at once when nothing fits: the blocks of a queue are
//! mostly of a few sizes and come back at once, and merging would only split them again.
//!
//! Where room is looked for, in this order: warm runs, cold runs, what the dead left behind, merged neighbours, a
//! new segment ([`super::grow`]); and before giving up, warm and cold neighbours merged. Small objects share pages
//! ([`super::slab`]).

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use crate::sys::{limits, memory};

use super::bins::Found;
use super::error::{ArenaError, Shortage};
use super::header::Header;
use super::lock::Guard;
use super::object::{self, HEADER, ObjectHeader, State, Status};
use super::offset::Off;
use super::pages::{self, Kind, PAGE, Run};
use super::participants::{self, Participant};
use super::stock::{Merge, cool};
use super::waiting::InQueues;
use super::{recover, segment, slab};
use crate::damage::{self, What};

/// Runs shorter than this are not worth a system call each to give them back. When there are very many, it is done for
/// all of them at once, merged.
const WORTH_COOLING: u32 = 16;

/// Where a new object is.
pub(super) struct Placed {
    pub off: Off,
    pub cold: bool,
}

/// Nothing that is free will do: because of this, or because nothing fits.
pub(super) struct NoRoom(pub(super) Option<ArenaError>);

/// The allocator, locked.
pub(super) struct Allocator {
    pub(super) header: &'static Header,
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
    allocator.place_or_grow(&wish).map_err(|e| match e {
        // Who is told that there is no room wants to know where it has gone.
        ArenaError::OutOfMemory { needed, why, .. } => {
            ArenaError::OutOfMemory { needed, why, in_queues: allocator.in_queues().unwrap_or_default() }
        }
        e => e,
    })
}

/// What is to be allocated.
pub(super) struct Wish {
    pub(super) kind: u32,
    pub(super) len: u64,
    pub(super) holder: Participant,
    size: Size,
}

enum Size {
    Small(u8),
    Pages(u32),
}

impl Wish {
    pub(super) fn new(kind: u32, len: u64, holder: Participant) -> Result<Self, ArenaError> {
        let total = len.saturating_add(HEADER);
        let size = match slab::class_of(total) {
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

    /// When a segment was made that is long enough, and still nothing fits.
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
    pub(super) fn lock(header: &'static Header) -> Result<Self, ArenaError> {
        damage::check()?;
        let allocator = Self { header, _guard: Guard::take(header)? };
        if header.stale.load(Ordering::Relaxed) != 0 {
            allocator.rebuild(Merge::Alike)?;
        }
        Ok(allocator)
    }

    /// Runs `f`; if it fails half-way, the bins are not to be believed any more.
    pub(super) fn or_stale<T>(&self, r: Result<T, ArenaError>) -> Result<T, ArenaError> {
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

    pub(super) fn new_state(&self, kind: u32) -> State {
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
            // The run is ours alone until it is committed, and long enough for a header.
            let object = object::header_at(at)?;
            object.prepare(wish.len, wish.holder);
            object.set_state(self.new_state(wish.kind));
            Ok(())
        });
        self.or_stale(r)?;
        add(&self.header.counts.objects, 1);
        Ok(Ok(Placed { off: found.at, cold: found.kind == Kind::Cold }))
    }

    /// Takes a free run out of its bin, a warm one if there is one.
    pub(super) fn take(&self, pages: u32) -> Result<Result<Found, NoRoom>, ArenaError> {
        let bins = &self.header.bins;
        let limit = self.header.limit.load(Ordering::Relaxed);
        let allocated = self.header.counts.allocated_pages.load(Ordering::Relaxed);
        if limit != 0 && allocated.saturating_add(u64::from(pages)).saturating_mul(PAGE) > limit {
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
    pub(super) fn carve(
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

    pub(super) fn free_pages(&self, kind: Kind) -> &crate::atomics::AtomicU64 {
        let counts = &self.header.counts;
        if kind == Kind::Warm { &counts.warm_pages } else { &counts.cold_pages }
    }

    /// Frees a DYING object whose holder is this process, and ends with the lock released. If enough is kept warm
    /// already, its memory is given back to the system, which takes a while and is done without the lock: until
    /// then it stays DYING.
    pub(super) fn free_and_cool(self, off: Off, object: &'static ObjectHeader) {
        let header = self.header;
        match self.free(off, object) {
            Err(_) => {}
            Ok(None) => {
                if self.keeps_too_much() {
                    // Failing, the stock is taken by the next allocation.
                    let _ = self.cool_down();
                }
            }
            Ok(Some(pages)) => {
                drop(self);
                // The first page, where the header is, goes when the header is needed no more.
                let kind = if cool(off, 1, pages) { Kind::Cold } else { Kind::Warm };
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
            let sheet = object::header_at(off)?;
            sheet.set_status(Status::Dying);
            self.free(off, sheet)?;
        }
        Ok(())
    }

    /// Frees a DYING object; or says how many pages it has, if these are to be given back first.
    pub(super) fn free(&self, off: Off, object: &ObjectHeader) -> Result<Option<u32>, ArenaError> {
        // Whoever frees it made it DYING; what is free already would come to be on a list twice.
        let state = object.state();
        let (start, run) = pages::run_of(off)?;
        match run.filter(|_| state.status() == Status::Dying) {
            Some(run) if run.kind == Kind::Slab && (off.byte() - start.byte()) % slab::small_size(run.class) == 0 => {
                let sheets = object.holders.places()?;
                crate::crash_point("arena.free.before-commit");
                object.set_state(State::new(state.generation(), 0, Status::Free));
                crate::crash_point("arena.free.after-commit");
                slab::link(&self.header.bins.slabs[run.class as usize], off, object);
                add(&self.header.freed, 1);
                add(&self.header.counts.spare_bytes, slab::small_size(run.class));
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
        let sheets = object.holders.places()?;
        object.set_state(State::new(object.state().generation(), 0, Status::Free));
        crate::crash_point("arena.free.before-commit");
        if kind == Kind::Cold && !cool(off, 0, 1) {
            // SAFETY: the object's first page is ours, and nobody looks at a free object.
            unsafe { segment::resolve(off, PAGE)?.write_bytes(0, PAGE as usize) };
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
        pages >= WORTH_COOLING && warm.saturating_add(u64::from(pages)) > limit
    }

    /// Whether far more is free and has memory than is to be kept, and it is time to look for it.
    fn keeps_too_much(&self) -> bool {
        let (header, counts) = (self.header, &self.header.counts);
        let warm = counts.warm_pages.load(Ordering::Relaxed).saturating_mul(PAGE);
        let spare = warm.saturating_add(counts.spare_bytes.load(Ordering::Relaxed));
        spare / 2 > header.warm_limit.load(Ordering::Relaxed)
            && header.freed.load(Ordering::Relaxed) > header.stock_due.load(Ordering::Relaxed)
    }

    fn is_worth_merging(&self) -> bool {
        let freed = self.header.freed.load(Ordering::Relaxed);
        freed > 0 && freed.saturating_mul(8) >= self.header.runs.load(Ordering::Relaxed)
    }
}

/// The lock is held, so nobody else counts.
pub(super) fn add(count: &crate::atomics::AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).saturating_add(n), Ordering::Relaxed);
}

pub(super) fn subtract(count: &crate::atomics::AtomicU64, n: u64) {
    count.store(count.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
}

/// Copies `bytes` to `off`, which is at `to` in this process: through the descriptor where the pages are cold and it is
/// still ours.
///
/// # Safety
/// There are `bytes.len()` bytes of room at `off` and `to`, which nobody else uses and which do not overlap `bytes`.
pub(super) unsafe fn copy_in(off: Off, to: NonNull<u8>, cold: bool, bytes: &[u8]) {
    if cold && bytes.len() as u64 >= PAGE {
        if let Ok(extent) = segment::extent_of(off) {
            let offset = extent.offset + off.byte();
            // The limit on the length of files may be lower here than where the segment was made.
            let fits = offset + bytes.len() as u64 <= limits::file_size();
            if let (true, Ok(file)) = (fits, segment::file()) {
                // SAFETY: the caller has this range to itself.
                if unsafe { memory::write_at(file, offset, bytes) }.is_ok() {
                    return;
                }
            }
        }
    }
    // SAFETY: the caller promises room without overlap.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
}
