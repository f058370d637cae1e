//! Handles: counting them here, and holding their objects.

use crate::arena::allocator::alloc::Allocator;
use crate::arena::error::ArenaError;
use crate::arena::held::{self, Entries, Held, Holding};
use crate::arena::layout::object_header::Status;
use crate::arena::layout::participant::Participant;
use crate::arena::local_lock::LocalGuard;
use crate::arena::objects::holding::add_holder;
use crate::arena::objects::raw::{self, Raw};
use crate::arena::objects::{freeing, holders};
use crate::arena::participants::this_process;
use crate::arena::{membership, segment};
use crate::atomics::Ordering;
use crate::damage;

static HOLDING: Holding = Holding { hold_for, hold_again };

/// Locks what this process holds, after making sure that this process is registered.
pub(in crate::arena) fn lock() -> Result<LocalGuard<'static, Held>, ArenaError> {
    damage::check()?;
    membership::try_me()?;
    Ok(held::lock())
}

/// Counts a new handle to an object that this process holds.
pub(in crate::arena) fn add(held: &mut Held, raw: &Raw) {
    held.add(raw.off(), raw.generation(), &HOLDING);
}

fn hold_for(entries: &Entries, child: Participant) {
    for &off in entries.keys() {
        // This process holds an object there, so it cannot be freed meanwhile.
        if let Ok(object) = raw::header_at(off) {
            add_holder(object, off, child, None);
        }
    }
}

fn hold_again(entries: &mut Entries, me: Participant) {
    let Some(header) = segment::header_if_any() else { return };
    let Ok(allocator) = Allocator::lock(header) else { return };
    entries.retain(|&off, entry| {
        // An object began there when the parent held it; its generation tells whether it is still the same.
        let Ok(object) = raw::header_at(off) else { return false };
        let state = object.state();
        let same = state.generation() == entry.generation && matches!(state.status(), Status::New | Status::Live);
        if same {
            add_holder(object, off, me, Some(&allocator));
        }
        same
    });
}

/// Becomes a holder of a live object, for a handle.
///
/// False if it is no longer the intended object.
pub(in crate::arena) fn acquire(raw: &Raw, generation: u32) -> Result<bool, ArenaError> {
    let me = Participant::of(membership::try_me()?);
    let mut held = lock()?;
    let object = raw.header();
    let is_meant = || object.state().status() == Status::Live && object.state().generation() == generation;
    // If this process already holds it, the object stays. Otherwise it may be freed at any time, so its links are not
    // followed before the lock is held; a process that is a holder only beyond the header is then added again, without
    // effect.
    if !object.state().is_kept() && !object.holders.are_first(me) {
        // Its last holder may be leaving right now. Objects begin to die under this lock only.
        let allocator = Allocator::lock(membership::header()?)?;
        if !is_meant() {
            return Ok(false);
        }
        add_holder(object, raw.off(), me, Some(&allocator));
    }
    if !is_meant() {
        return Ok(false);
    }
    add(&mut held, raw);
    Ok(true)
}

/// Releases one handle. After the last one of the last process, tears the object down and frees it.
///
/// # Safety
/// The handle was counted by [`add`] or [`acquire`], and is no longer in use.
pub(in crate::arena) unsafe fn let_go(raw: &Raw, teardown: impl FnOnce()) {
    let mut held = held::lock();
    if !held.remove(raw.off()) || raw.header().state().is_kept() {
        return;
    }
    // A process that has not registered (it left, or was forked just now) holds nothing that others know of.
    let (Some(me), Some(header)) = (this_process::registered(), segment::header_if_any()) else { return };
    let object = raw.header();
    {
        let Ok(_allocator) = Allocator::lock(header) else { return };
        // In a damaged arena everything is left as it is.
        if holders::remove(&object.holders, me).is_err() {
            return;
        }
        crate::crash_point("arena.handle.let-go");
        if holders::any_alive(&object.holders).unwrap_or(true) {
            return;
        }
        if object.holders.is_named() {
            // It goes with the last message that names it; or it contains that message itself, in which case a reclaim
            // finds it.
            header.dirty.store(1, Ordering::Release);
            return;
        }
        if holders::condemn(object, me).is_err() {
            return;
        }
    }
    drop(held);
    crate::crash_point("arena.object.dying");
    teardown();
    // SAFETY: it is DYING with this process as its only holder, so it is ours to free.
    unsafe { freeing::free(raw) };
}
