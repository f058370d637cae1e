//! Tidying up after the dead.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::alloc::Allocator;
use super::error::ArenaError;
use super::header::Header;
use super::holders::{Holders, SHEET};
use super::names::NAMES;
use super::object::{self, ObjectHeader, Raw, Status};
use super::offset::Off;
use super::pages::{self, Kind};
use super::participants::{self, Participant};
use super::reach::Reach;
use super::slab;
use super::waiting::Waiting;

/// An object without a living holder, as a census sees it.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Which kind of body it is.
    pub kind: u32,
    /// Its name.
    pub off: Off,
    /// Which of the objects there.
    pub generation: u32,
    /// Its data in this process.
    pub data: NonNull<u8>,
    /// How many bytes of data.
    pub len: usize,
    /// From where it was said to be reached, and where in it.
    pub home: u64,
    /// See `home`.
    pub position: u64,
}

/// What becomes of an object without a living holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Something that is alive reaches it.
    Reachable,
    /// Nobody will ever use it again.
    Garbage,
}

/// Knows what reaches what: queues their chunks and messages.
pub trait Census: Sync {
    /// Whether something that is alive still reaches `object`.
    ///
    /// Asked under the allocator's lock: it must not allocate, free or wait. Others go on meanwhile; so an answer of
    /// *garbage* must be one that stays true, unless somebody made himself the object's holder in the meantime.
    fn fate(&self, object: &Found) -> Fate;

    /// If `object` is a queue: what waits in it. Asked under the allocator's lock, like [`fate`](Self::fate).
    fn waiting(&self, object: &Found) -> Option<Waiting> {
        let _ = object;
        None
    }

    /// Does for the body `object` what its `teardown` would have done, where nothing is left that knows its type: its last
    /// holder was killed, or a message was the last to name it. Asked once, without any lock of the arena held.
    fn teardown(&self, object: &Found);
}

/// The census that knows of nothing but holders.
struct ByHolders;

impl Census for ByHolders {
    fn fate(&self, _: &Found) -> Fate {
        Fate::Garbage
    }
    fn teardown(&self, _: &Found) {}
}

static CENSUS: AtomicPtr<&'static dyn Census> = AtomicPtr::new(ptr::null_mut());

/// Sets the census that this process uses. To be called once, before anything else happens to the arena.
pub fn set_census(census: &'static dyn Census) {
    // Kept for ever, like the census itself; a pointer to a pointer is what fits in one word.
    let census = Box::into_raw(Box::new(census));
    if CENSUS.compare_exchange(ptr::null_mut(), census, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: it came from a box just now, and nobody else has seen it.
        drop(unsafe { Box::from_raw(census) });
    }
}

pub(super) fn census() -> &'static dyn Census {
    match NonNull::new(CENSUS.load(Ordering::Acquire)) {
        // SAFETY: CENSUS is null or what `set_census` stored there for ever.
        Some(census) => unsafe { *census.as_ref() },
        None => &ByHolders,
    }
}

/// What a reclaim found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// How many objects.
    pub objects: usize,
    /// How many bytes of data they had.
    pub bytes: u64,
    /// How many bytes of memory the system has back, of these and of what was free before.
    pub given_back: u64,
}

/// Something to free, and whether to tear it down first.
struct Garbage {
    raw: Raw,
    teardown: bool,
}

/// Frees what the dead left behind.
///
/// Two steps, until nothing more is found: under the lock, everything without a living holder is looked at, and what
/// nobody reaches is made DYING, with this process as its holder; then, without the lock, it is torn down and freed.
/// Rounds, because with a queue goes what was in it.
pub(super) fn reclaim(header: &'static Header) -> Result<Reclaimed, ArenaError> {
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
            unsafe { raw.free() };
        }
    }
}

fn condemn(header: &'static Header) -> Result<Vec<Garbage>, ArenaError> {
    let me = Participant::of(participants::try_me()?);
    let _allocator = Allocator::lock(header)?;
    // Before looking: who dies from here on sets it again.
    header.dirty.store(0, Ordering::Release);
    let mut garbage = Vec::new();
    let r = Reach::find(header).and_then(|reach| {
        for_each_object(header, |off, object| {
            if object.state().status() == Status::Live {
                // What those who died in the middle of a change had left wrong.
                object.holders.set_names(reach.count(off));
            }
            if let Some(teardown) = verdict(off, object, &reach)? {
                object.condemn(me)?;
                // It is kept by its being DYING in our hands.
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

/// Visits all objects, free ones among them.
pub(super) fn for_each_object(
    header: &'static Header,
    mut look: impl FnMut(Off, &'static ObjectHeader) -> Result<(), ArenaError>,
) -> Result<(), ArenaError> {
    pages::walk(header, |at, run| match run.kind {
        Kind::Object => look(at, object::header_at(at)?),
        Kind::Slab => {
            let mut r = Ok(());
            slab::for_each_small(at, run.class, |off, object| {
                if r.is_ok() {
                    r = look(off, object);
                }
            })?;
            r
        }
        Kind::Warm | Kind::Cold | Kind::Map => Ok(()),
    })
}

/// None: it lives. Otherwise: whether it is to be torn down before it is freed.
fn verdict(off: Off, object: &'static ObjectHeader, reach: &Reach) -> Result<Option<bool>, ArenaError> {
    let state = object.state();
    match state.status() {
        Status::Free => Ok(None),
        Status::New | Status::Dying => Ok((!object.holders.any_alive()?).then_some(false)),
        Status::Live if state.kind() == NAMES => Ok(reach.is_garbage(off).then_some(false)),
        Status::Live => {
            if state.is_kept() || object.holders.any_alive()? || reach.reaches(off) {
                return Ok(None);
            }
            let raw = Raw::at(off)?;
            if raw.kind() == SHEET {
                return Ok((!Holders::reach(off, raw.home().0)?).then_some(false));
            }
            if fate_of(&raw) == Fate::Reachable {
                return Ok(None);
            }
            // Somebody may have taken it out of where it was between our look at the holders and the census's. Who
            // takes, first makes himself the holder; so if there still is none, it was not there to be taken.
            Ok((!object.holders.any_alive()?).then_some(true))
        }
    }
}

/// What becomes of an object, if nobody alive holds it.
pub(super) fn fate_of(raw: &Raw) -> Fate {
    census().fate(&found(raw))
}

/// Does for an object of whatever kind what its body's teardown does.
pub(super) fn tear_down(raw: &Raw) {
    census().teardown(&found(raw));
}

pub(super) fn found(raw: &Raw) -> Found {
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
