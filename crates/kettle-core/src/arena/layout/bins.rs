//! Where to look for a free run of a given length: hints, rebuilt from the page maps whenever in doubt.
//!
//! Runs of up to 1024 pages are in a bin of exactly their length, longer ones in a bin per power of two. Each bin is a
//! stack, so the run that was freed last, and is still in the processor's caches, is reused first. Warm and cold runs
//! are kept apart: reusing a warm page costs nothing, and touching a cold one a microsecond.

use crate::arena::layout::page_map::Kind;
use crate::atomics::{AtomicU64, Ordering};

const EXACT: usize = 1024;
/// Bin `EXACT + k` holds the runs of more than `EXACT << k` pages, up to twice as many.
const LOGARITHMIC: usize = 22;
const BINS: usize = EXACT + LOGARITHMIC;
const WORDS: usize = BINS.div_ceil(64);

#[repr(C)]
pub(crate) struct Bins {
    warm: Shelf,
    cold: Shelf,
    /// For each size of small objects, the first free one.
    pub slabs: [AtomicU64; 8],
}

/// The bins of one kind of free memory.
#[repr(C)]
pub(crate) struct Shelf {
    /// A bit for each bin that may be non-empty.
    occupied: [AtomicU64; WORDS],
    /// The first run of each bin.
    heads: [AtomicU64; BINS],
}

/// The bin of runs of this length.
pub(crate) const fn bin_of(pages: u32) -> usize {
    if pages as usize <= EXACT {
        pages as usize - 1
    } else {
        let k = ((pages as usize - 1) / EXACT).ilog2() as usize;
        if k < LOGARITHMIC { EXACT + k } else { BINS - 1 }
    }
}

/// All methods require the allocator's lock, so plain loads and stores suffice.
impl Bins {
    pub(crate) fn shelf(&self, kind: Kind) -> &Shelf {
        if kind == Kind::Warm { &self.warm } else { &self.cold }
    }

    /// Empties all bins. Every head, whatever the bits say: a process that died may have written one without the other.
    pub(crate) fn clear(&self) {
        for shelf in [&self.warm, &self.cold] {
            shelf.occupied.iter().chain(&shelf.heads).for_each(|word| word.store(0, Ordering::Relaxed));
        }
        self.slabs.iter().for_each(|head| head.store(0, Ordering::Relaxed));
    }
}

impl Shelf {
    /// The first run of each bin.
    pub(crate) fn heads(&self) -> &[AtomicU64] {
        &self.heads
    }

    /// Notes that a bin has a run.
    pub(crate) fn note_occupied(&self, bin: usize) {
        let word = &self.occupied[bin / 64];
        word.store(word.load(Ordering::Relaxed) | 1 << (bin % 64), Ordering::Relaxed);
    }

    pub(crate) fn note_if_empty(&self, bin: usize) {
        if self.heads[bin].load(Ordering::Relaxed) == 0 {
            let word = &self.occupied[bin / 64];
            word.store(word.load(Ordering::Relaxed) & !(1 << (bin % 64)), Ordering::Relaxed);
        }
    }

    /// The first bin from this one on that may have a run.
    pub(crate) fn next_occupied(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.occupied.get(word)?.load(Ordering::Relaxed) & u64::MAX << (from % 64);
        while bits == 0 {
            word += 1;
            bits = self.occupied.get(word)?.load(Ordering::Relaxed);
        }
        // The last word has bits without bins.
        Some(word * 64 + bits.trailing_zeros() as usize).filter(|&bin| bin < BINS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_runs_lie_in_later_bins() {
        assert_eq!(bin_of(1), 0);
        assert_eq!(bin_of(1024), 1023);
        assert_eq!(bin_of(1025), 1024);
        assert_eq!(bin_of(2048), 1024);
        assert_eq!(bin_of(2049), 1025);
        assert_eq!(bin_of(u32::MAX), BINS - 1);
        let mut last = 0;
        for pages in (1..3_000_000).step_by(7) {
            assert!(bin_of(pages) >= last);
            last = bin_of(pages);
        }
    }
}
