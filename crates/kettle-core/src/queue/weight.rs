//! How many bytes wait in a queue.
//!
//! Short messages stand between head and tail, so these tell. The bytes of blocks are counted by those who put and get
//! blocks, each under the lock of its side and before its commit; short messages are not slower for it.
//!
//! A putter or getter that dies between count and commit leaves a count that is wrong by one message, until the queue is
//! empty: then nothing is inside, and the next one who puts a block begins there.

use super::Queue;
use super::chunk::{Cursor, UNIT};
use crate::atomics::{AtomicU64, Ordering};

/// Bytes of blocks that went in, or came out, since the queue began; modulo 2⁶⁴.
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
    /// Under the tail's lock: the message that is about to be committed has so many bytes in blocks.
    #[inline]
    pub(super) fn count_put(&self, bytes: usize) {
        if bytes != 0 {
            // Empty under this lock, the queue stays so, and what came out was counted before the head said so.
            let before = if self.is_empty() { self.bytes_got.get() } else { self.bytes_put.get() };
            self.bytes_put.set(before.wrapping_add(bytes as u64));
        }
    }

    /// Under the head's lock: the message that is about to be taken has so many bytes in blocks.
    #[inline]
    pub(super) fn count_got(&self, bytes: usize) {
        if bytes != 0 {
            self.bytes_got.set(self.bytes_got.get().wrapping_add(bytes as u64));
        }
    }

    /// Under the head's lock: takes back what [`count_got`](Self::count_got) did; the message stays.
    #[inline]
    pub(super) fn count_not_got(&self, bytes: usize) {
        if bytes != 0 {
            self.bytes_got.set(self.bytes_got.get().wrapping_sub(bytes as u64));
        }
    }

    /// How many bytes wait inside: blocks by their length, what is short by the room that it takes.
    pub fn bytes(&self) -> u64 {
        // As in `len`: what comes out meanwhile may be counted, what goes in is.
        let got = self.bytes_got.get();
        let head = Cursor::unpack(self.head.load(Ordering::SeqCst));
        let tail = Cursor::unpack(self.tail.load(Ordering::SeqCst));
        if head.count == tail.count {
            return 0;
        }
        let inline = u64::from(tail.position.wrapping_sub(head.position)) * UNIT as u64;
        let blocks = self.bytes_put.get().wrapping_sub(got);
        // A dead getter may have counted one that came in first thing after.
        inline.saturating_add(if blocks > i64::MAX as u64 { 0 } else { blocks })
    }
}
