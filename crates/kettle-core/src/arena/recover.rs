//! Reclaiming what dead processes left behind.

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

/// An object without a live holder, as seen by a census.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The kind of its body.
    pub kind: u32,
    /// Its offset.
    pub off: Off,
    /// Its generation.
    pub generation: u32,
    /// The address of its data in this process.
    pub data: NonNull<u8>,
    /// The length of its data in bytes.
    pub len: usize,
    /// The object from which it was declared reachable, and the position in it.
    pub home: u64,
    /// See `home`.
    pub position: u64,
}

/// The verdict on an object without a live holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Something alive reaches it.
    Reachable,
    /// It will never be used again.
    Garbage,
}

/// Knows what is reachable from what: chunks and messages from queues.
pub trait Census: Sync {
    /// Whether something alive still reaches `object`.
    ///
    /// Called under the allocator's lock: it must not allocate, free or wait. Other processes continue meanwhile, so an
    /// answer of *garbage* must be final, unless another process becomes the object's holder in the meantime.
    fn fate(&self, object: &Found) -> Fate;

    /// If `object` is a queue: its content. Called under the allocator's lock, like [`fate`](Self::fate).
    fn waiting(&self, object: &Found) -> Option<Waiting> {
        let _ = object;
        None
    }

    /// Does for the body `object` what its `teardown` would have done, if no code is left that knows its type: its last
    /// holder was killed, or a message was the last to name it. Called once, without any lock of the arena held.
    fn teardown(&self, object: &Found);
}

/// A census that knows only about holders.
struct ByHolders;

impl Census for ByHolders {
    fn fate(&self, _: &Found) -> Fate {
        Fate::Garbage
    }
    fn teardown(&self, _: &Found) {}
}

static CENSUS: AtomicPtr<&'static dyn Census> = AtomicPtr::new(ptr::null_mut());

/// Sets the census that this process uses. Must be called once, before any other use of the arena.
pub fn set_census(census: &'static dyn Census) {
    // Leaked, like the census itself; a pointer to a pointer fits into one word.
    let census = Box::into_raw(Box::new(census));
    if CENSUS.compare_exchange(ptr::null_mut(), census, Ordering::Release, Ordering::Relaxed).is_err() {
        // SAFETY: it came from a box above, and no other thread has seen it.
        drop(unsafe { Box::from_raw(census) });
    }
}

pub(super) fn census() -> &'static dyn Census {
    match NonNull::new(CENSUS.load(Ordering::Acquire)) {
        // SAFETY: CENSUS is null or a leaked box stored by `set_census`.
        Some(census) => unsafe { *census.as_ref() },
        None => &ByHolders,
    }
}

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
                object.condemn(me)?;
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

/// Visits all objects, including free ones.
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

/// None if it is alive; otherwise whether it is to be torn down before it is freed.
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
            // Another process may have taken the object from where it was between the check of the holders and the
            // answer of the census. A process that takes it becomes its holder first; so if there still is no holder,
            // it was not there to be taken.
            Ok((!object.holders.any_alive()?).then_some(true))
        }
    }
}

/// The verdict on an object, if no live process holds it.
pub(super) fn fate_of(raw: &Raw) -> Fate {
    census().fate(&found(raw))
}

/// Does for an object of any kind what its body's teardown does.
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
