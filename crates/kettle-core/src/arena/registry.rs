//! What this process holds: one entry per object, however many handles to it there are.
//!
//! Other processes see only that this one holds an object. The number of handles is counted here, so that cloning a
//! handle touches no shared memory, and so that at a fork everything can be held for the child as well.
//!
//! Lock order: this one, then the allocator's.

use std::collections::BTreeMap;

use crate::atomics::Ordering;

use super::alloc::Allocator;
use super::error::ArenaError;
use super::local::{LocalGuard, LocalLock};
use super::object::{self, Raw, Status};
use super::offset::Off;
use super::participants::{self, Participant};
use super::{identity, segment};
use crate::damage;

static REGISTRY: LocalLock<Registry> = LocalLock::new(Registry { entries: BTreeMap::new() });

pub(super) struct Registry {
    entries: BTreeMap<Off, Entry>,
}

struct Entry {
    handles: usize,
    generation: u32,
}

/// Locks the registry, after making sure that this process is registered.
pub(super) fn lock() -> Result<LocalGuard<'static, Registry>, ArenaError> {
    damage::check()?;
    participants::try_me()?;
    Ok(lock_unregistered())
}

/// Locks the registry, whether or not this process is registered.
pub(super) fn lock_unregistered() -> LocalGuard<'static, Registry> {
    let mut registry = REGISTRY.lock();
    if registry.torn {
        // This process was forked behind the C library's back while another thread was in here. What that thread left
        // may not even be a valid tree, so it is neither used nor dropped; the objects stay held until this process
        // ends.
        core::mem::forget(core::mem::take(&mut registry.entries));
        registry.torn = false;
    }
    registry
}

/// Keeps the lock beyond this call; see [`unlock_after_fork`].
pub(super) fn lock_before_fork() {
    core::mem::forget(lock_unregistered());
}

/// Ends what [`lock_before_fork`] began.
///
/// # Safety
/// Called once for each of those, by the same thread, or in a forked child by its copy.
pub(super) unsafe fn unlock_after_fork(in_child: bool) {
    // SAFETY: as the caller guarantees; a freshly forked process has one thread.
    unsafe {
        if in_child {
            REGISTRY.unlock_in_child();
        } else {
            REGISTRY.unlock_forgotten();
        }
    }
}

/// For a fork handler that acquired the lock by [`lock_before_fork`]: holds all objects for the child.
///
/// # Safety
/// The calling thread holds the lock.
pub(super) unsafe fn hold_all_for(child: Participant) {
    // SAFETY: the caller holds the lock, and returns no other reference.
    unsafe { REGISTRY.peek() }.hold_for(child);
}

impl Registry {
    /// Counts a new handle to an object that this process holds.
    pub(super) fn add(&mut self, raw: &Raw) {
        let entry = self.entries.entry(raw.off()).or_insert(Entry { handles: 0, generation: raw.generation() });
        entry.handles += 1;
    }

    /// Counts one handle less; returns whether it was the last one.
    fn remove(&mut self, off: Off) -> bool {
        let Some(entry) = self.entries.get_mut(&off) else { return false };
        entry.handles -= 1;
        if entry.handles > 0 {
            return false;
        }
        self.entries.remove(&off);
        true
    }

    /// Adds `child` to the holders of everything that is held here.
    pub(super) fn hold_for(&self, child: Participant) {
        for &off in self.entries.keys() {
            // This process holds an object there, so it cannot be freed meanwhile.
            if let Ok(object) = object::header_at(off) {
                object.add_holder(off, child, None);
            }
        }
    }

    /// After a fork without handlers: the child has handles, but is not a holder yet. Objects that were freed in the
    /// meantime are lost.
    pub(super) fn hold_again(&mut self, me: Participant) {
        if self.entries.is_empty() {
            return;
        }
        let Some(header) = segment::header_if_any() else { return };
        let Ok(allocator) = Allocator::lock(header) else { return };
        self.entries.retain(|&off, entry| {
            // An object began there when the parent held it; its generation tells whether it is still the same.
            let Ok(object) = object::header_at(off) else { return false };
            let state = object.state();
            let same = state.generation() == entry.generation && matches!(state.status(), Status::New | Status::Live);
            if same {
                object.add_holder(off, me, Some(&allocator));
            }
            same
        });
    }

    /// Whether nothing is held here.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Discards all entries, since this process leaves.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Becomes a holder of a live object, for a handle.
///
/// False if it is no longer the intended object.
pub(super) fn acquire(raw: &Raw, generation: u32) -> Result<bool, ArenaError> {
    let me = Participant::of(participants::try_me()?);
    let mut registry = lock()?;
    let object = raw.header();
    let is_meant = || object.state().status() == Status::Live && object.state().generation() == generation;
    // If this process already holds it, the object stays. Otherwise it may be freed at any time, so its links are not
    // followed before the lock is held; a process that is a holder only beyond the header is then added again, without
    // effect.
    if !object.state().is_kept() && !object.holders.are_first(me) {
        // Its last holder may be leaving right now. Objects begin to die under this lock only.
        let allocator = Allocator::lock(segment::header()?)?;
        if !is_meant() {
            return Ok(false);
        }
        object.add_holder(raw.off(), me, Some(&allocator));
    }
    if !is_meant() {
        return Ok(false);
    }
    registry.add(raw);
    Ok(true)
}

/// Releases one handle. After the last one of the last process, tears the object down and frees it.
///
/// # Safety
/// The handle was counted by [`Registry::add`] or [`acquire`], and is no longer in use.
pub(super) unsafe fn let_go(raw: &Raw, teardown: impl FnOnce()) {
    let mut registry = lock_unregistered();
    if !registry.remove(raw.off()) || raw.header().state().is_kept() {
        return;
    }
    // A process that has not registered (it left, or was forked just now) holds nothing that others know of.
    let (Some(me), Some(header)) = (identity::registered(), segment::header_if_any()) else { return };
    let object = raw.header();
    {
        let Ok(_allocator) = Allocator::lock(header) else { return };
        // In a damaged arena everything is left as it is.
        if object.holders.remove(me).is_err() {
            return;
        }
        crate::crash_point("arena.handle.let-go");
        if object.holders.any_alive().unwrap_or(true) {
            return;
        }
        if object.holders.is_named() {
            // It goes with the last message that names it; or it contains that message itself, in which case a reclaim
            // finds it.
            header.dirty.store(1, Ordering::Release);
            return;
        }
        if object.condemn(me).is_err() {
            return;
        }
    }
    drop(registry);
    crate::crash_point("arena.object.dying");
    teardown();
    // SAFETY: it is DYING with this process as its only holder, so it is ours to free.
    unsafe { raw.free() };
}
