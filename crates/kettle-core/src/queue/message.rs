//! How a message stands in a chunk.
//!
//! ```text
//!   unit 0      [ length of an inline body: 32 | tag: 8 | flags: 8 | parts: 16 ]
//!   unit 1 …    the body's bytes, or one unit that names its block
//!   then        one unit for each part: the name of its block
//! ```

use super::chunk::UNIT;
use super::{Place, Store};

pub(super) const INLINE_MAX: usize = 2048;
pub(super) const PARTS_MAX: usize = 64;

const IN_BLOCK: u64 = 1 << 40;

/// What is to be put.
pub struct Parcel<'b, S: Store> {
    /// What kind of message it is: the sender's and receiver's business.
    pub tag: u8,
    /// Its bytes.
    pub body: Body<'b, S::Block>,
    /// Further blocks that travel with it, at most [`PARTS_MAX`](super::PARTS_MAX).
    pub parts: Vec<S::Block>,
}

/// The bytes of a message.
pub enum Body<'b, B> {
    /// At most [`INLINE_MAX`](super::INLINE_MAX) bytes, copied into the queue.
    Inline(&'b [u8]),
    /// A block, which changes hands.
    Block(B),
}

/// What was got.
#[derive(Debug)]
pub struct Taken<B> {
    /// As it was put.
    pub tag: u8,
    /// The body, if it stands in a block; else its bytes were copied out.
    pub block: Option<B>,
    /// The further blocks.
    pub parts: Vec<B>,
}

impl<B> Taken<B> {
    /// How many bytes its blocks have.
    pub(super) fn block_bytes<S: Store<Block = B>>(&self) -> usize {
        self.block.iter().chain(&self.parts).map(S::len).sum()
    }
}

impl<S: Store> core::fmt::Debug for Parcel<'_, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Parcel").field("tag", &self.tag).field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl<'b, S: Store> Parcel<'b, S> {
    /// A message that is short.
    pub fn inline(tag: u8, bytes: &'b [u8]) -> Self {
        assert!(bytes.len() <= INLINE_MAX, "an inline body has at most {INLINE_MAX} bytes");
        Self { tag, body: Body::Inline(bytes), parts: Vec::new() }
    }

    /// A message in blocks.
    pub fn blocks(tag: u8, body: Body<'b, S::Block>, parts: Vec<S::Block>) -> Self {
        assert!(parts.len() <= PARTS_MAX, "a message has at most {PARTS_MAX} parts");
        Self { tag, body, parts }
    }

    /// How many units it takes.
    pub(super) fn units(&self) -> u32 {
        let body = match &self.body {
            Body::Inline(bytes) => bytes.len().div_ceil(UNIT),
            Body::Block(_) => 1,
        };
        (1 + body + self.parts.len()) as u32
    }

    /// How many bytes its blocks have.
    pub(super) fn block_bytes(&self) -> usize {
        let body = match &self.body {
            Body::Inline(_) => 0,
            Body::Block(block) => S::len(block),
        };
        body + self.parts.iter().map(S::len).sum::<usize>()
    }

    /// Writes it.
    ///
    /// # Safety
    /// `to` is good for writing as many units as [`units`](Self::units) says, and nobody reads there.
    pub(super) unsafe fn write(self, to: *mut u8, queue: Place, position: u32) {
        let mut at = to.cast::<u64>();
        let mut head = u64::from(self.tag) << 32 | (self.parts.len() as u64) << 48;
        // SAFETY: all writes stay within the units promised by the caller: one for the head, the body's, one a part.
        unsafe {
            at = match self.body {
                Body::Inline(bytes) => {
                    head |= bytes.len() as u64;
                    at.add(1).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                    at.add(1 + bytes.len().div_ceil(UNIT))
                }
                Body::Block(block) => {
                    head |= IN_BLOCK;
                    at.add(1).write(S::publish(block, queue, position).get());
                    at.add(2)
                }
            };
            for part in self.parts {
                at.write(S::publish(part, queue, position).get());
                at = at.add(1);
            }
            to.cast::<u64>().write(head);
        }
    }
}

/// Reads a message and makes its blocks the caller's; says how many units it takes.
///
/// # Safety
/// A committed message stands at `from`, which nobody else may take now.
pub(super) unsafe fn read<S: Store>(from: *mut u8, bytes: &mut Vec<u8>) -> (Taken<S::Block>, u32) {
    let mut at = from.cast::<u64>();
    // SAFETY: all reads stay within the message, as its head tells; its blocks were published with it.
    unsafe {
        let head = at.read();
        let (len, parts) = (head as u32 as usize, (head >> 48) as usize);
        let claim = |at: *mut u64| S::claim(Place::new_unchecked(at.read()));
        let (block, body_units) = if head & IN_BLOCK != 0 {
            (Some(claim(at.add(1))), 1)
        } else {
            bytes.extend_from_slice(core::slice::from_raw_parts(at.add(1).cast::<u8>(), len));
            (None, len.div_ceil(UNIT))
        };
        at = at.add(1 + body_units);
        let parts = (0..parts).map(|i| claim(at.add(i))).collect::<Vec<_>>();
        let units = 1 + body_units + parts.len();
        (Taken { tag: (head >> 32) as u8, block, parts }, units as u32)
    }
}
