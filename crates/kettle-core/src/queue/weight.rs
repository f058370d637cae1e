//! The number of bytes in a queue.
//!
//! Short messages are stored between head and tail, so these two determine their size. The bytes of blocks are counted
//! by the threads that put and receive them, under the lock of their side and before the commit; messages without
//! blocks pay nothing.
//!
//! A thread that dies between count and commit leaves a count that is off by one message until the queue is next empty:
//! the next put of a block then resets it.

use super::Queue;
use super::chunk::{Cursor, UNIT};
use crate::atomics::{AtomicU64, Ordering};

/// Total bytes of blocks that were put, or received, modulo 2⁶⁴.
#[repr(transparent)]
#[derive(Debug)]
pub(super) struct Bytes(AtomicU64);

impl Bytes {
    pub(super) fn none() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Release);
    }
}

impl Queue {
    /// With the tail's lock held: counts the bytes in blocks of the message that is about to be committed.
    #[inline]
    pub(super) fn count_put(&self, bytes: usize) {
        if bytes != 0 {
            // If the queue is empty under this lock, it stays empty, and received bytes were counted before the head
            // moved.
            let before = if self.is_empty() { self.bytes_got.get() } else { self.bytes_put.get() };
            self.bytes_put.set(before.wrapping_add(bytes as u64));
        }
    }

    /// With the head's lock held: counts the bytes in blocks of the message that is about to be taken.
    #[inline]
    pub(super) fn count_got(&self, bytes: usize) {
        if bytes != 0 {
            self.bytes_got.set(self.bytes_got.get().wrapping_add(bytes as u64));
        }
    }

    /// With the head's lock held: undoes [`count_got`](Self::count_got); the message stays.
    #[inline]
    pub(super) fn count_not_got(&self, bytes: usize) {
        if bytes != 0 {
            self.bytes_got.set(self.bytes_got.get().wrapping_sub(bytes as u64));
        }
    }

    /// The number of bytes in the queue: the length of the blocks, and the room that short messages take.
    pub fn bytes(&self) -> u64 {
        // As in `len`: messages received in the meantime may still be counted, and messages put are counted.
        let got = self.bytes_got.get();
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst));
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst));
        if head.count == tail.count {
            return 0;
        }
        let inline = u64::from(tail.position.wrapping_sub(head.position)) * UNIT as u64;
        let blocks = self.bytes_put.get().wrapping_sub(got);
        // A dead getter may have counted a message that was put right after.
        inline.saturating_add(if blocks > i64::MAX as u64 { 0 } else { blocks })
    }
}
