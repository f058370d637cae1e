//! The block of a message that names objects: its entries, whose hand it is in, and freeing it together with what
//! nothing else holds.

use core::cell::RefCell;
use core::mem::ManuallyDrop;

use crate::arena::allocator::alloc::Allocator;
use crate::arena::layout::object_header::Status;
use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Participant;
use crate::arena::objects::raw::{self, Raw};
use crate::arena::objects::{census, freeing, holders};
use crate::arena::{membership, segment};
use crate::atomics::{AtomicU64, Ordering};

/// Set in a list's position: a process has taken it out of its queue.
const IN_HAND: u64 = 1 << 63;

/// An entry of a list.
#[repr(C)]
pub(in crate::arena) struct Name {
    pub off: AtomicU64,
    pub generation: AtomicU64,
}

/// Records that this process has taken a list out of its queue, after becoming its holder.
pub(in crate::arena) fn taken(list: &Raw) {
    let (home, position) = list.home();
    list.set_home(home, position | IN_HAND);
}

/// Whether a list belongs to the process that holds it, rather than to the queue that it was in, or is about to be put
/// into.
pub(in crate::arena) fn is_in_hand(list: &Raw) -> bool {
    let (home, position) = list.home();
    home == 0 || position & IN_HAND != 0
}

/// The entries of a list.
pub(in crate::arena) fn entries(list: &Raw) -> impl Iterator<Item = &'static Name> + use<> {
    let first = list.data().cast::<Name>();
    // SAFETY: a list's data consists of that many entries, which are atomics, in a mapping that stays.
    (0..list.len() / size_of::<Name>()).map(move |i| unsafe { first.add(i).as_ref() })
}

/// The objects that a list names. Requires the allocator's lock.
pub(in crate::arena) fn named(list: &Raw) -> impl Iterator<Item = Raw> + use<> {
    entries(list).filter_map(|name| {
        let off = Off::from_bits(name.off.load(Ordering::Relaxed))?;
        let raw = raw::find(off).ok().flatten()?;
        let state = raw.header().state();
        let generation = u64::from(state.generation());
        (state.status() == Status::Live && generation == name.generation.load(Ordering::Relaxed)).then_some(raw)
    })
}

/// Frees a list that this process owns, and the objects that nothing else holds.
///
/// # Safety
/// The caller has the right to free it, and it is no longer in use.
pub(in crate::arena) unsafe fn free_list(list: &Raw) {
    // A list that was never published was not counted; a list that is not freed here is left to a reclaim.
    let (Ok(me), Some(header)) = (membership::try_me(), segment::header_if_any()) else { return };
    let me = Participant::of(me);
    let Ok(allocator) = Allocator::lock(header) else { return };
    let counts = list.header().state().status() == Status::Live;
    if holders::condemn(list.header(), me).is_err() {
        return;
    }
    crate::crash_point("arena.names.condemned");
    let mut dead = Vec::new();
    if counts {
        for raw in named(list) {
            let object = raw.header();
            let is_last = object.holders.no_longer_named();
            // In a damaged arena everything is left as it is.
            let is_over =
                is_last && !object.state().is_kept() && matches!(holders::any_alive(&object.holders), Ok(false));
            if is_over && holders::condemn(object, me).is_ok() {
                dead.push(raw);
            }
        }
    }
    crate::crash_point("arena.names.dropped");
    allocator.free_and_cool(list.off(), list.header());
    bury(dead);
}

thread_local! {
    /// The objects that this thread is to tear down and free, while it does so. Without a destructor, as above.
    static DYING: RefCell<ManuallyDrop<Option<Vec<Raw>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Tears down and frees objects that are DYING in the hands of this process.
///
/// Freeing a queue frees its messages, and with them the objects they name, which may be queues again, and so on.
/// Objects that die during a teardown are therefore left to the loop that performs it: a chain of any length needs no
/// more stack than a single queue.
fn bury(dead: Vec<Raw>) {
    if dead.is_empty() {
        return;
    }
    let is_nested = DYING.with_borrow_mut(|dying| match &mut **dying {
        Some(others) => {
            others.extend(dead);
            true
        }
        none => {
            *none = Some(dead);
            false
        }
    });
    if is_nested {
        return;
    }
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            DYING.with_borrow_mut(|dying| **dying = None);
        }
    }
    let _done = Done;
    while let Some(raw) = DYING.with_borrow_mut(|dying| dying.as_mut().and_then(Vec::pop)) {
        end(&raw);
    }
}

fn end(raw: &Raw) {
    census::tear_down(raw);
    // SAFETY: it is DYING with this process as its only holder, so it is ours to free.
    unsafe { freeing::free(raw) };
}
