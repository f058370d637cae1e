//! Messages that are put into a queue or were taken out of one.

use std::cell::{Cell, RefCell};

use kettle_core::arena::{Block, Handle};
use kettle_core::queue::{self, Body, INLINE_MAX, Parcel, PutError};
use kettle_core::shared::{ArenaStore, place_of};
use kettle_core::wait::Patience;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Message, Unsendable};
use crate::error::{DecodeError, OutOfMemory};

thread_local! {
    /// Memory for messages, used again. Taken out while in use: a value may send another one while it is encoded.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// How many messages in a row would have fitted into [`SCRATCH_KEPT`] although there was more.
    static SHORT_IN_A_ROW: Cell<u32> = const { Cell::new(0) };
}

/// The maximum capacity that is always kept for the next message.
const SCRATCH_KEPT: usize = 64 * 1024;
/// The maximum capacity that is kept as long as it is used. Fresh memory of this size costs a page fault for each of its
/// pages, which takes longer than the copy of the bytes. A message much longer than this has that cost.
const LONG_SCRATCH_KEPT: usize = 2 * 1024 * 1024;
/// After so many short messages in a row, long scratch memory is no longer used.
const SHORT_MAX: u32 = 64;

/// What runs at the end of a thread may send too; then there is nothing to take it from, or to give it back to.
fn scratch() -> Vec<u8> {
    SCRATCH.try_with(RefCell::take).unwrap_or_default()
}

/// `len`: how much of it the message took.
fn give_back(bytes: Vec<u8>, len: usize) {
    if bytes.capacity() <= SCRATCH_KEPT || is_worth_keeping(bytes.capacity(), len) {
        let _ = SCRATCH.try_with(|place| place.replace(bytes));
    }
}

/// Whether to keep memory beyond [`SCRATCH_KEPT`].
#[cold]
fn is_worth_keeping(capacity: usize, len: usize) -> bool {
    let short_in_a_row = if len > SCRATCH_KEPT { 0 } else { SHORT_IN_A_ROW.get() + 1 };
    let is_kept = capacity <= LONG_SCRATCH_KEPT && short_in_a_row <= SHORT_MAX;
    SHORT_IN_A_ROW.set(if is_kept { short_in_a_row } else { 0 });
    is_kept
}

/// A message that is ready to be put; putting it can be retried.
#[derive(Debug)]
pub(crate) struct Outgoing {
    tag: u8,
    bytes: Vec<u8>,
    /// The bytes, if they are too many to be stored in the queue.
    body: Option<Block>,
    parts: Vec<Block>,
}

/// Why a message was not put.
#[derive(Debug)]
pub(crate) enum Refusal {
    Full,
    ShutDown,
    OutOfMemory(OutOfMemory),
    Damaged,
}

impl Outgoing {
    /// Encodes a value as a message.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self, Unsendable> {
        Ok(Self::new(0, codec::encode(value, scratch())?)?)
    }

    pub(crate) fn new(tag: u8, message: Message) -> Result<Self, OutOfMemory> {
        let (bytes, parts) = message.into_parts()?;
        let body = if bytes.len() > INLINE_MAX { Some(Block::copy_of(&bytes)?) } else { None };
        Ok(Self { tag, bytes, body, parts })
    }

    pub(crate) fn put(&mut self, queue: &Handle<queue::Queue>, patience: &Patience<'_>) -> Result<(), Refusal> {
        let Self { tag, bytes, body, parts } = self;
        let refused = match queue.put(place_of(queue), parcel(*tag, bytes, body, parts), patience) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let (parcel, refusal) = match refused {
            PutError::Full(parcel) | PutError::Interrupted(parcel) => (parcel, Refusal::Full),
            PutError::ShutDown(parcel) => (parcel, Refusal::ShutDown),
            PutError::Exhausted(parcel, e) => (parcel, Refusal::OutOfMemory(e.into())),
            PutError::Damaged(parcel) => (parcel, Refusal::Damaged),
        };
        if let Body::Block(block) = parcel.body {
            *body = Some(block);
        }
        *parts = parcel.parts;
        Err(refusal)
    }

    /// Returns all of the message, for a caller that puts it itself.
    pub(crate) fn parcel(&mut self) -> Parcel<'_, ArenaStore> {
        parcel(self.tag, &self.bytes, &mut self.body, &mut self.parts)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let len = self.bytes.len();
        give_back(std::mem::take(&mut self.bytes), len);
    }
}

fn parcel<'b>(tag: u8, bytes: &'b [u8], body: &mut Option<Block>, parts: &mut Vec<Block>) -> Parcel<'b, ArenaStore> {
    let body = body.take().map_or(Body::Inline(bytes), Body::Block);
    Parcel::blocks(tag, body, std::mem::take(parts))
}

/// A message that was taken.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) tag: u8,
    bytes: Vec<u8>,
    body: Option<Block>,
    parts: Vec<Block>,
}

impl Incoming {
    pub(crate) fn take(queue: &queue::Queue, patience: &Patience<'_>) -> Result<Self, queue::GetError> {
        let mut bytes = scratch();
        bytes.clear();
        match queue.get::<ArenaStore>(&mut bytes, patience) {
            Ok(taken) => Ok(Self::new(taken, bytes)),
            Err(e) => {
                give_back(bytes, 0);
                Err(e)
            }
        }
    }

    pub(crate) fn new(taken: queue::Taken<Block>, bytes: Vec<u8>) -> Self {
        Self { tag: taken.tag, bytes, body: taken.block, parts: taken.parts }
    }

    /// Decodes the value.
    pub(crate) fn decode<T: DeserializeOwned>(mut self) -> Result<T, DecodeError> {
        let (bytes, blocks) = self.open();
        codec::decode(bytes, blocks)
    }

    /// Returns the bytes and the blocks that belong to them.
    pub(crate) fn open(&mut self) -> (&[u8], Vec<Block>) {
        let parts = std::mem::take(&mut self.parts);
        (self.body.as_ref().map_or(&self.bytes, Block::as_slice), parts)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A long message is not copied, but is as long as its block: who receives such messages may send them as well.
        let len = self.body.as_ref().map_or(self.bytes.len(), Block::len);
        give_back(std::mem::take(&mut self.bytes), len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        SCRATCH.with_borrow(Vec::capacity)
    }

    /// Sends a message of so many bytes.
    fn send(len: usize) {
        let mut bytes = scratch();
        bytes.clear();
        bytes.resize(len, 0);
        give_back(bytes, len);
    }

    #[test]
    fn memory_for_long_messages_is_kept_while_there_are_some() {
        send(1_000_000);
        let long = kept();
        assert!(long >= 1_000_000);
        for _ in 0..10 {
            (0..SHORT_MAX).for_each(|_| send(100));
            assert_eq!(kept(), long);
            send(100_000);
        }
        (0..=SHORT_MAX).for_each(|_| send(100));
        send(100);
        assert!(kept() <= SCRATCH_KEPT);
        send(2 * LONG_SCRATCH_KEPT);
        assert!(kept() <= SCRATCH_KEPT);
    }
}
