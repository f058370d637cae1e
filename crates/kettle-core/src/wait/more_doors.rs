//! Overflow storage for doors that do not fit into their event count.

use super::Door;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};

/// The doors that did not fit next to the [`EventCount::DOORS`](super::EventCount::DOORS) of their event count, for all
/// event counts of a session. Words of its arena, all zero at first.
///
/// ```text
///   entry:  [ of: 0, door: 0 ] ──claimed──► [ of: place, door: 0 ] ──left──► [ of: place, door ]
///                   ▲                              │    ▲                          │
///                   └── [ of: 0, door: BEING_FREED ] ◄──┘ └──────── rung ──────────┤
///                   ▲                                                              │
///                   └────────────────────────── taken away ────────────────────────┘
/// ```
///
/// A process that is killed halfway leaves an entry that is claimed without a door, or one that is never free again;
/// claimed entries are freed when there is no free one. Every lookup scans all entries. That is acceptable: more than
/// four loops seldom wait for the same thing.
#[repr(C)]
#[derive(Debug)]
pub(super) struct MoreDoors {
    /// The last number given to an event count.
    places: AtomicU32,
    _pad: AtomicU32,
    entries: [Entry; Self::LEN],
}

#[repr(C)]
#[derive(Debug)]
struct Entry {
    /// The event count's number, or 0.
    of: AtomicU32,
    /// The bits of the tickets for which the door was registered, if any.
    tickets: AtomicU32,
    door: AtomicU64,
}

const BEING_FREED: u64 = u64::MAX;

impl Entry {
    #[cfg(all(test, not(loom)))]
    const fn free_from_the_start() -> Self {
        Self { of: AtomicU32::new(0), tickets: AtomicU32::new(0), door: AtomicU64::new(0) }
    }

    fn is_of(&self, place: u32) -> bool {
        self.of.load(Ordering::SeqCst) == place
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.door.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Frees this entry if its door is `door`.
    fn free(&self, door: u64) -> bool {
        let is_mine = self.change(door, BEING_FREED);
        if is_mine {
            self.of.store(0, Ordering::SeqCst);
            self.door.store(0, Ordering::SeqCst);
        }
        is_mine
    }

    fn claim(&self, place: u32, door: u64) -> bool {
        self.of.compare_exchange(0, place, Ordering::SeqCst, Ordering::SeqCst).is_ok() && self.change(0, door)
    }

    fn ring(&self) -> bool {
        let door = self.door.load(Ordering::SeqCst);
        door != 0 && door != BEING_FREED && self.change(door, 0) && Door::from_bits(door).is_some_and(Door::ring)
    }
}

impl MoreDoors {
    /// The number of entries.
    pub(super) const LEN: usize = 256;

    #[cfg(all(test, not(loom)))]
    pub(super) const fn new() -> Self {
        Self {
            places: AtomicU32::new(0),
            _pad: AtomicU32::new(0),
            entries: [const { Entry::free_from_the_start() }; Self::LEN],
        }
    }

    /// A number that no event count has yet; never 0.
    pub(super) fn new_place(&self) -> u32 {
        loop {
            let place = self.places.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if place != 0 {
                return place;
            }
        }
    }

    /// The index of `door` in the list of event count `place`, if it is registered there.
    pub(super) fn find(&self, place: u32, door: Door) -> Option<usize> {
        self.entries.iter().position(|e| e.is_of(place) && e.door.load(Ordering::SeqCst) == door.to_bits())
    }

    /// Registers a door that is not registered with event count `place` yet. Returns its index, or None if there is no
    /// room.
    pub(super) fn leave(&self, place: u32, door: Door) -> Option<usize> {
        let door = door.to_bits();
        let entries = || self.entries.iter();
        entries()
            .position(|e| e.is_of(place) && e.change(0, door))
            .or_else(|| entries().position(|e| e.claim(place, door)))
            .or_else(|| {
                entries().filter(|e| !e.is_of(0)).for_each(|e| _ = e.free(0));
                entries().position(|e| e.claim(place, door))
            })
    }

    /// Sets the tickets for which the door at this index is registered.
    pub(super) fn set_tickets(&self, index: usize, bits: u32) {
        if let Some(entry) = self.entries.get(index) {
            entry.tickets.store(bits, Ordering::SeqCst);
        }
    }

    /// Unregisters the door; false if it is no longer there.
    pub(super) fn take(&self, place: u32, door: Door) -> bool {
        self.entries.iter().any(|e| e.is_of(place) && e.free(door.to_bits()))
    }

    /// Whether any door is registered with the event count.
    pub(super) fn any(&self, place: u32) -> bool {
        self.entries.iter().any(|e| e.is_of(place) && e.door.load(Ordering::SeqCst) != 0)
    }

    /// Rings up to `count` doors of the event count; returns how many rings were delivered.
    pub(super) fn ring(&self, place: u32, count: u32) -> u32 {
        let mut heard = 0;
        for entry in self.entries.iter().filter(|e| e.is_of(place)) {
            if heard == count {
                break;
            }
            heard += u32::from(entry.ring());
        }
        heard
    }

    /// Rings all doors of the event count without unregistering them.
    pub(super) fn ring_and_leave(&self, place: u32) {
        for entry in self.entries.iter().filter(|e| e.is_of(place)) {
            let door = Door::from_bits(entry.door.load(Ordering::SeqCst));
            if let Some(door) = door.filter(|d| d.to_bits() != BEING_FREED) {
                door.ring();
            }
        }
    }

    /// The bits of the tickets of the doors last registered with the event count; some may have been rung since.
    pub(super) fn tickets(&self, place: u32) -> u32 {
        let theirs = self.entries.iter().filter(|e| e.is_of(place)).map(|e| e.tickets.load(Ordering::SeqCst));
        theirs.fold(0, |bits, theirs| bits | theirs)
    }

    /// Rings a door registered for a ticket with one of these bits; returns whether the ring was delivered.
    pub(super) fn ring_one_of(&self, place: u32, bits: u32) -> bool {
        self.entries.iter().any(|e| e.is_of(place) && e.tickets.load(Ordering::SeqCst) & bits != 0 && e.ring())
    }
}
