//! The names of a row in its current generation: before its process runs, and after.

use crate::sys::owner::Owner;

/// A row reserved for a process that is about to be started. It may be passed to that process in any way, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// As an integer: the generation in the high half, the row in the low half.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits); None if the bits are not a ticket.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let (slot, generation) = (bits as u32, (bits >> 32) as u32);
        if slot == 0 || slot >= Owner::SLOTS || generation >= Owner::GENERATIONS {
            return None;
        }
        Some(Self(bits))
    }

    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The participant that the new process will be.
    pub const fn participant(self) -> Participant {
        Participant::new(self.0 as u32, (self.0 >> 32) as u32)
    }
}

/// A process of the session, in 32 bits: row and generation. Zero means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participant(u32);

impl Participant {
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self((Owner::new(slot, generation, 0).to_bits() >> 32) as u32)
    }

    /// The process that a thread belongs to.
    pub const fn of(owner: Owner) -> Self {
        Self((owner.to_bits() >> 32) as u32)
    }

    /// The representation in a word.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The participant in a word, if any.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// As an owner without a thread.
    pub const fn owner(self) -> Owner {
        Owner::from_bits((self.0 as u64) << 32)
    }
}
