//! When this process last saw each row's process alive, which makes frequent checks cheap.

use crate::atomics::{AtomicU64, Ordering};
use crate::sys::clock;
use crate::sys::owner::Owner;

use crate::arena::layout::participant::Participant;
use crate::arena::layout::participant_rows::SLOTS;

const TRUSTED_FOR: u64 = 10_000_000;

/// The low 19 bits of an entry are the generation; the rest is the time, in units of 2^19 nanoseconds (half a
/// millisecond).
static SEEN: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
const GENERATION: u64 = Owner::GENERATIONS as u64 - 1;

pub(in crate::arena) fn lately(p: Participant) -> bool {
    let seen = SEEN[p.owner().slot() as usize].load(Ordering::Relaxed);
    seen != 0
        && seen & GENERATION == u64::from(p.owner().generation())
        && clock::now().saturating_sub(seen & !GENERATION) < TRUSTED_FOR
}

pub(in crate::arena) fn note(p: Participant) {
    let entry = clock::now() & !GENERATION | u64::from(p.owner().generation());
    SEEN[p.owner().slot() as usize].store(entry, Ordering::Relaxed);
}
