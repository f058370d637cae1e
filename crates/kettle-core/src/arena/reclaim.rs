//! Reclaiming what dead processes left behind.

use core::sync::atomic::Ordering;

use crate::arena::allocator::alloc::Allocator;
use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::object_header::{NAMES, ObjectHeader, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Participant;
use crate::arena::membership;
use crate::arena::objects::census::{Fate, fate_of, tear_down};
use crate::arena::objects::freeing;
use crate::arena::objects::holders::{self, SHEET, any_alive};
use crate::arena::objects::raw::Raw;
use crate::arena::objects::reach::Reach;
use crate::arena::objects::walk::for_each_object;

/// The outcome of a reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// The number of objects freed.
    pub objects: usize,
    /// The number of bytes of data in them.
    pub bytes: u64,
    /// The number of bytes returned to the system, including memory that was free before.
    pub given_back: u64,
}

/// An object to free, and whether to tear it down first.
struct Garbage {
    raw: Raw,
    teardown: bool,
}

/// Frees what dead processes left behind.
///
/// Two steps are repeated until nothing more is found: under the lock, every object without a live holder is examined,
/// and unreachable ones become DYING with this process as their holder; then, without the lock, they are torn down and
/// freed. The repetition is needed because freeing a queue frees its content.
pub(in crate::arena) fn reclaim(header: &'static Header) -> Result<Reclaimed, ArenaError> {
    let mut sum = Reclaimed::default();
    loop {
        let round = condemn(header)?;
        if round.is_empty() {
            return Ok(sum);
        }
        crate::crash_point("arena.reclaim.condemned");
        for Garbage { raw, teardown } in round {
            sum.objects += 1;
            sum.bytes += raw.len() as u64;
            if teardown {
                tear_down(&raw);
            }
            // SAFETY: it is DYING with this process as its only holder, so it is ours to free.
            unsafe { freeing::free(&raw) };
        }
    }
}

fn condemn(header: &'static Header) -> Result<Vec<Garbage>, ArenaError> {
    let me = Participant::of(membership::try_me()?);
    let _allocator = Allocator::lock(header)?;
    // Before looking: later deaths set it again.
    header.dirty.store(0, Ordering::Release);
    let mut garbage = Vec::new();
    let r = Reach::find(header).and_then(|reach| {
        for_each_object(header, |off, object| {
            if object.state().status() == Status::Live {
                // Corrects counts left by processes that died in the middle of a change.
                object.holders.set_names(reach.count(off));
            }
            if let Some(teardown) = verdict(off, object, &reach)? {
                holders::condemn(object, me)?;
                // Being DYING in our hands keeps it.
                garbage.push(Garbage { raw: Raw::at(off)?, teardown });
            }
            Ok(())
        })
    });
    if let Err(e) = r {
        header.dirty.store(1, Ordering::Release);
        return Err(e);
    }
    Ok(garbage)
}

/// None if it is alive; otherwise whether it is to be torn down before it is freed.
fn verdict(off: Off, object: &'static ObjectHeader, reach: &Reach) -> Result<Option<bool>, ArenaError> {
    let state = object.state();
    match state.status() {
        Status::Free => Ok(None),
        Status::New | Status::Dying => Ok((!any_alive(&object.holders)?).then_some(false)),
        Status::Live if state.kind() == NAMES => Ok(reach.is_garbage(off).then_some(false)),
        Status::Live => {
            if state.is_kept() || any_alive(&object.holders)? || reach.reaches(off) {
                return Ok(None);
            }
            let raw = Raw::at(off)?;
            if raw.kind() == SHEET {
                return Ok((!holders::reach(off, raw.home().0)?).then_some(false));
            }
            if fate_of(&raw) == Fate::Reachable {
                return Ok(None);
            }
            // Another process may have taken the object from where it was between the check of the holders and the
            // answer of the census. A process that takes it becomes its holder first; so if there still is no holder,
            // it was not there to be taken.
            Ok((!any_alive(&object.holders)?).then_some(true))
        }
    }
}
