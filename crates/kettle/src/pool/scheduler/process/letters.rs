//! The layout of messages with tasks and outcomes: a head of 24 bytes, followed by the front's own bytes.
//!
//! ```text
//!   [ chunk: 64 ][ tasks in it, or which of them: 32 ][ flags: 8 ][ check: 24 ][ word of the front: 64 ]  bytes …
//! ```
//!
//! The check covers the rest of the head. Without it, an overwritten number could make a worker run fewer tasks than
//! the supervisor waits for, which would go unnoticed.

use std::ops::Range;

use kettle_core::arena::{ArenaError, Block, Handle};
use kettle_core::damage::{self, What};
use kettle_core::queue::{self, Body, GetError, Parcel, PutError, Queue, TakeAllError, Taken};
use kettle_core::shared::{ArenaStore, place_of};
use kettle_core::sys::futex::Scope;
use kettle_core::wait::Patience;

use crate::error::OutOfMemory;

/// The maximum number of bytes stored in the queue itself; larger bodies are in a block.
pub const INLINE_MAX: usize = queue::INLINE_MAX - Head::LEN;

/// What a front sends: bytes whose meaning only the front knows.
pub struct Load<'b> {
    /// The kind of the bytes.
    pub tag: u8,
    /// A number sent along with them, such as that of their job.
    pub word: u64,
    /// The bytes: inline at most [`INLINE_MAX`].
    pub body: Body<'b, Block>,
    /// Further blocks, at most 63.
    pub parts: Vec<Block>,
}

impl core::fmt::Debug for Load<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Load").field("tag", &self.tag).field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl<'b> Load<'b> {
    /// Creates a load of few bytes.
    pub fn inline(tag: u8, bytes: &'b [u8]) -> Self {
        Self { tag, word: 0, body: Body::Inline(bytes), parts: Vec::new() }
    }
}

/// The part of a message before the front's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The number of the chunk; 0 for a note, which is not about one.
    pub(super) chunk: u64,
    /// The number of tasks in the chunk; for an outcome, the index of its task.
    pub(super) number: u32,
    pub(super) flags: u32,
    pub(super) word: u64,
}

/// The chunk's tasks have a time limit: the worker records when each begins.
pub(super) const TIMED: u32 = 1;
/// The first part is the body.
const BODY_IS_PART: u32 = 2;
/// The worker is to leave.
pub(super) const LEAVE: u32 = 4;
/// The outcomes of the chunk's tasks are announced together with later ones.
pub(super) const BATCHED: u32 = 8;
/// All outcomes so far are announced at the end of the chunk.
pub(super) const ANNOUNCED: u32 = 16;
/// The number of bits for flags.
const FLAGS: u32 = 8;

impl Head {
    pub(super) const LEN: usize = 24;

    /// The head of a message that is not about a chunk.
    pub(super) const fn note(flags: u32) -> Self {
        Self { chunk: 0, number: 0, flags, word: 0 }
    }

    fn write(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.chunk.to_le_bytes());
        to.extend_from_slice(&self.number.to_le_bytes());
        to.extend_from_slice(&(self.flags | self.check() << FLAGS).to_le_bytes());
        to.extend_from_slice(&self.word.to_le_bytes());
    }

    /// 24 bits that depend on every bit of the rest.
    fn check(self) -> u32 {
        let numbers = u64::from(self.number) << 32 | u64::from(self.flags);
        let mixed =
            (self.chunk ^ self.word.rotate_left(24) ^ numbers.rotate_left(48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ mixed >> 32) >> FLAGS) as u32 & (u32::MAX >> FLAGS)
    }

    /// Returns `None` if this is not the beginning of a valid message.
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<{ Self::LEN }>()?;
        let long = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| bytes[at + i]));
        let numbers = long(8);
        let (flags, check) = ((numbers >> 32) as u32 & ((1 << FLAGS) - 1), (numbers >> (32 + FLAGS)) as u32);
        let head = Self { chunk: long(0), number: numbers as u32, flags, word: long(16) };
        (head.check() == check).then_some(head)
    }
}

/// Puts a message. The queues of a desk are unbounded and are never shut down.
pub(super) fn put(
    queue: &Handle<Queue>,
    scratch: &mut Vec<u8>,
    mut head: Head,
    load: Load<'_>,
) -> Result<(), OutOfMemory> {
    scratch.clear();
    head.word = load.word;
    let mut parts = load.parts;
    match load.body {
        Body::Inline(bytes) => {
            head.write(scratch);
            scratch.extend_from_slice(bytes);
        }
        Body::Block(block) => {
            head.flags |= BODY_IS_PART;
            head.write(scratch);
            parts.insert(0, block);
        }
    }
    put_again(queue, Parcel::blocks(load.tag, Body::Inline(scratch), parts))
}

/// Puts a message that was taken out of a desk's queue back into one, unchanged.
pub(super) fn put_again(queue: &Handle<Queue>, parcel: Parcel<'_, ArenaStore>) -> Result<(), OutOfMemory> {
    match queue.put(place_of(queue), parcel, &Patience::forever()) {
        Ok(()) => Ok(()),
        Err(PutError::Exhausted(_, e)) => Err(e.into()),
        Err(PutError::Damaged(_)) => Err(damaged().into()),
        // A desk's queue is unbounded and is never shut down, and this put has no deadline.
        Err(PutError::Full(_) | PutError::ShutDown(_) | PutError::Interrupted(_)) => {
            Err(cannot_be(queue, What::Count, 0).into())
        }
    }
}

/// Takes a message: its head, and what the front sent. A short body is appended to `bytes`, after the head.
pub(super) fn take(
    queue: &Queue,
    bytes: &mut Vec<u8>,
    patience: &Patience<'_>,
) -> Result<(Head, Taken<Block>), GetError> {
    let start = bytes.len();
    let taken = queue.get::<ArenaStore>(bytes, patience)?;
    match opened(taken, &bytes[start..]) {
        Some(letter) => Ok(letter),
        None => Err(GetError::Damaged),
    }
}

/// Returns the head of a message, and the message with its body moved out of the parts if it was sent as one of them.
/// If the message is not one of a pool, marks the session as damaged and returns `None`.
fn opened(mut taken: Taken<Block>, bytes: &[u8]) -> Option<(Head, Taken<Block>)> {
    let head = Head::read(bytes);
    let body_is_part = head.is_some_and(|head| head.flags & BODY_IS_PART != 0);
    match head.filter(|_| taken.block.is_none() && !(body_is_part && taken.parts.is_empty())) {
        Some(head) => {
            if body_is_part {
                taken.block = Some(taken.parts.remove(0));
            }
            Some((head, taken))
        }
        None => {
            damage::mark(Scope::Shared, What::Letter, 0, bytes.len() as u64);
            None
        }
    }
}

fn damaged() -> ArenaError {
    damage::marked().into()
}

fn cannot_be(queue: &Handle<Queue>, what: What, value: u64) -> ArenaError {
    damage::mark(Scope::Shared, what, queue.off().to_bits(), value).into()
}

/// Takes all messages that are there, unchanged; see [`Queue::take_all`].
pub(super) fn take_all(
    queue: &Queue,
    bytes: &mut Vec<u8>,
    mut each: impl FnMut(Head, Taken<Block>, Range<usize>),
    patience: &Patience<'_>,
) -> Result<(), TakeAllError> {
    let mut taken = Vec::new();
    let result = queue.take_all::<ArenaStore>(bytes, |letter, at| taken.push((letter, at)), patience);
    // Those that were taken count even if the call failed for the rest.
    for (letter, at) in taken {
        match Head::read(&bytes[at.clone()]) {
            Some(head) => each(head, letter, at),
            None => drop(damage::mark(Scope::Shared, What::Letter, 0, at.len() as u64)),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_was_written_over_is_none() {
        let head = Head { chunk: 77, number: 8, flags: TIMED, word: 3 };
        let mut bytes = Vec::new();
        head.write(&mut bytes);
        assert_eq!(Head::read(&bytes), Some(head));
        for bit in 0..8 * Head::LEN {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::read(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Head::read(&bytes[1..]), None, "too short");
    }
}
