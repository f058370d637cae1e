//! Outcomes of at most eight bytes: a ring that one worker fills and its supervisor empties, without a lock.
//!
//! ```text
//!   word 0   the number ever put, stored only by the worker
//!   word 8   the number ever taken, stored only by the supervisor
//!   word 16… slots of two words: [ the task's mark: 56 | tag: 8 ] [ value ]
//! ```
//!
//! Each side keeps a private copy of its own count, and reads from the ring only the other side's. An impossible value
//! is [damage](kettle_core::damage).
//!
//! A slot is written before the count that covers it is stored, and is not reused before it was taken. A death in
//! between leaves a slot that is never read. An outcome that does not fit goes through the queue of outcomes. A worker
//! reports its tasks in order, so the supervisor knows the next mark and finds it at the front of the queue or of the
//! ring. It checks for a message first and reads the ring second, so it never takes a message before a word that was
//! put earlier.

use std::sync::atomic::{AtomicU64, Ordering};

use kettle_core::arena::{ArenaError, Handle};
use kettle_core::damage::{self, What};
use kettle_core::shared::Bytes;
use kettle_core::shared::cell;
use kettle_core::wait::Scope;

use super::super::pending::MEASURED_MAX;
use super::desk::Mark;

const PUT: usize = 0;
const TAKEN: usize = 8;
const SLOTS: usize = 16;
/// The number of slots of a ring: enough for several chunks, because the supervisor may not run for milliseconds.
pub(super) const LEN: u64 = 4 * MEASURED_MAX;
const BYTES: usize = (SLOTS + 2 * LEN as usize) * size_of::<u64>();

/// An outcome of at most eight bytes: its kind, and the bytes.
pub type Word = (u8, u64);

/// Allocates the memory of a ring, all zero.
pub(super) fn room() -> Result<Handle<Bytes>, ArenaError> {
    Handle::zeroed(BYTES)
}

/// Returns whether this memory is large enough for a ring.
pub(super) fn is_room(handle: &Handle<Bytes>) -> bool {
    cell::words(handle).len() * size_of::<u64>() >= BYTES
}

/// A ring in its memory.
pub(super) struct Ring<'d>(&'d [AtomicU64]);

impl<'d> Ring<'d> {
    pub(super) fn of(handle: &'d Handle<Bytes>) -> Self {
        Self(cell::words(handle))
    }

    fn slot(&self, number: u64) -> (&AtomicU64, &AtomicU64) {
        let at = SLOTS + 2 * (number % LEN) as usize;
        (&self.0[at], &self.0[at + 1])
    }

    /// For the worker, which has put `put` words: puts one. Returns false if the ring is full or damaged.
    pub(super) fn put(&self, put: &mut u64, mark: Mark, (tag, value): Word) -> bool {
        // [A] pairs with [B]: a slot is written again only after it was read.
        let waiting = put.wrapping_sub(self.0[TAKEN].load(Ordering::Acquire));
        if waiting > LEN || self.0[PUT].load(Ordering::Relaxed) != *put {
            self.is_damaged();
            return false;
        }
        if waiting == LEN {
            return false;
        }
        let (head, body) = self.slot(*put);
        head.store(mark.bits() << 8 | u64::from(tag), Ordering::Relaxed);
        body.store(value, Ordering::Relaxed);
        *put += 1;
        // [C] pairs with [D]: a reader that sees the count also sees the slot.
        self.0[PUT].store(*put, Ordering::Release);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0[PUT].load(Ordering::Acquire) == self.0[TAKEN].load(Ordering::Relaxed)
    }

    /// For the supervisor, which has taken `taken` words: takes the words of a chunk that are there, beginning with the
    /// task of `mark`, at most `most`. Returns their number.
    pub(super) fn take(&self, taken: &mut u64, mark: Mark, most: u32, to: &mut Vec<Word>) -> u32 {
        // [D] pairs with [C].
        let there = self.0[PUT].load(Ordering::Acquire).wrapping_sub(*taken);
        if there > LEN || self.0[TAKEN].load(Ordering::Relaxed) != *taken {
            self.is_damaged();
            return 0;
        }
        let mut count = 0;
        while u64::from(count) < there && count < most {
            let (head, body) = self.slot(*taken + u64::from(count));
            let head = head.load(Ordering::Relaxed);
            if head >> 8 != mark.plus(count).bits() << 8 >> 8 {
                break;
            }
            to.push((head as u8, body.load(Ordering::Relaxed)));
            count += 1;
        }
        *taken += u64::from(count);
        // [B] pairs with [A].
        self.0[TAKEN].store(*taken, Ordering::Release);
        count
    }

    /// Returns whether there is a next word, after `taken` that were taken before, and it is not that of `mark`.
    pub(super) fn is_next_another(&self, taken: u64, mark: Option<Mark>) -> bool {
        let is_there = self.0[PUT].load(Ordering::Acquire) != taken;
        let bits = self.slot(taken).0.load(Ordering::Relaxed) >> 8;
        is_there && mark.is_none_or(|mark| bits != mark.bits() << 8 >> 8)
    }

    /// Marks the session as damaged: the ring has contents that neither a worker nor a supervisor wrote.
    #[cold]
    pub(super) fn is_damaged(&self) {
        damage::mark(Scope::Shared, What::Ring, 0, self.0[PUT].load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_in_turn_and_only_those_that_are_meant() -> Result<(), ArenaError> {
        let room = room()?;
        let ring = Ring::of(&room);
        let (mut words, mut put, mut taken) = (Vec::new(), 0, 0);
        assert!(ring.is_empty());
        for task in 0..3 {
            assert!(ring.put(&mut put, Mark::new(7, task), (4, u64::from(task) * 10)));
        }
        assert!(ring.put(&mut put, Mark::new(8, 0), (1, 0)));
        assert_eq!(ring.take(&mut taken, Mark::new(7, 1), 9, &mut words), 0, "task 0 comes first");
        assert_eq!(ring.take(&mut taken, Mark::new(7, 0), 9, &mut words), 3, "what follows is of another chunk");
        assert_eq!(words, [(4, 0), (4, 10), (4, 20)]);
        assert_eq!(ring.take(&mut taken, Mark::new(8, 0), 1, &mut words), 1);
        assert!(ring.is_empty());
        Ok(())
    }

    #[test]
    fn a_full_ring_takes_no_more() -> Result<(), ArenaError> {
        let room = room()?;
        let ring = Ring::of(&room);
        let (mut put, mut taken) = (0, 0);
        let count = (0..).take_while(|task| ring.put(&mut put, Mark::new(1, *task), (0, 0))).count();
        assert_eq!(count as u64, LEN);
        assert_eq!(ring.take(&mut taken, Mark::new(1, 0), 1, &mut Vec::new()), 1);
        assert!(ring.put(&mut put, Mark::new(1, LEN as u32), (0, 0)));
        Ok(())
    }
}
