//! The rows of the table, and the transitions from and to FREE.

use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::layout::participant_rows::{CLAIMED, FREE, Identity, RESERVED, SLOTS, Slot, State};
use crate::atomics::Ordering;
use crate::sys::{clock, process};

/// How long a row waits for a process whose ID is unknown, in nanoseconds. From the fork to taking the row it is less
/// than a millisecond, but a machine may be busy.
const PATIENCE: u64 = 10_000_000_000;

pub(in crate::arena) fn row(header: &'static Header, slot: u32) -> &'static Slot {
    &header.participants.slots[slot as usize]
}

/// The rows that were ever used. Rows are assigned in turn, so the search ends at the last one assigned.
pub(in crate::arena) fn rows(header: &'static Header) -> impl Iterator<Item = &'static Slot> {
    let used = header.participants.hint.load(Ordering::Relaxed) as usize;
    header.participants.slots[1..].iter().take(used)
}

/// Whether the process that a row is for is alive, or may still appear.
pub(in crate::arena) fn occupant_lives(row: &Slot, state: State) -> bool {
    let reserver_lives = || state.reserver() == process::id() || process::is_alive(state.reserver(), None);
    let identity = Identity(row.identity.load(Ordering::Acquire));
    if state.status() == CLAIMED {
        return reserver_lives();
    }
    if state.awaits_process() && identity.0 == 0 {
        let young = clock::now().saturating_sub(row.since.load(Ordering::Relaxed)) < PATIENCE;
        return young || state.status() == RESERVED && reserver_lives();
    }
    identity.pid() == process::id() || identity.is_alive()
}

/// Takes a free row; returns its index and generation.
pub(in crate::arena) fn claim(header: &'static Header, pid: u32) -> Result<(u32, u32), ArenaError> {
    for attempt in 0..2 {
        for _ in 1..SLOTS {
            let turn = header.participants.hint.fetch_add(1, Ordering::Relaxed);
            let slot = (turn % (SLOTS as u64 - 1)) as u32 + 1;
            let row = row(header, slot);
            let state = State(row.state.load(Ordering::Relaxed));
            if state.status() != FREE {
                continue;
            }
            let claimed = State::new(pid, state.generation(), CLAIMED);
            if row.state.compare_exchange(state.0, claimed.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                crate::crash_point("arena.participants.claimed");
                row.identity.store(0, Ordering::Relaxed);
                row.since.store(clock::now(), Ordering::Relaxed);
                return Ok((slot, state.generation()));
            }
        }
        if attempt == 0 {
            find_the_dead(header);
        }
    }
    Err(ArenaError::TooManyParticipants)
}

/// Frees a row that is in this state; false if its state has changed.
pub(in crate::arena) fn free(header: &'static Header, row: &Slot, state: State) -> bool {
    // Release: what this row's holder did is ordered before what the next one does.
    let freed = row.state.compare_exchange(state.0, state.freed().0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if freed {
        crate::crash_point("arena.participants.freed");
        header.dirty.store(1, Ordering::Release);
    }
    freed
}

/// Frees the rows of all processes whose end went unnoticed.
pub(in crate::arena) fn find_the_dead(header: &'static Header) {
    for row in rows(header) {
        let state = State(row.state.load(Ordering::Acquire));
        if state.status() != FREE && !occupant_lives(row, state) {
            free(header, row, state);
        }
    }
}
