//! The readers of a lock for readers and writers.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering, const_fn, zeros_u64};
use crate::sys::Owner;

/// How readers are known.
pub trait Readers {
    /// Notes a reader; None if there is no room. Called by one thread at a time.
    fn enter(&self, reader: Owner) -> Option<Reader>;

    /// Removes the note.
    fn leave(&self, reader: Reader);

    /// Removes the notes of dead readers.
    fn bury<H: Home>(&self);

    /// The number of readers.
    fn count(&self) -> u32;
}

/// The place of a reader's note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reader(u32);

/// A number of readers: for the threads of one process, which die together.
#[repr(C)]
#[derive(Debug)]
pub struct Counted(AtomicU32);

impl Counted {
    const_fn! {
        /// No readers.
        pub(super) fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }
}

/// Readers by name: where processes share the lock. There is room for [`LEN`](Self::LEN); further ones wait.
#[repr(C)]
#[derive(Debug)]
pub struct Noted([AtomicU64; Self::LEN]);

impl Noted {
    const_fn! {
        /// No readers.
        pub(super) fn new() -> Self {
            Self(zeros_u64())
        }
    }

    /// The maximum number of readers at a time.
    pub const LEN: usize = if cfg!(loom) { 2 } else { 64 };
}

impl Noted {
    /// The readers, alive or dead.
    pub(super) fn names(&self) -> impl Iterator<Item = Owner> {
        self.0.iter().map(|note| Owner::from_bits(note.load(Ordering::SeqCst))).filter(|owner| !owner.is_none())
    }
}

impl Readers for Counted {
    fn enter(&self, _: Owner) -> Option<Reader> {
        let more = |n: u32| n.checked_add(1);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Reader(0))
    }

    fn leave(&self, _: Reader) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn bury<H: Home>(&self) {}

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Readers for Noted {
    fn enter(&self, reader: Owner) -> Option<Reader> {
        let free = self.0.iter().position(|note| note.load(Ordering::SeqCst) == 0)?;
        self.0[free].store(reader.to_bits(), Ordering::SeqCst);
        Some(Reader(free as u32))
    }

    fn leave(&self, Reader(place): Reader) {
        if let Some(note) = self.0.get(place as usize) {
            note.store(0, Ordering::SeqCst);
        }
    }

    fn bury<H: Home>(&self) {
        for note in &self.0 {
            let word = note.load(Ordering::SeqCst);
            // A word that names no possible reader was written by mistake, and is treated as a dead reader's.
            let owner = Owner::from_bits(word);
            if word != 0 && (owner.is_none() || !H::can_be(owner) || H::is_dead(owner)) {
                // It may be gone already, and be another reader's by now.
                let _ = note.compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst);
            }
        }
    }

    fn count(&self) -> u32 {
        self.0.iter().filter(|note| note.load(Ordering::SeqCst) != 0).count() as u32
    }
}
