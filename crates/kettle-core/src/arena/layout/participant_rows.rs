//! The table: its rows, the two words of each, and the transitions from and to FREE.

use crate::atomics::AtomicU64;
use crate::sys::owner::Owner;
use crate::sys::process;

pub(crate) const SLOTS: usize = Owner::SLOTS as usize;

/// The rows, and where the search for a free one starts next.
#[repr(C)]
pub(crate) struct Table {
    pub hint: AtomicU64,
    _pad: [AtomicU64; 7],
    pub slots: [Slot; SLOTS],
}

/// A row of the table.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// See [`State`].
    pub state: AtomicU64,
    /// See [`Identity`]; 0 while unknown.
    pub identity: AtomicU64,
    /// When the row was claimed.
    pub since: AtomicU64,
}

pub(crate) const FREE: u8 = 0;
pub(crate) const CLAIMED: u8 = 1;
pub(crate) const RESERVED: u8 = 2;
pub(crate) const LIVE: u8 = 3;
pub(crate) const EXPECTED: u8 = 4;

/// ```text
/// 63      32 31 27 26            8 7      0
/// [reserver]  0   [  generation  ][ status ]
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u64);

impl State {
    pub(crate) const fn new(reserver: u32, generation: u32, status: u8) -> Self {
        Self((reserver as u64) << 32 | (generation as u64) << 8 | status as u64)
    }
    pub(crate) const fn status(self) -> u8 {
        self.0 as u8
    }
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 8) as u32 & (Owner::GENERATIONS - 1)
    }
    pub(crate) const fn reserver(self) -> u32 {
        (self.0 >> 32) as u32
    }
    pub(crate) const fn awaits_process(self) -> bool {
        matches!(self.status(), RESERVED | EXPECTED)
    }
    pub(crate) const fn freed(self) -> Self {
        Self::new(0, (self.generation() + 1) % Owner::GENERATIONS, FREE)
    }
}

/// A process: its ID and its start time (the low 40 bits of the ticks since boot; 0 if unknown). A single word, so that
/// it is never seen half-written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(pub(crate) u64);

impl Identity {
    const START: u64 = (1 << 40) - 1;

    pub(crate) fn of(pid: u32) -> Self {
        Self(u64::from(pid) << 40 | process::start_time(pid).unwrap_or(0) & Self::START)
    }
    pub(crate) const fn pid(self) -> u32 {
        (self.0 >> 40) as u32
    }
    pub(crate) const fn start(self) -> u64 {
        self.0 & Self::START
    }
    /// Whether both can be the same process: an unknown start time does not contradict that.
    pub(crate) const fn may_be(self, other: Self) -> bool {
        self.pid() == other.pid() && (self.start() == 0 || other.start() == 0 || self.start() == other.start())
    }
    pub(crate) fn is_alive(self) -> bool {
        process::is_alive(self.pid(), (self.start() != 0).then_some(self.start()))
    }
}
