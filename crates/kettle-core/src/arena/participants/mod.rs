//! The participants: one row per process of the session.
//!
//! ```text
//! FREE ──claim──► CLAIMED ──┬─register──► LIVE ──leave, found dead──► FREE, next generation
//!                           └─reserve──► RESERVED, EXPECTED ──adopt──► LIVE
//!                                           └──release, found dead──► FREE, next generation
//! ```
//!
//! RESERVED is a row for a process that another one will start: it waits as long as its reserver lives, and a while
//! longer, since a parent may end right after it forked. EXPECTED is a row for a process that is being forked: that
//! process takes it at once, unless it is killed before, so such a row is freed after a while.
//!
//! Every transition is one atomic step on the row's state, which includes the generation, and a compare-exchange
//! wherever processes may compete: so a row is freed only once, and the name of an earlier user of the row is never
//! mistaken for that of the current one. A row that is claimed or reserved names the process that did so, and is freed
//! when that process is found dead.
//!
//! Rows are assigned in turn rather than lowest first: a row is reused only after all others were, which makes
//! generations wrap slowly and keeps the process ID of a dead process readable for a while (for error messages).

mod place;
mod rows;
mod seen_alive;
pub(in crate::arena) mod this_process;

use crate::arena::layout::header::Header;
use crate::arena::layout::participant_rows::{FREE, Identity, LIVE, RESERVED, Slot, State};
use crate::arena::segment;
use crate::atomics::Ordering;
use crate::sys::owner::Owner;
use crate::sys::process;
use rows::{free, occupant_lives, row, rows};

pub use super::layout::participant::{Participant, Ticket};
pub use super::membership::{adopt, is_registered, me, me_if_any, reserve_child, try_me};
pub use place::{child_gone, child_started, release};
pub(in crate::arena) use place::{occupy, register, reserve, vacate};
pub(in crate::arena) use rows::find_the_dead;

impl Participant {
    /// Whether its process has ended. See [`is_dead`].
    pub fn is_dead(self) -> bool {
        is_dead(self.owner())
    }
}

/// Whether the process of `owner` has ended.
///
/// *Ended* means that its pidfd is readable (so zombies count as ended), or that its row has moved on to the next
/// generation. Row 0 is never dead: it names threads of this very process.
pub fn is_dead(owner: Owner) -> bool {
    if owner.slot() == 0 {
        return false;
    }
    let Some(header) = segment::header_if_any() else { return false };
    let participant = Participant::of(owner);
    if this_process::is(participant) {
        return false;
    }
    let row = row(header, owner.slot());
    let state = State(row.state.load(Ordering::Acquire));
    if state.generation() != owner.generation() || state.status() == FREE {
        return true;
    }
    if seen_alive::lately(participant) {
        return false;
    }
    if occupant_lives(row, state) {
        seen_alive::note(participant);
        return false;
    }
    free(header, row, state);
    true
}

/// Whether the process is still running but no longer has this thread, as happens when it executes another program.
pub(crate) fn has_lost_thread(owner: Owner) -> bool {
    pid_of(owner).is_some_and(|pid| !process::thread_exists(pid, owner.thread()))
}

/// The process ID of `owner`, even for a while after its end; None if it is no longer known.
pub fn pid_of(owner: Owner) -> Option<u32> {
    let row = row(segment::header_if_any()?, owner.slot());
    let identity = Identity(row.identity.load(Ordering::Acquire));
    let state = State(row.state.load(Ordering::Acquire));
    let still = state.generation() == owner.generation() && (state.awaits_process() || state.status() == LIVE);
    let just_left = state == State::new(0, owner.generation(), LIVE).freed();
    (owner.slot() != 0 && identity.0 != 0 && (still || just_left)).then(|| identity.pid())
}

/// The number of processes that are alive (or about to be).
pub(in crate::arena) fn alive(header: &'static Header) -> usize {
    rows(header)
        .filter(|row| {
            let state = State(row.state.load(Ordering::Acquire));
            state.status() != FREE && occupant_lives(row, state)
        })
        .count()
}

/// Whether no other process of the session is alive or being started.
pub(in crate::arena) fn is_alone(header: &'static Header) -> bool {
    rows(header).all(|row| {
        let state = State(row.state.load(Ordering::Acquire));
        let (pid, me) = (Identity(row.identity.load(Ordering::Acquire)).pid(), process::id());
        let is_mine = match state.status() {
            LIVE => pid == me,
            // Reserved for a child that this process has not started yet: it records each one that it has.
            RESERVED => pid == 0 && state.reserver() == me,
            _ => false,
        };
        state.status() == FREE || is_mine || !occupant_lives(row, state)
    })
}

/// The known process ids of the other living processes.
pub(in crate::arena) fn others(header: &'static Header) -> impl Iterator<Item = u32> {
    let pid = |row: &Slot| {
        let state = State(row.state.load(Ordering::Acquire));
        let pid = Identity(row.identity.load(Ordering::Acquire)).pid();
        (state.status() == LIVE && pid != process::id() && occupant_lives(row, state)).then_some(pid)
    };
    rows(header).filter_map(pid)
}
