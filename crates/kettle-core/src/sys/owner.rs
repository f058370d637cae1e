//! The name of an owner, in 64 bits.

use core::fmt;

/// A thread of a participant: enough to name an owner in one atomic step, and to check later whether it is still alive.
///
/// ```text
/// 63      51 50            32 31 30 29               0
/// [  slot  ][   generation   ][flags][ kernel thread ]
/// ```
///
/// The slot is a row of the session's table of participants. The generation distinguishes the processes that have used
/// this row, so that the name of a dead process never denotes a live one. The two flag bits are always zero in an
/// `Owner`: words that hold an owner (locks, waiters' nodes) keep their own state there.
///
/// In memory that is private to a process, slot and generation are zero, and only the thread identifies the owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Owner(u64);

impl Owner {
    /// The number of rows in a table of participants; row 0 is unused.
    pub const SLOTS: u32 = 1 << 13;
    /// The number of generations of a row, after which they wrap around.
    pub const GENERATIONS: u32 = 1 << 19;
    /// The first of the two bits that words may use for their own state.
    pub const FLAG_LOW: u64 = 1 << 30;
    /// The second of the two.
    pub const FLAG_HIGH: u64 = 1 << 31;
    const FLAGS: u64 = Self::FLAG_LOW | Self::FLAG_HIGH;
    const THREAD: u64 = (1 << 30) - 1;

    /// Thread `thread` of the process that uses `slot` in this `generation`.
    pub const fn new(slot: u32, generation: u32, thread: u32) -> Self {
        assert!(slot < Self::SLOTS && generation < Self::GENERATIONS);
        Self((slot as u64) << 51 | (generation as u64) << 32 | thread as u64 & Self::THREAD)
    }

    /// The owner named by a word, without the word's flags.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & !Self::FLAGS)
    }

    /// The representation in a word.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether this names no owner.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The row in the table of participants; 0 in memory private to a process.
    pub const fn slot(self) -> u32 {
        (self.0 >> 51) as u32
    }

    /// The generation of that row.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & (Self::GENERATIONS - 1)
    }

    /// The kernel's thread ID.
    pub const fn thread(self) -> u32 {
        (self.0 & Self::THREAD) as u32
    }

    /// The name for something owned by a whole process: the participant or, in memory private to a process, where that
    /// would be zero, the thread.
    pub const fn participant_or_thread(self) -> u64 {
        if self.slot() != 0 { self.participant().0 } else { self.0 }
    }

    /// The process alone, without the thread.
    pub const fn participant(self) -> Self {
        Self(self.0 & !(u32::MAX as u64))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("no owner");
        }
        write!(f, "thread {} of participant {}.{}", self.thread(), self.slot(), self.generation())
    }
}
