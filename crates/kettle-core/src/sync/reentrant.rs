//! The lock that its holder may take again.

use super::{Acquired, Holder, Home, Lock, LockError, OnOwnerDeath, ResetError};
use crate::atomics::{AtomicU32, Ordering};
use crate::damage::{self, What};
use crate::sys::Owner;
use crate::wait::{Line, Patience};

/// A [`Lock`] that counts how often its holder took it. Only the holder may leave it.
///
/// The count is written by the holder alone, and means nothing while the lock is free.
#[repr(C)]
#[derive(Debug)]
pub struct ReentrantLock {
    lock: Lock,
    depth: AtomicU32,
    _pad: AtomicU32,
}

/// A release by somebody who does not hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwner;

impl ReentrantLock {
    /// A free lock.
    pub fn new(policy: OnOwnerDeath) -> Self {
        Self { lock: Lock::new(policy), depth: AtomicU32::new(0), _pad: AtomicU32::new(0) }
    }

    /// Takes the lock if it is free, or this thread's already.
    #[inline]
    pub fn try_acquire_now<H: Home>(&self) -> bool {
        if self.lock.try_acquire_now::<H>() {
            self.depth.store(1, Ordering::Relaxed);
            return true;
        }
        if damage::is_marked(H::SCOPE) || !self.is_mine::<H>() {
            return false;
        }
        let depth = self.depth.load(Ordering::Relaxed);
        // It is held, so it was taken; and nobody takes it 2^32 times.
        if depth == 0 || depth == u32::MAX {
            damage::mark(H::SCOPE, What::Count, 0, u64::from(depth));
            return false;
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        true
    }

    /// Takes the lock, or takes it once more.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn acquire<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        if self.try_acquire_now::<H>() {
            return Ok(Acquired::Clean);
        }
        let how = self.lock.acquire::<H>(patience)?;
        self.depth.store(1, Ordering::Relaxed);
        Ok(how)
    }

    /// Leaves the lock once.
    ///
    /// # Errors
    /// When this thread does not hold it.
    #[inline(always)]
    pub fn release<H: Home>(&self) -> Result<(), NotOwner> {
        if !self.is_mine::<H>() {
            return Err(NotOwner);
        }
        let depth = self.depth.load(Ordering::Relaxed);
        if depth > 1 {
            self.depth.store(depth - 1, Ordering::Relaxed);
            return Ok(());
        }
        self.lock.release_mine::<H>().map_err(|_| NotOwner)
    }

    /// Leaves the lock once; the last time as if its holder, this thread, had died. See [`Lock::abandon`].
    ///
    /// # Errors
    /// When this thread does not hold it.
    pub fn abandon<H: Home>(&self) -> Result<(), NotOwner> {
        if self.depth::<H>() == 1 {
            self.lock.abandon::<H>();
            return Ok(());
        }
        self.release::<H>()
    }

    /// Leaves the lock altogether, however often it was taken: for a condition's wait. Says how often that was.
    ///
    /// # Errors
    /// When this thread does not hold it.
    pub fn release_all<H: Home>(&self) -> Result<u32, NotOwner> {
        let depth = self.depth::<H>();
        if depth == 0 {
            return Err(NotOwner);
        }
        self.lock.release_mine::<H>().map_err(|_| NotOwner)?;
        Ok(depth)
    }

    /// Takes the lock as often as [`release_all`](Self::release_all) said.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire_again<H: Home>(&self, depth: u32, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        let how = self.lock.acquire::<H>(patience)?;
        self.depth.store(depth, Ordering::Relaxed);
        Ok(how)
    }

    /// Makes a broken lock free again.
    ///
    /// # Errors
    /// When its holder lives.
    pub fn reset<H: Home>(&self) -> Result<(), ResetError> {
        self.lock.reset::<H>()
    }

    /// Whether the thread that asks holds it.
    #[inline]
    pub fn is_mine<H: Home>(&self) -> bool {
        H::try_me().is_some_and(|me| self.lock.is_held_by(me))
    }

    /// How often the thread that asks holds it.
    pub fn depth<H: Home>(&self) -> u32 {
        if self.is_mine::<H>() { self.depth.load(Ordering::Relaxed) } else { 0 }
    }

    /// How often whoever holds it holds it; a moment later that may be otherwise.
    pub fn held(&self) -> u32 {
        if self.owner().is_some() { self.depth.load(Ordering::Relaxed) } else { 0 }
    }

    /// Who holds it now.
    pub fn owner(&self) -> Option<Owner> {
        self.lock.owner()
    }

    /// The same, to be asked again later.
    pub fn holder(&self) -> Holder<'_> {
        self.lock.holder()
    }

    /// Where those wait who want it.
    pub fn freed(&self) -> &Line {
        self.lock.freed()
    }

    /// The lock beneath.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Heap;

    #[test]
    fn a_count_that_cannot_be_is_not_believed() {
        let lock = ReentrantLock::new(OnOwnerDeath::Raise);
        assert!(lock.try_acquire_now::<Heap>());
        for (depth, can_be) in [(0, false), (1, true), (u32::MAX - 1, true), (u32::MAX, false)] {
            lock.depth.store(depth, Ordering::Relaxed);
            assert_eq!(lock.try_acquire_now::<Heap>(), can_be, "{depth}");
            assert_eq!(lock.depth::<Heap>(), depth + u32::from(can_be), "{depth}");
        }
    }
}
