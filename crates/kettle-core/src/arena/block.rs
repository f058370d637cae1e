//! Blocks of bytes that pass from process to process.
//!
//! A [`Block`] belongs to one process at a time; its owner stands in its header, so that what a dead process owned
//! is found. Whoever receives one may turn it into a [`Lease`], which is counted like a handle and survives `fork`.

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;

use super::error::ArenaError;
use super::names::{self, NAMES};
use super::object::{self, Raw};
use super::offset::Off;
use super::participants::{self, Participant};
use super::{identity, pages, registry};
use crate::damage::What;

/// The kind of blocks.
pub const PAYLOAD: u32 = 1;

/// Bytes in the arena that this process owns alone. Dropping it frees them.
#[derive(Debug)]
pub struct Block {
    raw: Raw,
    /// Who owns it: a process forked meanwhile has a copy of this value, but not the block.
    owner: Participant,
}

impl Block {
    /// A block of `len` bytes, whose content is whatever was there.
    ///
    /// # Errors
    /// When there is no room.
    pub fn allocate(len: usize) -> Result<Self, ArenaError> {
        Self::of(object::allocate(PAYLOAD, len)?)
    }

    /// Of an object that belongs to this process alone.
    pub(super) fn of(raw: Raw) -> Result<Self, ArenaError> {
        Ok(Self { raw, owner: Participant::of(participants::try_me()?) })
    }

    pub(super) fn raw(&self) -> &Raw {
        &self.raw
    }

    /// A block with these bytes, copied the fastest way.
    ///
    /// # Errors
    /// When there is no room.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, ArenaError> {
        let block = Self::allocate(bytes.len())?;
        // SAFETY: the block is ours alone and exactly as long; borrowed bytes cannot be part of a new block.
        unsafe { block.raw.fill(bytes) };
        Ok(block)
    }

    /// The block at `off`, which from now on belongs to this process.
    ///
    /// # Errors
    /// When its segment cannot be mapped here, or no block is there.
    ///
    /// # Safety
    /// The caller has the sole right to take it.
    pub unsafe fn take(off: Off) -> Result<Self, ArenaError> {
        let me = Participant::of(participants::try_me()?);
        let raw = Raw::at(off)?;
        if raw.kind() != PAYLOAD {
            return Err(pages::damaged(What::Block, off, u64::from(raw.kind())));
        }
        // SAFETY: it is a block, and the caller promises the rest.
        Ok(unsafe { Self::claim(raw, me) })
    }

    /// The block `raw`, which from now on belongs to this process, `me`: it is written into its header before this
    /// returns, so a getter takes a block *before* it commits that it did.
    ///
    /// # Safety
    /// It is a block, and the caller has the sole right to take it.
    pub(crate) unsafe fn claim(raw: Raw, me: Participant) -> Self {
        // Where the list of holders is damaged, the session is marked, and frees nothing any more.
        let _ = raw.stamp(me);
        if raw.kind() == NAMES {
            names::taken(&raw);
        }
        crate::crash_point("arena.block.taken");
        Self { raw, owner: me }
    }

    /// Its name within the session.
    pub fn off(&self) -> Off {
        self.raw.off()
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its pages had no memory behind them when it was allocated.
    pub fn is_cold(&self) -> bool {
        self.raw.is_cold()
    }

    /// Where its bytes are in this process, aligned to 64 bytes.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.raw.data()
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the bytes stay while the block does, and belong to this process alone.
        unsafe { slice::from_raw_parts(self.raw.data().as_ptr(), self.raw.len()) }
    }

    /// Its bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the block is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.raw.data().as_ptr(), self.raw.len()) }
    }

    /// Copies `bytes` to its beginning, the fastest way as long as it was not written to.
    ///
    /// # Panics
    /// If there is less room than bytes.
    pub fn fill(&mut self, bytes: &[u8]) {
        // SAFETY: the block is borrowed alone, so `bytes` is no part of it.
        unsafe { self.raw.fill(bytes) };
    }

    /// Says from where it will be reached, and that its bytes are complete. To be called before it can be reached;
    /// from then on it also lives while the census finds it there.
    pub fn set_home(&self, home: u64, position: u64) {
        self.raw.set_home(home, position);
        self.raw.publish();
    }

    /// What [`set_home`](Self::set_home) said.
    pub fn home(&self) -> (u64, u64) {
        self.raw.home()
    }

    /// Gives it up without freeing it: it has been published, or goes back to where it was taken from.
    pub fn into_off(self) -> Off {
        ManuallyDrop::new(self).raw.off()
    }

    /// Keeps it for as long as somebody looks at it, here or in a process forked from here.
    ///
    /// # Errors
    /// When this process is new and cannot register; the block is freed.
    pub fn into_lease(self) -> Result<Lease, ArenaError> {
        registry::lock()?.add(&self.raw);
        self.raw.publish();
        Ok(Lease { raw: ManuallyDrop::new(self).raw })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !identity::is_me(self.owner) {
            return;
        }
        // SAFETY: it belongs to this process alone and ends here.
        unsafe {
            match self.raw.kind() {
                NAMES => names::free_list(&self.raw),
                _ => self.raw.free(),
            }
        }
    }
}

/// Bytes in the arena that this process, and those forked from it, may look at and write to.
///
/// It is freed when the last of them has dropped it or ended.
#[derive(Debug)]
pub struct Lease {
    raw: Raw,
}

impl Lease {
    /// Its name within the session.
    pub fn off(&self) -> Off {
        self.raw.off()
    }

    /// Where its bytes are in this process, aligned to 64 bytes. They may be written to, as shared memory may.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.raw.data()
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Deref for Lease {
    type Target = [u8];

    /// The bytes. If others write to them meanwhile, what is read is theirs to answer for.
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes stay while this process is among the holders, which it is while the lease lives.
        unsafe { slice::from_raw_parts(self.raw.data().as_ptr(), self.raw.len()) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: it was counted when it was made, and ends here. A block keeps nothing else alive.
        unsafe { registry::let_go(&self.raw, || ()) };
    }
}
