//! Plain bytes that processes share.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use crate::arena::{ArenaError, Handle};

/// Bytes stand behind it, as [`Handle::tail`] says.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bytes;

/// An integer in shared bytes, changed only as a whole. Plain reads and writes of others are theirs to answer for.
pub trait Word: Sized {}
impl Word for AtomicU8 {}
impl Word for AtomicU16 {}
impl Word for AtomicU32 {}
impl Word for AtomicU64 {}

impl Handle<Bytes> {
    /// `len` zeros.
    ///
    /// # Errors
    /// When there is no room.
    pub fn zeroed(len: usize) -> Result<Self, ArenaError> {
        Self::with_tail(len, || Bytes)
    }

    /// The word at `offset`; None if it is not inside, or not aligned to its size.
    pub fn word<W: Word>(&self, offset: usize) -> Option<&W> {
        let (bytes, len) = self.tail();
        if offset % size_of::<W>() != 0 || len.checked_sub(size_of::<W>())? < offset {
            return None;
        }
        // SAFETY: the word is inside the bytes, which stay while the handle is borrowed; they begin at a multiple of 64,
        // so it is aligned; a `Word` is an atomic, for which every bit pattern is a value.
        Some(unsafe { bytes.add(offset).cast::<W>().as_ref() })
    }
}
