//! The participant that this process is, for the cost of a few loads.
//!
//! This knowledge belongs to an epoch of the process ([`process::epoch`]), which ends with a fork of any kind: the
//! child finds that it knows nothing, and registers anew.

use core::sync::atomic::Ordering;

use crate::atomics::{AtomicU32, AtomicU64};
use crate::sys::owner::Owner;
use crate::sys::process;

use super::error::ArenaError;
use super::participants::{self, Participant, Ticket};
use super::{registry, segment};

/// The epoch in which this process registered; 0 if it has not, or left.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// A [`Participant`], valid while `SINCE` is the current epoch.
static PARTICIPANT: AtomicU32 = AtomicU32::new(0);

#[inline]
pub(super) fn current() -> Result<Owner, ArenaError> {
    let epoch = process::epoch();
    let participant = match registered_in(epoch) {
        Some(participant) => participant,
        None => find_out()?,
    };
    Ok(this_thread_of(participant, epoch))
}

/// The same without the reason for failure, which costs more to return than everything else.
#[inline]
pub(super) fn current_if_any() -> Option<Owner> {
    // Read once, for both the process and the thread.
    let epoch = process::epoch();
    let participant = registered_in(epoch).or_else(find_out_if_any)?;
    Some(this_thread_of(participant, epoch))
}

#[inline(always)]
fn this_thread_of(participant: Participant, epoch: u64) -> Owner {
    Owner::from_bits(participant.owner().to_bits() | u64::from(process::thread_id_in(epoch)))
}

#[cold]
fn find_out_if_any() -> Option<Participant> {
    find_out().ok()
}

/// Whether that is this process. Does not register it.
pub(super) fn is_me(participant: Participant) -> bool {
    registered() == Some(participant)
}

/// This process, if it has registered.
#[inline]
pub(super) fn registered() -> Option<Participant> {
    registered_in(process::epoch())
}

#[inline(always)]
fn registered_in(epoch: u64) -> Option<Participant> {
    // Acquire pairs with the release in `publish`.
    if SINCE.load(Ordering::Acquire) != epoch || epoch == 0 {
        return None;
    }
    Participant::from_bits(PARTICIPANT.load(Ordering::Relaxed))
}

/// Whether this process has registered.
#[inline(always)]
pub(super) fn is_registered() -> bool {
    let since = SINCE.load(Ordering::Acquire);
    since != 0 && process::is_epoch(since)
}

/// The first call in a process.
#[cold]
fn find_out() -> Result<Participant, ArenaError> {
    let header = segment::header()?;
    let mut registry = registry::lock_unregistered();
    if let Some(participant) = registered() {
        return Ok(participant);
    }
    let participant = participants::register(header)?;
    publish(participant)?;
    // Handles that a fork without our handlers left here are not held by this process yet.
    registry.hold_again(participant);
    Ok(participant)
}

/// See [`participants::adopt`].
pub(super) fn adopt(ticket: Ticket) -> Result<(), ArenaError> {
    let _registry = registry::lock_unregistered();
    adopt_locked(ticket)
}

/// The same for a caller that holds the registry's lock.
pub(super) fn adopt_locked(ticket: Ticket) -> Result<(), ArenaError> {
    match registered() {
        Some(mine) if mine == ticket.participant() => Ok(()),
        Some(_) => Err(ArenaError::AlreadyRegistered),
        None => publish(participants::occupy(segment::header()?, ticket)?),
    }
}

/// Forgets this process's identity, since it left.
pub(super) fn forget() {
    SINCE.store(0, Ordering::Release);
}

/// The caller holds the registry's lock.
fn publish(participant: Participant) -> Result<(), ArenaError> {
    let epoch = process::epoch();
    if epoch == 0 {
        // Without a page that detects forks, this knowledge would not be reliable.
        participants::vacate(participant);
        return Err(ArenaError::Map(std::io::ErrorKind::OutOfMemory.into()));
    }
    PARTICIPANT.store(participant.to_bits(), Ordering::Relaxed);
    SINCE.store(epoch, Ordering::Release);
    Ok(())
}
