//! Plain bytes shared by processes.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use crate::arena::{ArenaError, Handle};

/// The header of shared bytes, which follow it as its [tail](Handle::tail).
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bytes;

/// An integer in shared bytes that this crate accesses only atomically. Other code that reads or writes the bytes
/// plainly is responsible for that itself.
pub trait Word: Sized {}
impl Word for AtomicU8 {}
impl Word for AtomicU16 {}
impl Word for AtomicU32 {}
impl Word for AtomicU64 {}

impl Handle<Bytes> {
    /// Allocates `len` zeros.
    ///
    /// # Errors
    /// If there is no room.
    pub fn zeroed(len: usize) -> Result<Self, ArenaError> {
        Self::with_tail(len, || Bytes)
    }

    /// The word at `offset`; None if it is out of bounds, or not aligned to its size.
    pub fn word<W: Word>(&self, offset: usize) -> Option<&W> {
        let (bytes, len) = self.tail();
        if offset % size_of::<W>() != 0 || len.checked_sub(size_of::<W>())? < offset {
            return None;
        }
        // SAFETY: the word is inside the bytes, which stay valid while the handle is borrowed; they begin at a multiple
        // of 64, so it is aligned; a `Word` is an atomic, for which every bit pattern is valid.
        Some(unsafe { bytes.add(offset).cast::<W>().as_ref() })
    }
}
