//! The lock that its holder may acquire again.

use super::{Acquired, Holder, Home, Lock, LockError, OnOwnerDeath, ResetError};
use crate::atomics::{AtomicU32, Ordering};
use crate::damage::{self, What};
use crate::sys::Owner;
use crate::wait::{Line, Patience};

/// A [`Lock`] that counts how often its holder acquired it. Only the holder may release it.
///
/// Only the holder writes the count, which is meaningless while the lock is free.
#[repr(C)]
#[derive(Debug)]
pub struct ReentrantLock {
    lock: Lock,
    depth: AtomicU32,
    _pad: AtomicU32,
}

/// Released by a thread that does not hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwner;

impl ReentrantLock {
    /// A free lock.
    pub fn new(policy: OnOwnerDeath) -> Self {
        Self { lock: Lock::new(policy), depth: AtomicU32::new(0), _pad: AtomicU32::new(0) }
    }

    /// Acquires the lock if it is free, or if this thread already holds it.
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
        // A held lock was acquired at least once, and never 2^32 times.
        if depth == 0 || depth == u32::MAX {
            damage::mark(H::SCOPE, What::Count, 0, u64::from(depth));
            return false;
        }
        self.depth.store(depth + 1, Ordering::Relaxed);
        true
    }

    /// Acquires the lock, or acquires it once more.
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

    /// Releases the lock once.
    ///
    /// # Errors
    /// If this thread does not hold it.
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

    /// Releases the lock once; the last time as if its holder, this thread, had died. See [`Lock::abandon`].
    ///
    /// # Errors
    /// If this thread does not hold it.
    pub fn abandon<H: Home>(&self) -> Result<(), NotOwner> {
        if self.depth::<H>() == 1 {
            self.lock.abandon::<H>();
            return Ok(());
        }
        self.release::<H>()
    }

    /// Releases the lock completely, however often it was acquired, for a condition's wait. Returns how often that was.
    ///
    /// # Errors
    /// If this thread does not hold it.
    pub fn release_all<H: Home>(&self) -> Result<u32, NotOwner> {
        let depth = self.depth::<H>();
        if depth == 0 {
            return Err(NotOwner);
        }
        self.lock.release_mine::<H>().map_err(|_| NotOwner)?;
        Ok(depth)
    }

    /// Acquires the lock as often as [`release_all`](Self::release_all) returned.
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
    /// If its holder is alive.
    pub fn reset<H: Home>(&self) -> Result<(), ResetError> {
        self.lock.reset::<H>()
    }

    /// Whether the calling thread holds it.
    #[inline]
    pub fn is_mine<H: Home>(&self) -> bool {
        H::try_me().is_some_and(|me| self.lock.is_held_by(me))
    }

    /// How often the calling thread holds it.
    pub fn depth<H: Home>(&self) -> u32 {
        if self.is_mine::<H>() { self.depth.load(Ordering::Relaxed) } else { 0 }
    }

    /// How often its current holder holds it, whichever thread that is; the answer may be stale at once.
    pub fn held(&self) -> u32 {
        if self.owner().is_some() { self.depth.load(Ordering::Relaxed) } else { 0 }
    }

    /// The current holder.
    pub fn owner(&self) -> Option<Owner> {
        self.lock.owner()
    }

    /// A handle for asking that again later.
    pub fn holder(&self) -> Holder<'_> {
        self.lock.holder()
    }

    /// The line of threads that wait for the lock.
    pub fn freed(&self) -> &Line {
        self.lock.freed()
    }

    /// The underlying lock.
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
