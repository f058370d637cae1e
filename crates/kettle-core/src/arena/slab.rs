//! Small objects: pages that are cut into objects of one size, and the lists of those that are free.

use core::sync::atomic::Ordering;

use crate::atomics::AtomicU64;

use super::alloc::{Allocator, NoRoom, Placed, Wish, add};
use super::error::ArenaError;
use super::object::{self, ObjectHeader, State, Status};
use super::offset::Off;
use super::pages::{Kind, PAGE, Run};

/// Sizes of small objects, header included. Each divides a page.
const CLASSES: [u64; 5] = [128, 256, 512, 1024, 2048];

/// The smallest class in which so many bytes have room, header included.
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
        let r = for_each_small(found.at, class, |off, object| link(head, off, object));
        self.or_stale(r)?;
        Ok(Ok(()))
    }

    /// How many small objects are listed from `head` on.
    pub(super) fn count_small(&self, head: &AtomicU64) -> u64 {
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

/// Puts a free object in front of a list.
pub(super) fn link(head: &AtomicU64, off: Off, object: &ObjectHeader) {
    object.home.store(head.load(Ordering::Relaxed), Ordering::Relaxed);
    head.store(off.to_bits(), Ordering::Relaxed);
}
