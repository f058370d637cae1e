//! The list of a barrier's parties beyond those that fit into the barrier itself.
//!
//! It is a separate object of the required length, created and freed with the barrier.

use core::slice;

use super::kind;
use crate::arena::{self, ArenaError, Off, Participant, Raw};
use crate::atomics::AtomicU64;
use crate::crash_point;
use crate::damage::{self, What};
use crate::sync::{Barrier, NoWords};
use crate::sys::futex::Scope;

/// Creates the list of `barrier`, which is at `off`, if it needs one.
pub(super) fn make(barrier: &Barrier, off: Off) -> Result<(), ArenaError> {
    let len = barrier.entries_beyond() * size_of::<AtomicU64>();
    if len == 0 {
        return Ok(());
    }
    let list = arena::allocate(kind::PARTIES, len)?;
    // SAFETY: fresh memory of that length, which is not shared yet.
    unsafe { list.data().write_bytes(0, len) };
    list.set_home(off.to_bits(), 0);
    list.publish();
    crash_point("barrier.list.before-link");
    barrier.set_further(list.off().to_bits());
    crash_point("barrier.list.linked");
    // From now on the barrier is its only holder.
    list.disown()
}

/// The entries in the list at `place`.
pub(super) fn list(place: u64) -> Result<&'static [AtomicU64], NoWords> {
    let raw = find(place)?;
    // SAFETY: the object's data is inside a segment, which stays mapped, and aligned to 64 bytes; any bytes are valid
    // atomics, and are accessed as such only.
    Ok(unsafe { slice::from_raw_parts(raw.data().cast().as_ptr(), raw.len() / size_of::<AtomicU64>()) })
}

/// Frees the list of a barrier that is no longer in use, if it has one.
pub(super) fn free(barrier: &Barrier) {
    let place = barrier.further();
    if place == 0 {
        return;
    }
    // If there is no list at that place, the session is marked, and nothing is freed any more.
    let Ok(list) = find(place) else { return };
    let Ok(me) = arena::participants::try_me() else { return };
    // Should this process die halfway, the list is attributed to it.
    if list.stamp(Participant::of(me)).is_ok() {
        barrier.set_further(0);
        // SAFETY: the barrier is no longer in use, and a list belongs to a single barrier.
        unsafe { list.free() };
    }
}

fn find(place: u64) -> Result<Raw, NoWords> {
    let damaged = |value: u64| {
        damage::mark(Scope::Shared, What::Entry, place, value);
        NoWords::Damaged
    };
    let off = Off::from_bits(place).ok_or_else(|| damaged(0))?;
    let raw = Raw::at(off).map_err(|e| match e {
        ArenaError::Damaged(_) => NoWords::Damaged,
        e => NoWords::Unmapped(e.to_string()),
    })?;
    if raw.kind() != kind::PARTIES || !raw.is_live() {
        return Err(damaged(raw.kind().into()));
    }
    Ok(raw)
}
