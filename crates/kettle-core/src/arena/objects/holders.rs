//! The holders that keep an object alive: a few entries in its header, and further ones as needed.
//!
//! An entry names a participant, or is empty (0). Entries of dead processes stay until their room is needed, so a lock
//! that a thousand short-lived children were given, a few at a time, still needs only a few entries.
//!
//! When live processes use all entries in the header (a pool of sixteen workers is nothing unusual), a *sheet* of
//! further entries is created: an object of its own, whose home is the object it belongs to, and whose offset is
//! written to the last link. Sheets are never unlinked while the object lives, so the chain is read without a lock. A
//! sheet that was created but not linked, or whose object was freed, is found unreachable by a reclaim.

use core::sync::atomic::Ordering;

use crate::arena::error::{ArenaError, TokenError};
use crate::arena::layout::object_header::{Holders, ObjectHeader, Status};
use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Participant;
use crate::arena::objects::raw::{self, Raw};
use crate::arena::pages;
use crate::atomics::{AtomicU32, AtomicU64};
use crate::damage::{self, What};
use crate::sys::futex::Scope;
use crate::sys::owner::Owner;

/// The kind of sheets.
pub(in crate::arena) const SHEET: u32 = 0;
/// Together with the header this makes an object of 256 bytes.
const PER_SHEET: usize = 46;

#[repr(C)]
pub(in crate::arena) struct Sheet {
    /// The next sheet, or 0.
    pub more: AtomicU64,
    pub entries: [AtomicU32; PER_SHEET],
}

/// A process has at most one entry, so this many sheets are enough for all of them.
const SHEETS: usize = (Owner::SLOTS as usize).div_ceil(PER_SHEET) + 1;

/// The sheet that a link refers to, if any. Links are read while their object is held, or under the allocator's lock,
/// so that no sheet is freed meanwhile.
fn sheet(link: &AtomicU64) -> Result<Option<&'static Sheet>, ArenaError> {
    Off::from_bits(link.load(Ordering::Acquire)).map(sheet_at).transpose()
}

fn sheet_at(off: Off) -> Result<&'static Sheet, ArenaError> {
    let raw = Raw::at(off)?;
    if raw.kind() != SHEET || raw.header().state().status() == Status::Free || raw.len() < size_of::<Sheet>() {
        return Err(pages::damaged(What::Holders, off, u64::from(raw.kind())));
    }
    // SAFETY: the data is as long as a sheet, aligned to 64 bytes, and stays mapped; a sheet consists of atomics.
    Ok(unsafe { raw.data().cast::<Sheet>().as_ref() })
}

/// Visits the sheets in order, each with the link that refers to it, until `visit` returns a value.
#[inline]
pub(in crate::arena) fn find_sheet<T>(
    holders: &Holders,
    mut visit: impl FnMut(&'static Sheet, u64) -> Option<T>,
) -> Result<Option<T>, ArenaError> {
    if holders.more.load(Ordering::Acquire) == 0 {
        return Ok(None);
    }
    let mut link = &holders.more;
    for _ in 0..SHEETS {
        let place = link.load(Ordering::Acquire);
        let Some(sheet) = sheet(link)? else { return Ok(None) };
        if let Some(found) = visit(sheet, place) {
            return Ok(Some(found));
        }
        link = &sheet.more;
    }
    match link.load(Ordering::Acquire) {
        0 => Ok(None),
        more => Err(damage::mark(Scope::Shared, What::Holders, more, more).into()),
    }
}

/// Whether `found` returns true for an entry.
pub(in crate::arena) fn any(holders: &Holders, mut found: impl FnMut(&AtomicU32) -> bool) -> Result<bool, ArenaError> {
    if holders.first.iter().any(&mut found) {
        return Ok(true);
    }
    Ok(find_sheet(holders, |sheet, _| sheet.entries.iter().any(&mut found).then_some(()))?.is_some())
}

pub(in crate::arena) fn contains(holders: &Holders, p: Participant) -> Result<bool, ArenaError> {
    any(holders, |e| e.load(Ordering::Acquire) == p.to_bits())
}

/// Whether a holder is alive.
pub(in crate::arena) fn any_alive(holders: &Holders) -> Result<bool, ArenaError> {
    any(holders, |e| Participant::from_bits(e.load(Ordering::Acquire)).is_some_and(|p| !p.is_dead()))
}

pub(in crate::arena) fn remove(holders: &Holders, p: Participant) -> Result<(), ArenaError> {
    any(holders, |e| {
        let _ = e.compare_exchange(p.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
        false
    })?;
    Ok(())
}

/// Leaves only `p`, or no holder. The new holder is stored first, so that there is one at every instant.
pub(in crate::arena) fn replace(holders: &Holders, p: Option<Participant>) -> Result<(), ArenaError> {
    holders.first[0].store(p.map_or(0, Participant::to_bits), Ordering::Release);
    holders.first[1..].iter().for_each(|e| e.store(0, Ordering::Release));
    find_sheet(holders, |sheet, _| {
        sheet.entries.iter().for_each(|e| e.store(0, Ordering::Release));
        None::<()>
    })?;
    Ok(())
}

/// The offsets of the sheets, which are freed with the object.
pub(in crate::arena) fn places(holders: &Holders) -> Result<Vec<Off>, ArenaError> {
    let mut places = Vec::new();
    find_sheet(holders, |_, place| {
        places.extend(Off::from_bits(place));
        None::<()>
    })?;
    Ok(places)
}

/// For a reclaim, which holds the allocator's lock: whether a sheet still belongs to an object.
pub(in crate::arena) fn reach(sheet: Off, home: u64) -> Result<bool, ArenaError> {
    let Some(owner) = Off::from_bits(home) else { return Ok(false) };
    let owner = match raw::find(owner) {
        Ok(Some(owner)) => owner,
        Err(TokenError::Arena(e)) => return Err(e),
        Ok(None) | Err(_) => return Ok(false),
    };
    Ok(owner.header().state().status() != Status::Free && places(&owner.header().holders)?.contains(&sheet))
}

/// Makes it DYING in the hands of `p`.
pub(in crate::arena) fn condemn(object: &ObjectHeader, p: Participant) -> Result<(), ArenaError> {
    replace(&object.holders, Some(p))?;
    object.set_status(Status::Dying);
    Ok(())
}

impl Raw {
    /// Makes `holder` the only holder.
    ///
    /// # Errors
    /// If the list of holders is damaged.
    pub fn stamp(&self, holder: Participant) -> Result<(), ArenaError> {
        replace(&self.header().holders, Some(holder))
    }

    /// Removes all holders: it lives as long as the census reaches it.
    ///
    /// # Errors
    /// If the list of holders is damaged.
    pub fn disown(&self) -> Result<(), ArenaError> {
        replace(&self.header().holders, None)
    }
}
