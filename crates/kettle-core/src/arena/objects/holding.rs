//! Adding holders, which may need memory: another sheet.

use core::sync::atomic::Ordering;

use crate::arena::allocator::alloc::{Allocator, Wish, add};
use crate::arena::error::ArenaError;
use crate::arena::layout::object_header::{Holders, OVERFLOW, ObjectHeader, PINNED, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Participant;
use crate::arena::objects::freeing;
use crate::arena::objects::holders::{SHEET, Sheet, any, contains, find_sheet};
use crate::arena::objects::raw::Raw;
use crate::arena::{membership, segment};
use crate::atomics::AtomicU32;

/// Keeps an object alive as long as the session lives.
pub(in crate::arena) fn pin(object: &ObjectHeader) {
    keep(object, PINNED, None);
}

/// Keeps it alive as long as the session lives. `allocator`: the lock, if the caller has it.
fn keep(object: &ObjectHeader, flag: u64, allocator: Option<&Allocator>) {
    // Pinned objects are counted under the lock.
    let header = segment::header_if_any();
    let _lock = match (allocator, header) {
        (None, Some(header)) => Allocator::lock(header).ok(),
        _ => None,
    };
    let before = object.set_flag(flag);
    if let (false, Some(header)) = (before.is_kept(), header) {
        add(&header.counts.pinned, 1);
    }
}

/// Adds a holder, unless the object is kept in any case. Called by a holder, or under the allocator's lock.
pub(in crate::arena) fn add_holder(object: &ObjectHeader, off: Off, p: Participant, allocator: Option<&Allocator>) {
    if !object.state().is_kept() && add_entry(&object.holders, off, p, allocator).is_err() {
        keep(object, OVERFLOW, allocator);
    }
}

/// Adds `p` to the holders of the object at `owner`. `allocator`: the lock, if the caller has it.
///
/// # Errors
/// If there is no room for another sheet.
fn add_entry(holders: &Holders, owner: Off, p: Participant, allocator: Option<&Allocator>) -> Result<(), ArenaError> {
    if contains(holders, p)? {
        return Ok(());
    }
    let put =
        |e: &AtomicU32, seen: u32| e.compare_exchange(seen, p.to_bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
    loop {
        // Empty entries first: checking for dead processes takes a system call.
        if any(holders, |e| e.load(Ordering::Relaxed) == 0 && put(e, 0))? {
            return Ok(());
        }
        let of_the_dead = |bits: u32| Participant::from_bits(bits).is_some_and(Participant::is_dead);
        if any(holders, |e| {
            let seen = e.load(Ordering::Relaxed);
            of_the_dead(seen) && put(e, seen)
        })? {
            return Ok(());
        }
        append_sheet(holders, owner, allocator)?;
    }
}

fn append_sheet(holders: &Holders, owner: Off, allocator: Option<&Allocator>) -> Result<(), ArenaError> {
    let me = Participant::of(membership::try_me()?);
    let wish = Wish::new(SHEET, size_of::<Sheet>() as u64, me)?;
    let placed = match allocator {
        Some(allocator) => allocator.place_or_grow(&wish)?,
        // Not the full procedure, which reclaims: what it tears down may need locks that the caller holds.
        None => Allocator::lock(membership::header()?)?.place_or_grow(&wish)?,
    };
    // The object has just been created, and is ours until it is disowned.
    let raw = Raw::at(placed.off)?;
    // SAFETY: its data is as long as a sheet and aligned to 64 bytes; zeros are an empty sheet.
    unsafe { raw.data().cast::<Sheet>().write_bytes(0, 1) };
    raw.set_home(owner.to_bits(), 0);
    raw.publish();
    crate::crash_point("arena.holders.before-link");
    let mut last = &holders.more;
    find_sheet(holders, |sheet, _| {
        last = &sheet.more;
        None::<()>
    })?;
    match last.compare_exchange(0, placed.off.to_bits(), Ordering::AcqRel, Ordering::Relaxed) {
        // From now on the link keeps it alive.
        Ok(_) => raw.disown()?,
        // Another thread has made room in the meantime.
        Err(_) => match allocator {
            Some(allocator) => {
                raw.header().set_status(Status::Dying);
                allocator.free(placed.off, raw.header())?;
            }
            // SAFETY: no other code has seen it.
            None => unsafe { freeing::free(&raw) },
        },
    }
    Ok(())
}
