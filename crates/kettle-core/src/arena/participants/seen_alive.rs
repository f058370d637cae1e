//! When this process last saw each row's process alive, which makes frequent checks cheap.

use crate::atomics::{AtomicU64, Ordering};
use crate::sys::clock;
use crate::sys::owner::Owner;

use super::name::Participant;
use super::rows::SLOTS;

const TRUSTED_FOR: u64 = 10_000_000;

/// The low 19 bits of an entry are the generation; the rest is the time, in units of 2^19 nanoseconds (half a
/// millisecond).
static SEEN: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
const GENERATION: u64 = Owner::GENERATIONS as u64 - 1;

pub(super) fn lately(p: Participant) -> bool {
    let seen = SEEN[p.owner().slot() as usize].load(Ordering::Relaxed);
    seen != 0
        && seen & GENERATION == u64::from(p.owner().generation())
        && clock::now().saturating_sub(seen & !GENERATION) < TRUSTED_FOR
}

pub(super) fn note(p: Participant) {
    let entry = clock::now() & !GENERATION | u64::from(p.owner().generation());
    SEEN[p.owner().slot() as usize].store(entry, Ordering::Relaxed);
}
