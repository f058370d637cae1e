//! Where to look for a free run of a given length: hints, rebuilt from the page maps whenever in doubt.
//!
//! Runs of up to 1024 pages are in a bin of exactly their length, longer ones in a bin per power of two. Each bin is a
//! stack, so the run that was freed last, and is still in the processor's caches, is reused first. Warm and cold runs
//! are kept apart: reusing a warm page costs nothing, and touching a cold one a microsecond.

use core::sync::atomic::Ordering;

use crate::atomics::AtomicU64;

use super::error::ArenaError;
use super::offset::Off;
use super::pages::{self, Kind, Run};
use crate::damage::What;

const EXACT: usize = 1024;
/// Bin `EXACT + k` holds the runs of more than `EXACT << k` pages, up to twice as many.
const LOGARITHMIC: usize = 22;
const BINS: usize = EXACT + LOGARITHMIC;
const WORDS: usize = BINS.div_ceil(64);
/// How many runs of a bin with different lengths are examined before going to the next bin.
const LOOKS: usize = 16;

#[repr(C)]
pub(super) struct Bins {
    warm: Shelf,
    cold: Shelf,
    /// For each size of small objects, the first free one.
    pub slabs: [AtomicU64; 8],
}

#[repr(C)]
struct Shelf {
    /// A bit for each bin that may be non-empty.
    occupied: [AtomicU64; WORDS],
    /// The first run of each bin.
    heads: [AtomicU64; BINS],
}

/// A free run that was taken out of its bin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub at: Off,
    pub pages: u32,
    pub kind: Kind,
}

const fn bin_of(pages: u32) -> usize {
    if pages as usize <= EXACT {
        pages as usize - 1
    } else {
        let k = ((pages as usize - 1) / EXACT).ilog2() as usize;
        if k < LOGARITHMIC { EXACT + k } else { BINS - 1 }
    }
}

/// All methods require the allocator's lock, so plain loads and stores suffice.
impl Bins {
    fn shelf(&self, kind: Kind) -> &Shelf {
        if kind == Kind::Warm { &self.warm } else { &self.cold }
    }

    /// Empties all bins. Every head, whatever the bits say: a process that died may have written one without the other.
    pub(super) fn clear(&self) {
        for shelf in [&self.warm, &self.cold] {
            shelf.occupied.iter().chain(&shelf.heads).for_each(|word| word.store(0, Ordering::Relaxed));
        }
        self.slabs.iter().for_each(|head| head.store(0, Ordering::Relaxed));
    }

    /// Pushes a free run onto its bin.
    pub(super) fn push(&self, run: Found) -> Result<(), ArenaError> {
        let shelf = self.shelf(run.kind);
        let bin = bin_of(run.pages);
        pages::entry(run.at)?.link.store(shelf.heads[bin].load(Ordering::Relaxed), Ordering::Relaxed);
        let word = &shelf.occupied[bin / 64];
        word.store(word.load(Ordering::Relaxed) | 1 << (bin % 64), Ordering::Relaxed);
        shelf.heads[bin].store(run.at.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// Takes a run of at least `pages` pages from the best-fitting bin that has one.
    pub(super) fn take(&self, kind: Kind, pages: u32) -> Result<Option<Found>, ArenaError> {
        let shelf = self.shelf(kind);
        let mut bin = bin_of(pages);
        while let Some(found) = shelf.next_occupied(bin) {
            if let Some(run) = shelf.take_from(found, kind, pages)? {
                return Ok(Some(run));
            }
            bin = found + 1;
        }
        Ok(None)
    }

    /// The content of all bins, at most `most` runs.
    pub(super) fn contents(&self, most: usize) -> Result<Vec<Found>, ArenaError> {
        let mut all = Vec::new();
        for kind in [Kind::Warm, Kind::Cold] {
            for (bin, head) in self.shelf(kind).heads.iter().enumerate() {
                let mut next = Off::from_bits(head.load(Ordering::Relaxed));
                while let Some(at) = next.filter(|_| all.len() <= most) {
                    let run = pages::run_at(at)?.filter(|run| run.kind == kind && bin_of(run.pages) == bin);
                    let run = run.ok_or_else(|| pages::damaged(What::Bins, at, bin as u64))?;
                    all.push(Found { at, pages: run.pages, kind });
                    next = Off::from_bits(pages::entry(at)?.link.load(Ordering::Relaxed));
                }
            }
        }
        Ok(all)
    }
}

/// The free run that a bin refers to, at the first access to its segment.
#[cold]
fn free_run_after_all(at: Off, kind: Kind, bin: usize) -> Result<Run, ArenaError> {
    let (page, run) = pages::run_of(at)?;
    let run = run.filter(|run| run.kind == kind && page == at);
    run.ok_or_else(|| pages::damaged(What::Bins, at, bin as u64))
}

impl Shelf {
    fn next_occupied(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.occupied.get(word)?.load(Ordering::Relaxed) & u64::MAX << (from % 64);
        while bits == 0 {
            word += 1;
            bits = self.occupied.get(word)?.load(Ordering::Relaxed);
        }
        // The last word has bits without bins.
        Some(word * 64 + bits.trailing_zeros() as usize).filter(|&bin| bin < BINS)
    }

    fn take_from(&self, bin: usize, kind: Kind, pages: u32) -> Result<Option<Found>, ArenaError> {
        let mut previous = &self.heads[bin];
        for _ in 0..LOOKS {
            let Some(at) = Off::from_bits(previous.load(Ordering::Relaxed)) else { break };
            let (entry, run) = match pages::run_of_now(at) {
                Some((page, entry, run)) if run.kind == kind && page == at => (entry, run),
                _ => (pages::entry(at)?, free_run_after_all(at, kind, bin)?),
            };
            if run.pages >= pages {
                previous.store(entry.link.load(Ordering::Relaxed), Ordering::Relaxed);
                self.note_if_empty(bin);
                return Ok(Some(Found { at, pages: run.pages, kind }));
            }
            previous = &entry.link;
        }
        self.note_if_empty(bin);
        Ok(None)
    }

    fn note_if_empty(&self, bin: usize) {
        if self.heads[bin].load(Ordering::Relaxed) == 0 {
            let word = &self.occupied[bin / 64];
            word.store(word.load(Ordering::Relaxed) & !(1 << (bin % 64)), Ordering::Relaxed);
        }
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
