//! The objects of a message that were met so far, by address.

/// The position of an object's step in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Met for the first time just now.
    New,
    /// Met before and not finished: it contains itself.
    Open,
    /// Its step begins at this byte.
    At(u32),
}

/// The initial and the maximum number of slots. At most half of them are in use.
const SLOTS_MIN: usize = 256;
const SLOTS_MAX: usize = 4096;

/// Stands for a position that is not known yet.
const OPEN: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Slot {
    address: usize,
    /// The entry of another message: the slot is free.
    message: u32,
    at: u32,
}

/// A hash table with open addressing that can be emptied in constant time.
pub(super) struct Seen {
    slots: Vec<Slot>,
    message: u32,
    used: usize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { slots: free(SLOTS_MIN), message: 1, used: 0 }
    }

    /// Begins a message.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.message = self.message.wrapping_add(1);
        if self.message == 0 {
            *self = Self::new();
        }
    }

    /// The position of this object. If it was not met before, it is at `at` from now on. None if there are too many
    /// objects.
    pub(super) fn meet(&mut self, address: usize, at: u32) -> Option<Place> {
        if 2 * self.used >= self.slots.len() && !self.grow() {
            return None;
        }
        let message = self.message;
        let slot = self.slot(address);
        if slot.message == message {
            return Some(if slot.at == OPEN { Place::Open } else { Place::At(slot.at) });
        }
        *slot = Slot { address, message, at };
        self.used += 1;
        Some(Place::New)
    }

    /// Like [`meet`](Self::meet), for an object whose position is not known before [`close`](Self::close).
    pub(super) fn open(&mut self, address: usize) -> Option<Place> {
        self.meet(address, OPEN)
    }

    pub(super) fn close(&mut self, address: usize, at: u32) {
        self.slot(address).at = at;
    }

    /// The slot that has this address, or a free one.
    fn slot(&mut self, address: usize) -> &mut Slot {
        let mask = self.slots.len() - 1;
        // Objects are aligned to 16 bytes; the upper half of the product depends on all the other bits.
        let hash = ((address >> 4) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut i = hash as usize & mask;
        while self.slots[i].message == self.message && self.slots[i].address != address {
            i = (i + 1) & mask;
        }
        &mut self.slots[i]
    }

    fn grow(&mut self) -> bool {
        if self.slots.len() >= SLOTS_MAX {
            return false;
        }
        let larger = free(2 * self.slots.len());
        for old in std::mem::replace(&mut self.slots, larger) {
            if old.message == self.message {
                *self.slot(old.address) = old;
            }
        }
        true
    }
}

fn free(slots: usize) -> Vec<Slot> {
    vec![Slot { address: 0, message: 0, at: 0 }; slots]
}
