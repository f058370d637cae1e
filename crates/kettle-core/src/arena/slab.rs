//! Small objects: pages divided into objects of one size, and the lists of the free ones.

use core::sync::atomic::Ordering;

use crate::atomics::AtomicU64;

use super::alloc::{Allocator, NoRoom, Placed, Wish, add, subtract};
use super::error::ArenaError;
use super::object::{self, ObjectHeader, State, Status};
use super::offset::Off;
use super::pages::{self, Kind, PAGE, Run};
use crate::damage::What;

/// Sizes of small objects, including the header. Each divides a page.
const CLASSES: [u64; 5] = [128, 256, 512, 1024, 2048];

/// Whether this run of small objects is a single page of a valid size.
pub(super) const fn is_class(run: Run) -> bool {
    (run.class as usize) < CLASSES.len() && run.pages == 1
}

/// The smallest class with room for `total` bytes, including the header.
pub(super) fn class_of(total: u64) -> Option<u8> {
    CLASSES.iter().position(|&size| total <= size).map(|class| class as u8)
}

impl Allocator {
    pub(super) fn place_small(&self, wish: &Wish, class: u8) -> Result<Result<Placed, NoRoom>, ArenaError> {
        let head = &self.header.bins.slabs[class as usize];
        if head.load(Ordering::Relaxed) == 0 {
            if let Err(no_room) = self.make_slab(class)? {
                return Ok(Err(no_room));
            }
        }
        let Some(off) = Off::from_bits(head.load(Ordering::Relaxed)) else { return Ok(Err(NoRoom(None))) };
        let object = self.or_stale(free_small(off, class))?;
        head.store(object.home.load(Ordering::Relaxed), Ordering::Relaxed);
        object.prepare(wish.len, wish.holder);
        crate::crash_point("arena.slab.before-commit");
        object.set_state(self.new_state(wish.kind));
        crate::crash_point("arena.slab.after-commit");
        add(&self.header.counts.objects, 1);
        subtract(&self.header.counts.spare_bytes, small_size(class));
        Ok(Ok(Placed { off, cold: false }))
    }

    /// Divides a page into small objects.
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
        let r = for_each_small(found.at, class, |off, object| link(head, off, object));
        self.or_stale(r)?;
        add(&self.header.counts.spare_bytes, PAGE);
        Ok(Ok(()))
    }

    /// The number of small objects in the list at `head`, which should be at most `most`.
    pub(super) fn count_small(&self, head: &AtomicU64, class: u8, most: u64) -> Result<u64, ArenaError> {
        let mut count = 0;
        let mut next = Off::from_bits(head.load(Ordering::Relaxed));
        while let Some(off) = next.filter(|_| count <= most) {
            count += 1;
            next = Off::from_bits(free_small(off, class)?.home.load(Ordering::Relaxed));
        }
        Ok(count)
    }
}

/// The free object of this class at `off`, to which a list refers.
fn free_small(off: Off, class: u8) -> Result<&'static ObjectHeader, ArenaError> {
    let (page, run) = pages::run_of(off)?;
    let is_page = run.is_some_and(|run| run.kind == Kind::Slab && run.class == class);
    if is_page && (off.byte() - page.byte()) % small_size(class) == 0 {
        let object = object::header_at(off)?;
        // An allocated object is no longer in the list; so a cyclic list ends here.
        if object.state().status() == Status::Free {
            return Ok(object);
        }
    }
    Err(pages::damaged(What::Bins, off, run.map_or(0, Run::to_bits)))
}

/// The size of the small objects of a class, including the header.
pub(super) const fn small_size(class: u8) -> u64 {
    CLASSES[class as usize]
}

/// The number of lists.
pub(super) const CLASS_COUNT: u8 = CLASSES.len() as u8;

/// Visits the small objects of a slab page, free or not.
pub(super) fn for_each_small(
    page: Off,
    class: u8,
    mut f: impl FnMut(Off, &'static ObjectHeader),
) -> Result<(), ArenaError> {
    let size = small_size(class);
    // From last to first, so that the list returns them in order.
    for n in (0..PAGE / size).rev() {
        let off = page.plus(n * size);
        f(off, object::header_at(off)?);
    }
    Ok(())
}

/// Pushes a free object onto a list.
pub(super) fn link(head: &AtomicU64, off: Off, object: &ObjectHeader) {
    object.home.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
    head.store(off.to_bits(), Ordering::Relaxed);
}
