//! The memory that a queue is made of, as its caller supplies it.

use core::fmt;
use core::num::NonZeroU64;

use crate::damage::{self, What};
use crate::sync::Home;
use crate::sys::descriptor::DescriptorLost;

/// The address of a piece of memory of a [`Store`]: an offset in the arena, or an address on the heap.
pub type Place = NonZeroU64;

/// Memory is exhausted, or this process cannot map it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The cause, and what to do about it.
    Memory(String),
    /// The program closed the descriptor of the memory, so the memory cannot grow.
    DescriptorLost(DescriptorLost),
    /// This process cannot join the session.
    NoPart,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(text) => f.write_str(text),
            Self::DescriptorLost(lost) => lost.fmt(f),
            Self::NoPart => f.write_str("this process cannot take part in the session"),
        }
    }
}

/// Why a [`Store`] operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No memory, or no address space for it.
    Exhausted(Exhausted),
    /// A word of the queue or of its memory has an impossible value; the session is marked.
    Damaged,
}

/// The memory of a chunk as mapped in this process.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Its first byte, aligned to eight.
    pub at: *mut u8,
    /// The number of bytes from there that belong to the store, not necessarily to the chunk. At least
    /// [`CHUNK_ZEROED`](super::CHUNK_ZEROED).
    pub len: usize,
}

/// Where a queue's memory comes from.
///
/// # Safety
/// `chunk` and `sheet` must return memory of the requested length, aligned to eight, that is not used for anything else
/// until `free_chunk`; a chunk must begin with [`CHUNK_ZEROED`](super::CHUNK_ZEROED) zeros. `at` must return the address
/// and length of memory that this process may read and write, or an error, for every place returned by `chunk` and, where others can
/// write into the queue, for any number at all; likewise `sheet_at`, and `find`, whose result `claim` turns back into
/// the block that `publish` was given under that place.
pub unsafe trait Store {
    /// The home of its memory.
    type Home: Home;
    /// A piece of payload with a single owner.
    type Block;
    /// A piece of payload that was looked up: mapped here, and validated.
    type Found;

    /// Allocates the chunk with this `index` for `queue`.
    ///
    /// # Errors
    /// If there is no memory.
    fn chunk(len: usize, queue: Place, index: u32) -> Result<Place, Trouble>;
    /// Makes the caller, which is about to remove a chunk or a sheet from its queue, the holder of that memory, so that
    /// a reclaim attributes it to the caller if it dies halfway.
    ///
    /// # Errors
    /// If there is no such chunk or sheet.
    ///
    /// # Safety
    /// The caller has the right to remove it.
    unsafe fn claim_chunk(place: Place) -> Result<(), Trouble>;
    /// Frees a chunk or a sheet; ignores a place that is neither.
    ///
    /// # Safety
    /// It was claimed and is no longer in use.
    unsafe fn free_chunk(place: Place);
    /// Allocates `len` bytes for further consumers of the queue that owns `chunk`; freed by `free_chunk`.
    ///
    /// # Errors
    /// If there is no memory.
    fn sheet(len: usize, chunk: Place) -> Result<Place, Trouble>;
    /// Makes the queue the only holder of a sheet, which the caller created and linked.
    ///
    /// # Safety
    /// The sheet came from `sheet` and is linked.
    unsafe fn disown_sheet(place: Place);
    /// The address of a sheet of `len` bytes in this process.
    ///
    /// # Errors
    /// If it cannot be mapped, or is not a sheet.
    fn sheet_at(place: Place, len: usize) -> Result<*mut u8, Trouble>;
    /// The address of a chunk in this process.
    ///
    /// # Errors
    /// If it cannot be mapped, or is outside the store.
    fn at(place: Place) -> Result<Room, Trouble>;
    /// Records that `value`, a word of a queue or of its chunk at `place`, is impossible.
    fn damaged(what: What, place: u64, value: u64) -> Trouble {
        damage::mark(Self::Home::SCOPE, what, place, value);
        Trouble::Damaged
    }

    /// Prepares a block to be named by `queue` at `position`: from the commit on, the queue owns it.
    fn publish(block: Self::Block, queue: Place, position: u32) -> Place;
    /// Looks up a block that the message at `position` names, so that claiming it cannot fail.
    ///
    /// # Errors
    /// If it cannot be mapped, or there is no block.
    fn find(place: Place, position: u32) -> Result<Self::Found, Trouble>;
    /// Makes the caller the owner of a published block.
    ///
    /// # Safety
    /// The caller has the right to take it.
    unsafe fn claim(found: Self::Found) -> Self::Block;
    /// The length of a block in bytes.
    fn len(block: &Self::Block) -> usize;
}
