//! How a process gets a row of its own, and how it leaves the row.

use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::participant::{Participant, Ticket};
use crate::arena::layout::participant_rows::{FREE, Identity, LIVE, State};
use crate::arena::segment;
use crate::atomics::Ordering;
use crate::sys::process;

use super::rows::{claim, free, row, rows};

/// Reserves a row for a process that is about to exist, in this state.
pub(in crate::arena) fn reserve(header: &'static Header, status: u8) -> Result<Ticket, ArenaError> {
    let pid = process::id();
    let (slot, generation) = claim(header, pid)?;
    row(header, slot).state.store(State::new(pid, generation, status).0, Ordering::Release);
    Ok(Ticket::new(slot, generation))
}

/// Gives up a reserved row, because the process could not be started.
pub fn release(ticket: Ticket) {
    vacate(ticket.participant());
}

/// Records which process has the reserved row, as soon as its starter knows: from then on the process's death is
/// noticed even if it never came to [`adopt`](super::adopt) the row.
pub fn child_started(ticket: Ticket, pid: u32) {
    if let Some(header) = segment::header_if_any() {
        let row = row(header, ticket.participant().owner().slot());
        let state = State(row.state.load(Ordering::Acquire));
        if state.generation() == ticket.participant().owner().generation() && state.awaits_process() {
            // Only from 0, so that it cannot hit the row's next user, which clears the word while the row is CLAIMED.
            let _ = row.identity.compare_exchange(0, Identity::of(pid).0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// Records that a child was reaped, which saves other processes from finding out.
pub fn child_gone(ticket: Ticket) {
    vacate(ticket.participant());
}

/// Registers this process in a row of its own.
pub(in crate::arena) fn register(header: &'static Header) -> Result<Participant, ArenaError> {
    segment::check_namespace(header)?;
    let identity = Identity::of(process::id());
    vacate_earlier(header, identity, None);
    let (slot, generation) = claim(header, process::id())?;
    let row = row(header, slot);
    row.identity.store(identity.0, Ordering::Relaxed);
    // Release: a process that sees LIVE also sees the identity.
    row.state.store(State::new(0, generation, LIVE).0, Ordering::Release);
    Ok(Participant::new(slot, generation))
}

/// Registers this process in the row reserved for it.
pub(in crate::arena) fn occupy(header: &'static Header, ticket: Ticket) -> Result<Participant, ArenaError> {
    segment::check_namespace(header)?;
    let mine = Identity::of(process::id());
    vacate_earlier(header, mine, Some(ticket));
    let owner = ticket.participant().owner();
    let row = row(header, owner.slot());
    let state = State(row.state.load(Ordering::Acquire));
    if state.generation() != owner.generation() || !(state.awaits_process() || state.status() == LIVE) {
        return Err(ArenaError::TicketGone);
    }
    // Its starter may have written it already; or it took the row before it executed another program.
    match row.identity.compare_exchange(0, mine.0, Ordering::AcqRel, Ordering::Acquire) {
        Err(other) if !Identity(other).may_be(mine) => return Err(ArenaError::TicketGone),
        _ => {}
    }
    let live = State::new(0, owner.generation(), LIVE);
    match row.state.compare_exchange(state.0, live.0, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) => Ok(ticket.participant()),
        Err(_) => Err(ArenaError::TicketGone),
    }
}

/// Frees the rows that this process had before it executed another program: what it held is gone with its memory.
fn vacate_earlier(header: &'static Header, mine: Identity, but: Option<Ticket>) {
    for (slot, row) in (1..).zip(rows(header)) {
        let state = State(row.state.load(Ordering::Acquire));
        let is_mine = state.status() == LIVE && row.identity.load(Ordering::Acquire) == mine.0;
        if is_mine && but != Some(Ticket::new(slot, state.generation())) {
            free(header, row, state);
        }
    }
}

/// Frees the row of a participant that is gone, unless that has happened already.
pub(in crate::arena) fn vacate(participant: Participant) {
    let Some(header) = segment::header_if_any() else { return };
    let owner = participant.owner();
    let row = row(header, owner.slot());
    loop {
        let state = State(row.state.load(Ordering::Acquire));
        if state.generation() != owner.generation() || state.status() == FREE || free(header, row, state) {
            return;
        }
    }
}
