//! Small objects: pages divided into objects of one size, and the lists of the free ones.

use core::sync::atomic::Ordering;

use crate::arena::allocator::alloc::{Allocator, NoRoom, Placed, Wish, add, subtract};
use crate::arena::error::ArenaError;
use crate::arena::layout::object_header::{ObjectHeader, State, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::{Kind, PAGE, Run};
use crate::arena::layout::size_classes::small_size;
use crate::arena::objects::raw;
use crate::arena::pages;
use crate::atomics::AtomicU64;
use crate::damage::What;

impl Allocator {
    pub(in crate::arena) fn place_small(&self, wish: &Wish, class: u8) -> Result<Result<Placed, NoRoom>, ArenaError> {
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
    pub(in crate::arena) fn count_small(&self, head: &AtomicU64, class: u8, most: u64) -> Result<u64, ArenaError> {
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
        let object = raw::header_at(off)?;
        // An allocated object is no longer in the list; so a cyclic list ends here.
        if object.state().status() == Status::Free {
            return Ok(object);
        }
    }
    Err(pages::damaged(What::Bins, off, run.map_or(0, Run::to_bits)))
}

/// Visits the small objects of a slab page, free or not.
pub(in crate::arena) fn for_each_small(
    page: Off,
    class: u8,
    mut f: impl FnMut(Off, &'static ObjectHeader),
) -> Result<(), ArenaError> {
    let size = small_size(class);
    // From last to first, so that the list returns them in order.
    for n in (0..PAGE / size).rev() {
        let off = page.plus(n * size);
        f(off, raw::header_at(off)?);
    }
    Ok(())
}

/// Pushes a free object onto a list.
pub(in crate::arena) fn link(head: &AtomicU64, off: Off, object: &ObjectHeader) {
    object.home.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
    head.store(off.to_bits(), Ordering::Relaxed);
}
