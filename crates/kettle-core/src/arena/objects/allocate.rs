//! Allocating objects.

use core::sync::atomic::Ordering;

use crate::arena::allocator::alloc::{Allocator, Placed, Wish};
use crate::arena::allocator::rebuild::Merge;
use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::object_header::HEADER;
use crate::arena::layout::participant::Participant;
use crate::arena::objects::in_queues;
use crate::arena::objects::raw::Raw;
use crate::arena::{membership, participants, reclaim, segment};

/// Allocates an object with `len` bytes of data of arbitrary content. It is NEW, and held by this process.
///
/// # Errors
/// [`ArenaError::OutOfMemory`] if there is no room.
pub fn allocate(kind: u32, len: usize) -> Result<Raw, ArenaError> {
    let me = Participant::of(membership::try_me()?);
    let placed = find_room(membership::header()?, kind, len as u64, me)?;
    // The run has just been created with that length.
    let start = segment::resolve(placed.off, HEADER + len as u64)?;
    Ok(Raw::new(placed.off, start, len, placed.cold))
}

/// Allocates an object that is NEW and held by `holder`.
fn find_room(header: &'static Header, kind: u32, len: u64, holder: Participant) -> Result<Placed, ArenaError> {
    let wish = Wish::new(kind, len, holder)?;
    if let Ok(placed) = Allocator::lock(header)?.place(&wish)? {
        return Ok(placed);
    }
    // Liveness checks, and teardowns of dead processes' objects, run without the lock.
    participants::find_the_dead(header);
    if header.dirty.load(Ordering::Acquire) != 0 {
        reclaim::reclaim(header)?;
    }
    let allocator = Allocator::lock(header)?;
    if let Ok(placed) = allocator.place(&wish)? {
        return Ok(placed);
    }
    if allocator.is_worth_merging() {
        allocator.rebuild(Merge::Alike)?;
    }
    allocator.place_or_grow(&wish).map_err(|e| match e {
        // Include where the room has gone in the error.
        ArenaError::OutOfMemory { needed, why, .. } => {
            ArenaError::OutOfMemory { needed, why, in_queues: in_queues::in_queues(&allocator).unwrap_or_default() }
        }
        e => e,
    })
}
