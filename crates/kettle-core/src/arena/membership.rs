//! Taking part in the session: a process registers when it first needs to, and may leave.

use std::sync::Once;

use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::participant::{Participant, Ticket};
use crate::arena::layout::participant_rows::{EXPECTED, RESERVED};
use crate::arena::participants::{self, this_process};
use crate::arena::{fork, held, segment};
use crate::sys::owner::Owner;
use crate::sys::process;

/// The session's header. Begins a session if there is none yet.
#[inline]
pub(in crate::arena) fn header() -> Result<&'static Header, ArenaError> {
    match segment::header_if_any() {
        Some(header) => Ok(header),
        None => segment::begin(fork::install_handlers),
    }
}

/// This thread of this process. The first call in a process registers it, and begins a session if there is none.
///
/// # Panics
/// If the session cannot be begun or has no room; [`try_me`] returns an error instead.
#[inline]
pub fn me() -> Owner {
    try_me().unwrap_or_else(|e| panic!("this process cannot take part in the session: {e}"))
}

/// This thread of this process; see [`me`].
///
/// # Errors
/// If the session cannot be begun, or has no room for this process.
#[inline]
pub fn try_me() -> Result<Owner, ArenaError> {
    let epoch = process::epoch();
    let participant = match this_process::registered_in(epoch) {
        Some(participant) => participant,
        None => join()?,
    };
    Ok(this_thread_of(participant, epoch))
}

/// This thread of this process; None where [`try_me`] returns an error, which costs more to return than everything
/// else.
#[inline]
pub fn me_if_any() -> Option<Owner> {
    // Read once, for both the process and the thread.
    let epoch = process::epoch();
    let participant = this_process::registered_in(epoch).or_else(join_if_possible)?;
    Some(this_thread_of(participant, epoch))
}

#[inline(always)]
fn this_thread_of(participant: Participant, epoch: u64) -> Owner {
    Owner::from_bits(participant.owner().to_bits() | u64::from(process::thread_id_in(epoch)))
}

/// Whether this process has registered, as it does at first use.
#[inline]
pub fn is_registered() -> bool {
    this_process::is_registered()
}

#[cold]
fn join_if_possible() -> Option<Participant> {
    join().ok()
}

/// The first call in a process.
#[cold]
fn join() -> Result<Participant, ArenaError> {
    let header = header()?;
    let mut held = held::lock();
    if let Some(participant) = this_process::registered() {
        return Ok(participant);
    }
    let participant = participants::register(header)?;
    publish(participant)?;
    // Handles that a fork without our handlers left here are not held by this process yet.
    held.hold_again(participant);
    Ok(participant)
}

/// The caller holds the lock of what this process holds.
fn publish(participant: Participant) -> Result<(), ArenaError> {
    if !this_process::publish(participant) {
        participants::vacate(participant);
        return Err(ArenaError::Map(std::io::ErrorKind::OutOfMemory.into()));
    }
    Ok(())
}

/// Reserves a row for a process that is about to be started, so that objects can be held for it before it exists.
///
/// The caller ends with [`child_started`](participants::child_started) and later
/// [`child_gone`](participants::child_gone), or with [`release`](participants::release).
///
/// # Errors
/// If no session can be begun, or if it has no room for another process.
pub fn reserve_child() -> Result<Ticket, ArenaError> {
    participants::reserve(header()?, RESERVED)
}

/// The same for a child that is about to be forked.
pub(in crate::arena) fn expect_child() -> Result<Ticket, ArenaError> {
    participants::reserve(header()?, EXPECTED)
}

/// In the new process: takes the row that was reserved for it. A process that took it and then executed another program
/// takes it again.
///
/// # Errors
/// If the row was given up, or if this process registered by itself before.
pub fn adopt(ticket: Ticket) -> Result<(), ArenaError> {
    let _held = held::lock();
    adopt_locked(ticket)
}

/// The same for a caller that holds the lock of what this process holds.
pub(in crate::arena) fn adopt_locked(ticket: Ticket) -> Result<(), ArenaError> {
    match this_process::registered() {
        Some(mine) if mine == ticket.participant() => Ok(()),
        Some(_) => Err(ArenaError::AlreadyRegistered),
        None => publish(participants::occupy(header()?, ticket)?),
    }
}

/// Ends this process's participation in the session: its row is freed, and objects that only it held may be reclaimed
/// by others.
///
/// # Safety
/// No thread of this process uses anything in the arena from now on, except to drop it.
pub unsafe fn leave() {
    let mut held = held::lock();
    held.clear();
    if let Some(me) = this_process::registered() {
        this_process::forget();
        participants::vacate(me);
    }
}

/// Makes this process [`leave`] when it ends by returning from `main` or by `exit`, if it has a single thread by then
/// and holds nothing. Otherwise other processes notice its end, since destructors that run later may still use what
/// they hold. A [`Block`](super::Block) does not count; it is not kept beyond the end of `main`.
///
/// Must be called once, before anything is placed; further calls have no effect. Forked children inherit it.
pub fn leave_at_exit() {
    static ONCE: Once = Once::new();
    // If this fails (no memory for a pointer), the others find out by themselves, as they do about killed processes.
    ONCE.call_once(|| drop(crate::sys::child::at_exit(at_exit)));
}

extern "C" fn at_exit() {
    // The process ends even if this fails.
    let _ = std::panic::catch_unwind(leave_if_done);
}

/// As [`leave`], if this is the only thread of its process and nothing is held here any more; returns whether the
/// process does not participate now.
pub fn leave_if_done() -> bool {
    // Most processes that get here never joined a session; counting threads would cost more than everything they did.
    if segment::header_if_any().is_none() {
        return true;
    }
    let is_done = held::lock().is_empty() && crate::sys::process::thread_count() == Some(1);
    if is_done {
        // SAFETY: no handle and no lease is left, and no other thread that could be about to create one. If this thread
        // creates one later, it registers anew.
        unsafe { leave() };
    }
    is_done
}
