//! What is reachable from what, as far as the arena does not know it itself: chunks and messages from queues.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::arena::error::Waiting;
use crate::arena::layout::offset::Off;
use crate::arena::objects::raw::Raw;

/// An object without a live holder, as seen by a census.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The kind of its body.
    pub kind: u32,
    /// Its offset.
    pub off: Off,
    /// Its generation.
    pub generation: u32,
    /// The address of its data in this process.
    pub data: NonNull<u8>,
    /// The length of its data in bytes.
    pub len: usize,
    /// The object from which it was declared reachable, and the position in it.
    pub home: u64,
    /// See `home`.
    pub position: u64,
}

/// The verdict on an object without a live holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Something alive reaches it.
    Reachable,
    /// It will never be used again.
    Garbage,
}

/// Knows what is reachable from what: chunks and messages from queues.
pub trait Census: Sync {
    /// Whether something alive still reaches `object`.
    ///
    /// Called under the allocator's lock: it must not allocate, free or wait. Other processes continue meanwhile, so an
    /// answer of *garbage* must be final, unless another process becomes the object's holder in the meantime.
    fn fate(&self, object: &Found) -> Fate;

    /// If `object` is a queue: its content. Called under the allocator's lock, like [`fate`](Self::fate).
    fn waiting(&self, object: &Found) -> Option<Waiting> {
        let _ = object;
        None
    }

    /// Does for the body `object` what its `teardown` would have done, if no code is left that knows its type: its last
    /// holder was killed, or a message was the last to name it. Called once, without any lock of the arena held.
    fn teardown(&self, object: &Found);
}

/// A census that knows only about holders.
struct ByHolders;

impl Census for ByHolders {
    fn fate(&self, _: &Found) -> Fate {
        Fate::Garbage
    }
    fn teardown(&self, _: &Found) {}
}

static CENSUS: AtomicPtr<&'static dyn Census> = AtomicPtr::new(ptr::null_mut());

/// Sets the census that this process uses. Must be called once, before any other use of the arena.
pub fn set_census(census: &'static dyn Census) {
    // Leaked, like the census itself; a pointer to a pointer fits into one word.
    let census = Box::into_raw(Box::new(census));
    if CENSUS.compare_exchange(ptr::null_mut(), census, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: it came from a box above, and no other thread has seen it.
        drop(unsafe { Box::from_raw(census) });
    }
}

pub(in crate::arena) fn census() -> &'static dyn Census {
    match NonNull::new(CENSUS.load(Ordering::Acquire)) {
        // SAFETY: CENSUS is null or a leaked box stored by `set_census`.
        Some(census) => unsafe { *census.as_ref() },
        None => &ByHolders,
    }
}

/// The verdict on an object, if no live process holds it.
pub(in crate::arena) fn fate_of(raw: &Raw) -> Fate {
    census().fate(&found(raw))
}

/// Does for an object of any kind what its body's teardown does.
pub(in crate::arena) fn tear_down(raw: &Raw) {
    census().teardown(&found(raw));
}

pub(in crate::arena) fn found(raw: &Raw) -> Found {
    let (home, position) = raw.home();
    Found {
        kind: raw.kind(),
        off: raw.off(),
        generation: raw.generation(),
        data: raw.data(),
        len: raw.len(),
        home,
        position,
    }
}
