//! The layout of a message in a chunk.
//!
//! ```text
//!   unit 0      [ length of an inline body: 32 | tag: 8 | flags: 8 | parts: 16 ]
//!   unit 1 …    the body's bytes, or one unit that names its block
//!   then        one unit for each part, which names its block
//! ```

use super::chunk::{self, UNIT};
use super::limits::{INLINE_MAX, PARTS_MAX};
use super::store::{Exhausted, Place, Store, Trouble};
use crate::damage::What;

const IN_BLOCK: u64 = 1 << 40;
const FLAGS: u64 = 0xff << 40;

/// A message to be put.
pub struct Parcel<'b, S: Store> {
    /// The kind of the message; only sender and receiver interpret it.
    pub tag: u8,
    /// Its bytes.
    pub body: Body<'b, S::Block>,
    /// Additional blocks, at most [`PARTS_MAX`](super::PARTS_MAX).
    pub parts: Vec<S::Block>,
}

/// The bytes of a message.
pub enum Body<'b, B> {
    /// At most [`INLINE_MAX`](super::INLINE_MAX) bytes, copied into the queue.
    Inline(&'b [u8]),
    /// A block, whose ownership is transferred.
    Block(B),
}

/// A received message.
#[derive(Debug)]
pub struct Taken<B> {
    /// The tag, as it was put.
    pub tag: u8,
    /// The body, if it is a block; otherwise its bytes were copied out.
    pub block: Option<B>,
    /// The additional blocks.
    pub parts: Vec<B>,
}

impl<B> Taken<B> {
    /// How many bytes its blocks have, those of a short body aside.
    #[inline]
    pub(crate) fn block_bytes<S: Store<Block = B>>(&self) -> usize {
        match (&self.block, &self.parts[..]) {
            // The common case, which avoids the loop.
            (None, []) => 0,
            (block, parts) => block.as_ref().map_or(0, S::len) + parts.iter().map(S::len).sum::<usize>(),
        }
    }
}

impl<S: Store> core::fmt::Debug for Parcel<'_, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Parcel").field("tag", &self.tag).field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl<'b, S: Store> Parcel<'b, S> {
    /// A short message.
    pub fn inline(tag: u8, bytes: &'b [u8]) -> Self {
        assert!(bytes.len() <= INLINE_MAX, "an inline body has at most {INLINE_MAX} bytes");
        Self { tag, body: Body::Inline(bytes), parts: Vec::new() }
    }

    /// A message with blocks.
    pub fn blocks(tag: u8, body: Body<'b, S::Block>, parts: Vec<S::Block>) -> Self {
        assert!(parts.len() <= PARTS_MAX, "a message has at most {PARTS_MAX} parts");
        Self { tag, body, parts }
    }

    /// The number of units it takes.
    pub(super) fn units(&self) -> u32 {
        let body = match &self.body {
            Body::Inline(bytes) => bytes.len().div_ceil(UNIT),
            Body::Block(_) => 1,
        };
        (1 + body + self.parts.len()) as u32
    }

    /// The total length of its blocks.
    #[inline]
    pub(super) fn block_bytes(&self) -> usize {
        let body = match &self.body {
            // The common case, which avoids the loop.
            Body::Inline(_) if self.parts.is_empty() => return 0,
            Body::Inline(_) => 0,
            Body::Block(block) => S::len(block),
        };
        body + self.parts.iter().map(S::len).sum::<usize>()
    }

    /// How many bytes it has in all.
    pub(crate) fn len(&self) -> usize {
        match &self.body {
            Body::Inline(bytes) => bytes.len() + self.block_bytes(),
            Body::Block(_) => self.block_bytes(),
        }
    }

    /// Writes the message.
    ///
    /// # Safety
    /// `to` is valid for writing [`units`](Self::units) units, which no other thread reads.
    pub(super) unsafe fn write(self, to: *mut u64, queue: Place, position: u32) {
        let mut head = u64::from(self.tag) << 32 | (self.parts.len() as u64) << 48;
        // SAFETY: all writes stay within the units promised by the caller: one for the header, the body's, one per
        // part.
        unsafe {
            let mut at = match self.body {
                Body::Inline(bytes) => {
                    head |= bytes.len() as u64;
                    to.add(1).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                    to.add(1 + bytes.len().div_ceil(UNIT))
                }
                Body::Block(block) => {
                    head |= IN_BLOCK;
                    chunk::write(to.add(1), S::publish(block, queue, position).get());
                    to.add(2)
                }
            };
            for part in self.parts {
                chunk::write(at, S::publish(part, queue, position).get());
                at = at.add(1);
            }
            chunk::write(to, head);
        }
    }
}

/// A message that was read and validated, with everything that it names. It still belongs to the queue.
pub(super) struct Message<S: Store> {
    tag: u8,
    block: Option<S::Found>,
    parts: Vec<S::Found>,
    /// The number of units it takes.
    pub(super) units: u32,
}

impl<S: Store> Message<S> {
    /// Reads the message at `position`, to which `from` points. A short body is appended to `bytes`.
    ///
    /// # Errors
    /// If it does not fit into the `left` units available, or names blocks that do not exist or cannot be mapped.
    /// Nothing was changed then.
    ///
    /// # Safety
    /// `from` is valid for reading `left` units, at least one.
    #[inline(always)]
    pub(super) unsafe fn read(
        from: *const u64,
        position: u32,
        left: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<Self, Trouble> {
        // SAFETY: there is at least one unit.
        let head = unsafe { chunk::read(from) };
        let (len, flags, parts) = (head as u32 as usize, head & FLAGS, (head >> 48) as usize);
        let body_units = if flags == IN_BLOCK { 1 } else { len.div_ceil(UNIT) };
        let units = 1 + body_units + parts;
        // Read once, validated, and used from here on: concurrent writes have no effect.
        let is_one = len <= INLINE_MAX && parts <= PARTS_MAX && units <= left as usize;
        if !is_one || flags & !IN_BLOCK != 0 || (flags == IN_BLOCK && len != 0) {
            return Err(S::damaged(What::Message, 0, head));
        }
        let exhausted =
            |_| Trouble::Exhausted(Exhausted::Memory("no memory for the body of a received message".into()));
        let find = |unit: usize| {
            // SAFETY: `unit` is one of the message's, and the caller's promise covers them all.
            let word = unsafe { chunk::read(from.add(unit)) };
            let place = Place::new(word).ok_or_else(|| S::damaged(What::Block, 0, word))?;
            S::find(place, position)
        };
        let block = (flags == IN_BLOCK).then(|| find(1)).transpose()?;
        let mut found = Vec::new();
        if parts != 0 {
            found.try_reserve_exact(parts).map_err(exhausted)?;
            for part in 0..parts {
                found.push(find(1 + body_units + part)?);
            }
        }
        // Last, so that an error leaves no trace.
        bytes.try_reserve(len).map_err(exhausted)?;
        // SAFETY: the source is inside the message; the destination was reserved, and is initialized before `set_len`.
        unsafe {
            let end = bytes.len();
            bytes.as_mut_ptr().add(end).copy_from_nonoverlapping(from.add(1).cast::<u8>(), len);
            bytes.set_len(end + len);
        }
        Ok(Self { tag: (head >> 32) as u8, block, parts: found, units: units as u32 })
    }

    /// Makes the caller the owner of its blocks.
    ///
    /// # Safety
    /// The message is committed, and no other thread may take it.
    #[inline(always)]
    pub(super) unsafe fn claim(self) -> Taken<S::Block> {
        // SAFETY: the blocks were published with the message and belong to its taker.
        let claim = |found| unsafe { S::claim(found) };
        // There are usually none, and then no loop.
        let parts = if self.parts.is_empty() { Vec::new() } else { self.parts.into_iter().map(claim).collect() };
        Taken { tag: self.tag, block: self.block.map(claim), parts }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shared::HeapStore;

    fn head(len: usize, flags: u64, parts: usize) -> u64 {
        7 << 32 | len as u64 | flags | (parts as u64) << 48
    }

    /// Reads a message that begins with `head` and may take at most `left` units; each unit after the header names a
    /// block. Returns the number of its units and of its blocks.
    fn read(head: u64, left: usize) -> Option<(u32, usize)> {
        let mut units = vec![8; 1 + INLINE_MAX / UNIT + PARTS_MAX];
        units[0] = head;
        let mut bytes = b"before".to_vec();
        // SAFETY: there are that many units.
        let message = unsafe { Message::<HeapStore>::read(units.as_ptr(), 0, left as u32, &mut bytes) };
        let Ok(message) = message else {
            assert_eq!(bytes, b"before", "nothing was changed");
            return None;
        };
        assert_eq!((message.tag, bytes.len()), (7, 6 + head as u32 as usize));
        Some((message.units, message.parts.len() + usize::from(message.block.is_some())))
    }

    #[test]
    fn a_message_that_cannot_be_is_not_believed() {
        let most = 1 + INLINE_MAX / UNIT + PARTS_MAX;
        for (head, left, expected) in [
            (head(0, 0, 0), 1, Some((1, 0))),
            (head(1, 0, 0), 2, Some((2, 0))),
            (head(8, 0, 0), 1, None),
            (head(8, 0, 0), 2, Some((2, 0))),
            (head(9, 0, 0), 2, None),
            (head(INLINE_MAX, 0, PARTS_MAX), most, Some((most as u32, PARTS_MAX))),
            (head(INLINE_MAX, 0, PARTS_MAX), most - 1, None),
            (head(INLINE_MAX + 1, 0, 0), most, None),
            (head(0, 0, PARTS_MAX + 1), most, None),
            (head(0, 0, 3), 4, Some((4, 3))),
            (head(0, 0, 3), 3, None),
            (head(0, IN_BLOCK, 0), 2, Some((2, 1))),
            (head(0, IN_BLOCK, 2), 4, Some((4, 3))),
            (head(0, IN_BLOCK, 2), 3, None),
            (head(8, IN_BLOCK, 0), most, None),
            (head(0, IN_BLOCK << 1, 0), most, None),
            (head(0, FLAGS, 0), most, None),
        ] {
            assert_eq!(read(head, left), expected, "{head:#x} in {left}");
        }
    }

    #[test]
    fn a_block_needs_a_name() {
        for nameless in 1..4 {
            let mut units = [8_u64; 4];
            units[0] = head(0, IN_BLOCK, 2);
            units[nameless] = 0;
            let mut bytes = Vec::new();
            // SAFETY: there are four units.
            let message = unsafe { Message::<HeapStore>::read(units.as_ptr(), 0, 4, &mut bytes) };
            assert!(matches!(message, Err(Trouble::Damaged)), "unit {nameless}");
        }
    }
}
