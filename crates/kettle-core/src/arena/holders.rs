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

use crate::atomics::{AtomicU32, AtomicU64};

use super::alloc::{Allocator, Wish};
use super::error::{ArenaError, TokenError};
use super::object::{self, Raw, Status};
use super::offset::Off;
use super::participants::{self, Participant};
use super::{pages, segment};
use crate::damage::{self, What};
use crate::sys::futex::Scope;
use crate::sys::owner::Owner;

/// The kind of sheets.
pub(super) const SHEET: u32 = 0;
const FIRST: usize = 5;
/// Together with the header this makes an object of 256 bytes.
const PER_SHEET: usize = 46;

#[repr(C)]
pub(super) struct Holders {
    /// The number of lists of names that keep the object alive as well; see [`super::names`]. Changed under the
    /// allocator's lock.
    names: AtomicU32,
    first: [AtomicU32; FIRST],
    /// The first sheet, or 0.
    more: AtomicU64,
}

#[repr(C)]
struct Sheet {
    /// The next sheet, or 0.
    more: AtomicU64,
    entries: [AtomicU32; PER_SHEET],
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

impl Holders {
    /// Initializes the holders of a new object, overwriting any previous content: one holder.
    pub(super) fn begin(&self, p: Participant) {
        self.names.store(0, Ordering::Relaxed);
        self.first[0].store(p.to_bits(), Ordering::Relaxed);
        self.first[1..].iter().for_each(|e| e.store(0, Ordering::Relaxed));
        self.more.store(0, Ordering::Relaxed);
    }

    /// Whether a list names it. After a death this may be out of date until a reclaim corrects it.
    pub(super) fn is_named(&self) -> bool {
        self.names.load(Ordering::Relaxed) != 0
    }

    /// With the allocator's lock held: sets the number of lists that name it.
    pub(super) fn set_names(&self, count: u32) {
        self.names.store(count, Ordering::Relaxed);
    }

    /// With the allocator's lock held: counts one more list.
    pub(super) fn named(&self) {
        self.set_names(self.names.load(Ordering::Relaxed).saturating_add(1));
    }

    /// With the allocator's lock held: counts one list less; returns whether that was the last one.
    pub(super) fn no_longer_named(&self) -> bool {
        let names = self.names.load(Ordering::Relaxed);
        self.set_names(names.saturating_sub(1));
        names == 1
    }

    /// Visits the sheets in order, each with the link that refers to it, until `visit` returns a value.
    #[inline]
    fn find_sheet<T>(&self, mut visit: impl FnMut(&'static Sheet, u64) -> Option<T>) -> Result<Option<T>, ArenaError> {
        if self.more.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        let mut link = &self.more;
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
    fn any(&self, mut found: impl FnMut(&AtomicU32) -> bool) -> Result<bool, ArenaError> {
        if self.first.iter().any(&mut found) {
            return Ok(true);
        }
        Ok(self.find_sheet(|sheet, _| sheet.entries.iter().any(&mut found).then_some(()))?.is_some())
    }

    /// Whether `p` is among the entries in the header, for a caller that does not know whether the object stays: links
    /// are not followed.
    pub(super) fn are_first(&self, p: Participant) -> bool {
        self.first.iter().any(|e| e.load(Ordering::Acquire) == p.to_bits())
    }

    pub(super) fn contains(&self, p: Participant) -> Result<bool, ArenaError> {
        self.any(|e| e.load(Ordering::Acquire) == p.to_bits())
    }

    /// Whether a holder is alive.
    pub(super) fn any_alive(&self) -> Result<bool, ArenaError> {
        self.any(|e| Participant::from_bits(e.load(Ordering::Acquire)).is_some_and(|p| !p.is_dead()))
    }

    pub(super) fn remove(&self, p: Participant) -> Result<(), ArenaError> {
        self.any(|e| {
            let _ = e.compare_exchange(p.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
            false
        })?;
        Ok(())
    }

    /// Leaves only `p`, or no holder. The new holder is stored first, so that there is one at every instant.
    pub(super) fn replace(&self, p: Option<Participant>) -> Result<(), ArenaError> {
        self.first[0].store(p.map_or(0, Participant::to_bits), Ordering::Release);
        self.first[1..].iter().for_each(|e| e.store(0, Ordering::Release));
        self.find_sheet(|sheet, _| {
            sheet.entries.iter().for_each(|e| e.store(0, Ordering::Release));
            None::<()>
        })?;
        Ok(())
    }

    /// Adds `p` to the holders of the object at `owner`. `allocator`: the lock, if the caller has it.
    ///
    /// # Errors
    /// If there is no room for another sheet.
    pub(super) fn add(&self, owner: Off, p: Participant, allocator: Option<&Allocator>) -> Result<(), ArenaError> {
        if self.contains(p)? {
            return Ok(());
        }
        let put = |e: &AtomicU32, seen: u32| {
            e.compare_exchange(seen, p.to_bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        loop {
            // Empty entries first: checking for dead processes takes a system call.
            if self.any(|e| e.load(Ordering::Relaxed) == 0 && put(e, 0))? {
                return Ok(());
            }
            let of_the_dead = |bits: u32| Participant::from_bits(bits).is_some_and(Participant::is_dead);
            if self.any(|e| {
                let seen = e.load(Ordering::Relaxed);
                of_the_dead(seen) && put(e, seen)
            })? {
                return Ok(());
            }
            self.append_sheet(owner, allocator)?;
        }
    }

    fn append_sheet(&self, owner: Off, allocator: Option<&Allocator>) -> Result<(), ArenaError> {
        let me = Participant::of(participants::try_me()?);
        let wish = Wish::new(SHEET, size_of::<Sheet>() as u64, me)?;
        let placed = match allocator {
            Some(allocator) => allocator.place_or_grow(&wish)?,
            // Not the full procedure, which reclaims: what it tears down may need locks that the caller holds.
            None => Allocator::lock(segment::header()?)?.place_or_grow(&wish)?,
        };
        // The object has just been created, and is ours until it is disowned.
        let raw = Raw::at(placed.off)?;
        // SAFETY: its data is as long as a sheet and aligned to 64 bytes; zeros are an empty sheet.
        unsafe { raw.data().cast::<Sheet>().write_bytes(0, 1) };
        raw.set_home(owner.to_bits(), 0);
        raw.publish();
        crate::crash_point("arena.holders.before-link");
        let mut last = &self.more;
        self.find_sheet(|sheet, _| {
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
                None => unsafe { raw.free() },
            },
        }
        Ok(())
    }

    /// The offsets of the sheets, which are freed with the object.
    pub(super) fn places(&self) -> Result<Vec<Off>, ArenaError> {
        let mut places = Vec::new();
        self.find_sheet(|_, place| {
            places.extend(Off::from_bits(place));
            None::<()>
        })?;
        Ok(places)
    }

    /// For a reclaim, which holds the allocator's lock: whether a sheet still belongs to an object.
    pub(super) fn reach(sheet: Off, home: u64) -> Result<bool, ArenaError> {
        let Some(owner) = Off::from_bits(home) else { return Ok(false) };
        let owner = match object::find(owner) {
            Ok(Some(owner)) => owner,
            Err(TokenError::Arena(e)) => return Err(e),
            Ok(None) | Err(_) => return Ok(false),
        };
        Ok(owner.header().state().status() != Status::Free && owner.header().holders.places()?.contains(&sheet))
    }
}
