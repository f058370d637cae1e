//! What this process holds: one entry per object, however many handles to it there are.
//!
//! Other processes see only that this one holds an object. The number of handles is counted here, so that cloning a
//! handle touches no shared memory, and so that at a fork everything can be held for the child as well.
//!
//! This module knows the objects by their offsets. What it takes to hold them is supplied together with the first entry
//! ([`Holding`]).
//!
//! Lock order: this one, then the allocator's.

use std::collections::BTreeMap;

use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Participant;
use crate::arena::local_lock::{LocalGuard, LocalLock};

static HELD: LocalLock<Held> = LocalLock::new(Held { entries: BTreeMap::new(), holding: None });

pub(in crate::arena) type Entries = BTreeMap<Off, Entry>;

/// The entries, and how to hold them for another process.
pub(in crate::arena) struct Held {
    entries: Entries,
    /// Set with the first entry.
    holding: Option<&'static Holding>,
}

pub(in crate::arena) struct Entry {
    pub handles: usize,
    pub generation: u32,
}

/// What a fork needs to do with the objects.
pub(in crate::arena) struct Holding {
    /// Adds a child to the holders of everything that is held here.
    pub hold_for: fn(&Entries, Participant),
    /// After a fork without handlers: the child has handles, but is not a holder yet. Removes what was freed in the
    /// meantime.
    pub hold_again: fn(&mut Entries, Participant),
}

/// Locks it, whether or not this process is registered.
pub(in crate::arena) fn lock() -> LocalGuard<'static, Held> {
    let mut held = HELD.lock();
    if held.torn {
        // This process was forked behind the C library's back while another thread was in here. What that thread left
        // may not even be a valid tree, so it is neither used nor dropped; the objects stay held until this process
        // ends.
        core::mem::forget(core::mem::take(&mut held.entries));
        held.torn = false;
    }
    held
}

/// Keeps the lock beyond this call; see [`unlock_after_fork`].
pub(in crate::arena) fn lock_before_fork() {
    core::mem::forget(lock());
}

/// Ends what [`lock_before_fork`] began.
///
/// # Safety
/// Called once for each of those, by the same thread, or in a forked child by its copy.
pub(in crate::arena) unsafe fn unlock_after_fork(in_child: bool) {
    // SAFETY: as the caller guarantees; a freshly forked process has one thread.
    unsafe {
        if in_child {
            HELD.unlock_in_child();
        } else {
            HELD.unlock_forgotten();
        }
    }
}

/// For a fork handler that acquired the lock by [`lock_before_fork`]: holds all objects for the child.
///
/// # Safety
/// The calling thread holds the lock.
pub(in crate::arena) unsafe fn hold_all_for(child: Participant) {
    // SAFETY: the caller holds the lock, and returns no other reference.
    let held = unsafe { HELD.peek() };
    if let Some(holding) = held.holding {
        (holding.hold_for)(&held.entries, child);
    }
}

impl Held {
    /// Counts a new handle to an object that this process holds.
    pub(in crate::arena) fn add(&mut self, off: Off, generation: u32, holding: &'static Holding) {
        self.holding = Some(holding);
        self.entries.entry(off).or_insert(Entry { handles: 0, generation }).handles += 1;
    }

    /// Counts one handle less; returns whether it was the last one.
    pub(in crate::arena) fn remove(&mut self, off: Off) -> bool {
        let Some(entry) = self.entries.get_mut(&off) else { return false };
        entry.handles -= 1;
        if entry.handles > 0 {
            return false;
        }
        self.entries.remove(&off);
        true
    }

    /// See [`Holding::hold_again`].
    pub(in crate::arena) fn hold_again(&mut self, me: Participant) {
        if let (false, Some(holding)) = (self.entries.is_empty(), self.holding) {
            (holding.hold_again)(&mut self.entries, me);
        }
    }

    /// Whether nothing is held here.
    pub(in crate::arena) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Discards all entries, since this process leaves.
    pub(in crate::arena) fn clear(&mut self) {
        self.entries.clear();
    }
}
