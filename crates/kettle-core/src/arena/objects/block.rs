//! Blocks of bytes that pass from process to process.
//!
//! A [`Block`] belongs to one process at a time; its owner is recorded in its header, so that the blocks of a dead
//! process are found. A receiver may turn it into a [`Lease`], which is counted like a handle and survives `fork`.

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;

use crate::arena::error::ArenaError;
use crate::arena::layout::object_header::NAMES;
use crate::arena::layout::offset::Off;
use crate::arena::layout::participant::Participant;
use crate::arena::objects::allocate::allocate;
use crate::arena::objects::raw::Raw;
use crate::arena::objects::{freeing, name_list, registry};
use crate::arena::participants::this_process;
use crate::arena::{membership, pages};
use crate::damage::What;

/// The kind of blocks.
pub const PAYLOAD: u32 = 1;

/// Bytes in the arena that only this process owns. Dropping it frees them.
#[derive(Debug)]
pub struct Block {
    raw: Raw,
    /// The owner: a process that was forked in the meantime has a copy of this value, but not the block.
    owner: Participant,
}

impl Block {
    /// Allocates a block of `len` bytes with arbitrary content.
    ///
    /// # Errors
    /// If there is no room.
    pub fn allocate(len: usize) -> Result<Self, ArenaError> {
        Self::of(allocate(PAYLOAD, len)?)
    }

    /// Wraps an object that belongs to this process alone.
    pub(in crate::arena) fn of(raw: Raw) -> Result<Self, ArenaError> {
        Ok(Self { raw, owner: Participant::of(membership::try_me()?) })
    }

    pub(in crate::arena) fn raw(&self) -> &Raw {
        &self.raw
    }

    /// Allocates a block with these bytes, copied in the fastest way.
    ///
    /// # Errors
    /// If there is no room.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, ArenaError> {
        let block = Self::allocate(bytes.len())?;
        // SAFETY: the block is exclusively ours and of exactly this length; borrowed bytes cannot be part of a new
        // block.
        unsafe { block.raw.fill(bytes) };
        Ok(block)
    }

    /// Takes ownership of the block at `off`.
    ///
    /// # Errors
    /// If its segment cannot be mapped here, or there is no block.
    ///
    /// # Safety
    /// The caller has the exclusive right to take it.
    pub unsafe fn take(off: Off) -> Result<Self, ArenaError> {
        let me = Participant::of(membership::try_me()?);
        let raw = Raw::at(off)?;
        if raw.kind() != PAYLOAD {
            return Err(pages::damaged(What::Block, off, u64::from(raw.kind())));
        }
        // SAFETY: it is a block, and the caller guarantees the rest.
        Ok(unsafe { Self::claim(raw, me) })
    }

    /// Takes ownership of the block `raw` for this process, `me`. The owner is recorded in the header before this
    /// returns, so a getter owns a block *before* it commits to having taken it.
    ///
    /// # Safety
    /// It is a block, and the caller has the exclusive right to take it.
    pub(crate) unsafe fn claim(raw: Raw, me: Participant) -> Self {
        // If the list of holders is damaged, the session is marked, and nothing is freed any more.
        let _ = raw.stamp(me);
        if raw.kind() == NAMES {
            name_list::taken(&raw);
        }
        crate::crash_point("arena.block.taken");
        Self { raw, owner: me }
    }

    /// Its offset, which names it within the session.
    pub fn off(&self) -> Off {
        self.raw.off()
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether its length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its pages had no memory behind them when it was allocated.
    pub fn is_cold(&self) -> bool {
        self.raw.is_cold()
    }

    /// The address of its bytes in this process, aligned to 64.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.raw.data()
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the bytes live as long as the block, and belong to this process alone.
        unsafe { slice::from_raw_parts(self.raw.data().as_ptr(), self.raw.len()) }
    }

    /// Its bytes, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the block is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.raw.data().as_ptr(), self.raw.len()) }
    }

    /// Copies `bytes` to its beginning, in the fastest way if it was not written to before.
    ///
    /// # Panics
    /// If there is less room than bytes.
    pub fn fill(&mut self, bytes: &[u8]) {
        // SAFETY: the block is borrowed exclusively, so `bytes` is not part of it.
        unsafe { self.raw.fill(bytes) };
    }

    /// Declares that its bytes are complete, and from where it will be reachable. To be called before it is reachable;
    /// from then on it also lives while the census finds it there.
    pub fn set_home(&self, home: u64, position: u64) {
        self.raw.set_home(home, position);
        self.raw.publish();
    }

    /// The values set by [`set_home`](Self::set_home).
    pub fn home(&self) -> (u64, u64) {
        self.raw.home()
    }

    /// Gives it up without freeing it, because it was published or goes back to where it was taken from.
    pub fn into_off(self) -> Off {
        ManuallyDrop::new(self).raw.off()
    }

    /// Keeps it alive as long as it is in use in this process or in processes forked from it.
    ///
    /// # Errors
    /// If this process cannot register; the block is freed.
    pub fn into_lease(self) -> Result<Lease, ArenaError> {
        registry::add(&mut *registry::lock()?, &self.raw);
        self.raw.publish();
        Ok(Lease { raw: ManuallyDrop::new(self).raw })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !this_process::is(self.owner) {
            return;
        }
        // SAFETY: it belongs to this process alone and ends here.
        unsafe {
            match self.raw.kind() {
                NAMES => name_list::free_list(&self.raw),
                _ => freeing::free(&self.raw),
            }
        }
    }
}

/// Bytes in the arena that this process, and those forked from it, may read and write.
///
/// They are freed when the last of these processes has dropped its lease or ended.
#[derive(Debug)]
pub struct Lease {
    raw: Raw,
}

impl Lease {
    /// Its offset, which names it within the session.
    pub fn off(&self) -> Off {
        self.raw.off()
    }

    /// The address of its bytes in this process, aligned to 64. They may be written to, like any shared memory.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.raw.data()
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether its length is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Deref for Lease {
    type Target = [u8];

    /// The bytes. The caller is responsible for concurrent writes by other processes.
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes stay while this process is a holder, as it is while the lease lives.
        unsafe { slice::from_raw_parts(self.raw.data().as_ptr(), self.raw.len()) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: it was counted when it was created, and ends here. A block keeps nothing else alive.
        unsafe { registry::let_go(&self.raw, || ()) };
    }
}
