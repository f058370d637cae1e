//! Who takes something, in 64 bits.

use core::fmt;

/// A thread of a participant: enough to name an owner in one atomic step, and to ask later whether it still lives.
///
/// ```text
/// 63      51 50            32 31 30 29               0
/// [  slot  ][   generation   ][flags][ kernel thread ]
/// ```
///
/// The slot is a row of the session's table of participants, the generation says which of the processes that used
/// this row one after another is meant, so that a name of the dead is never taken for one of the living. The two flag
/// bits are always zero in an `Owner`: words that hold an owner (locks, waiters' nodes) keep their own state there.
///
/// In memory that one process keeps to itself, slot and generation are those of nobody: the thread alone tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Owner(u64);

impl Owner {
    /// The number of rows in a table of participants; row 0 is nobody's.
    pub const SLOTS: u32 = 1 << 13;
    /// Generations of a row, after which they begin anew.
    pub const GENERATIONS: u32 = 1 << 19;
    /// The first of the two bits that words may use for themselves.
    pub const FLAG_LOW: u64 = 1 << 30;
    /// The second of them.
    pub const FLAG_HIGH: u64 = 1 << 31;
    const FLAGS: u64 = Self::FLAG_LOW | Self::FLAG_HIGH;
    const THREAD: u64 = (1 << 30) - 1;

    /// Thread `thread` of the process that is in `slot` for the `generation`-th time.
    pub const fn new(slot: u32, generation: u32, thread: u32) -> Self {
        assert!(slot < Self::SLOTS && generation < Self::GENERATIONS);
        Self((slot as u64) << 51 | (generation as u64) << 32 | thread as u64 & Self::THREAD)
    }

    /// The owner that a word names, its flags put aside.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & !Self::FLAGS)
    }

    /// As a word holds it.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether this names nobody.
    pub const fn is_nobody(self) -> bool {
        self.0 == 0
    }

    /// The row of the participants table, 0 in a process's own memory.
    pub const fn slot(self) -> u32 {
        (self.0 >> 51) as u32
    }

    /// Which user of that row.
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & (Self::GENERATIONS - 1)
    }

    /// The kernel's number of the thread.
    pub const fn thread(self) -> u32 {
        (self.0 & Self::THREAD) as u32
    }

    /// What names an owner of something that a whole process owns: the participant, or in a process's own memory,
    /// where that would be nobody, the thread.
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
        if self.is_nobody() {
            return f.write_str("nobody");
        }
        write!(f, "thread {} of participant {}.{}", self.thread(), self.slot(), self.generation())
    }
}
