//! The table: its rows, the two words of each, and the transitions from and to FREE.

use crate::arena::error::ArenaError;
use crate::arena::header::Header;
use crate::atomics::{AtomicU64, Ordering};
use crate::sys::owner::Owner;
use crate::sys::{clock, process};

use super::find_the_dead;

pub(super) const SLOTS: usize = Owner::SLOTS as usize;

/// The rows, and where the search for a free one starts next.
#[repr(C)]
pub(in crate::arena) struct Table {
    hint: AtomicU64,
    _pad: [AtomicU64; 7],
    slots: [Slot; SLOTS],
}

/// A row of the table.
#[repr(C, align(64))]
pub(super) struct Slot {
    /// See [`State`].
    pub(super) state: AtomicU64,
    /// See [`Identity`]; 0 while unknown.
    pub(super) identity: AtomicU64,
    /// When the row was claimed.
    since: AtomicU64,
}

pub(super) const FREE: u8 = 0;
pub(super) const CLAIMED: u8 = 1;
pub(super) const RESERVED: u8 = 2;
pub(super) const LIVE: u8 = 3;
pub(super) const EXPECTED: u8 = 4;

/// How long a row waits for a process whose ID is unknown, in nanoseconds. From the fork to taking the row it is less
/// than a millisecond, but a machine may be busy.
const PATIENCE: u64 = 10_000_000_000;

/// ```text
/// 63      32 31 27 26            8 7      0
/// [reserver]  0   [  generation  ][ status ]
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State(pub(super) u64);

impl State {
    pub(super) const fn new(reserver: u32, generation: u32, status: u8) -> Self {
        Self((reserver as u64) << 32 | (generation as u64) << 8 | status as u64)
    }
    pub(super) const fn status(self) -> u8 {
        self.0 as u8
    }
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> 8) as u32 & (Owner::GENERATIONS - 1)
    }
    pub(super) const fn reserver(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(super) const fn awaits_process(self) -> bool {
        matches!(self.status(), RESERVED | EXPECTED)
    }
    pub(super) const fn freed(self) -> Self {
        Self::new(0, (self.generation() + 1) % Owner::GENERATIONS, FREE)
    }
}

/// A process: its ID and its start time (the low 40 bits of the ticks since boot; 0 if unknown). A single word, so that
/// it is never seen half-written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(pub(super) u64);

impl Identity {
    const START: u64 = (1 << 40) - 1;

    pub(super) fn of(pid: u32) -> Self {
        Self(u64::from(pid) << 40 | process::start_time(pid).unwrap_or(0) & Self::START)
    }
    pub(super) const fn pid(self) -> u32 {
        (self.0 >> 40) as u32
    }
    const fn start(self) -> u64 {
        self.0 & Self::START
    }
    /// Whether both can be the same process: an unknown start time does not contradict that.
    pub(super) const fn may_be(self, other: Self) -> bool {
        self.pid() == other.pid() && (self.start() == 0 || other.start() == 0 || self.start() == other.start())
    }
    pub(super) fn is_alive(self) -> bool {
        process::is_alive(self.pid(), (self.start() != 0).then_some(self.start()))
    }
}

pub(super) fn row(header: &'static Header, slot: u32) -> &'static Slot {
    &header.participants.slots[slot as usize]
}

/// The rows that were ever used. Rows are assigned in turn, so the search ends at the last one assigned.
pub(super) fn rows(header: &'static Header) -> impl Iterator<Item = &'static Slot> {
    let used = header.participants.hint.load(Ordering::Relaxed) as usize;
    header.participants.slots[1..].iter().take(used)
}

/// Whether the process that a row is for is alive, or may still appear.
pub(super) fn occupant_lives(row: &Slot, state: State) -> bool {
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
pub(super) fn claim(header: &'static Header, pid: u32) -> Result<(u32, u32), ArenaError> {
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
pub(super) fn free(header: &'static Header, row: &Slot, state: State) -> bool {
    // Release: what this row's holder did is ordered before what the next one does.
    let freed = row.state.compare_exchange(state.0, state.freed().0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if freed {
        crate::crash_point("arena.participants.freed");
        header.dirty.store(1, Ordering::Release);
    }
    freed
}
