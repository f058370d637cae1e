//! Permits without owners.

use super::Home;
use crate::atomics::{AtomicU32, Ordering};
use crate::damage::{self, What};
use crate::stats::SemaphoreStatistics;
use crate::wait::{Line, Patience, Stopped, spin_and_yield_until};

/// A counting semaphore. A permit may be acquired by one thread and released by another, so permits have no owner, and
/// the permit of a process that died is lost; [`OwnedPermits`](super::OwnedPermits) recover theirs.
#[repr(C)]
#[derive(Debug)]
pub struct Semaphore {
    value: AtomicU32,
    limit: AtomicU32,
    given: Line,
}

/// A release that would exceed the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleasedTooOften;

impl Semaphore {
    /// The highest possible number of permits.
    pub const MAX: u32 = i32::MAX as u32;

    /// Creates a semaphore with `value` permits, limited to `limit`.
    pub fn new(value: u32, limit: u32) -> Self {
        Self { value: AtomicU32::new(value), limit: AtomicU32::new(limit), given: Line::new() }
    }

    /// Resets it to `value` permits, limited to `limit`. Only for a semaphore without waiters.
    pub fn reinit(&self, value: u32, limit: u32) {
        self.limit.store(limit, Ordering::SeqCst);
        self.value.store(value, Ordering::SeqCst);
    }

    #[inline(always)]
    fn take(&self) -> Option<()> {
        let mut v = self.value.load(Ordering::SeqCst);
        while v > 0 {
            match self.value.compare_exchange_weak(v, v - 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(()),
                Err(now) => v = now,
            }
        }
        None
    }

    #[inline(always)]
    fn take_if_admitted(&self) -> Option<()> {
        if self.given.admits(None, || self.value()) { self.take() } else { None }
    }

    /// Acquires a permit if one is free and not reserved, and the memory is not damaged.
    #[inline(always)]
    pub fn try_acquire_now<H: Home>(&self) -> bool {
        !damage::is_marked(H::SCOPE) && self.take_if_admitted().is_some()
    }

    /// Acquires a permit.
    ///
    /// # Errors
    /// If the wait ended.
    #[inline]
    pub fn acquire<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        if damage::is_marked(H::SCOPE) {
            return Err(Stopped::Damaged);
        }
        match self.take_if_admitted() {
            Some(()) => Ok(()),
            None => self.acquire_slow::<H>(patience),
        }
    }

    #[cold]
    fn acquire_slow<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        self.check::<H>()?;
        if !patience.may_wait() {
            return if patience.takes_reserved() { self.take() } else { None }.ok_or(Stopped::TimedOut);
        }
        let is_free = || self.value.load(Ordering::Relaxed) > 0;
        if patience.may_spin() && spin_and_yield_until(is_free) && self.take_if_admitted().is_some() {
            return Ok(());
        }
        self.given.wait_for(patience, H::SCOPE, || self.take(), || None)?;
        if self.value() > 0 {
            self.given.pass_on(self.value(), H::SCOPE);
        }
        Ok(())
    }

    /// Checks that the counters are possible ones.
    fn check<H: Home>(&self) -> Result<(), Stopped> {
        let (value, limit) = (self.value(), self.limit.load(Ordering::Relaxed));
        if value > Self::MAX || limit > Self::MAX {
            damage::mark(H::SCOPE, What::Count, 0, u64::from(limit) << 32 | u64::from(value));
            return Err(Stopped::Damaged);
        }
        Ok(())
    }

    /// Releases `n` permits, all or none.
    ///
    /// # Errors
    /// If there would be more than the limit.
    #[inline(always)]
    pub fn release<H: Home>(&self, n: u32) -> Result<(), ReleasedTooOften> {
        let limit = self.limit.load(Ordering::Relaxed);
        let prepared = self.given.prepare();
        let more = |v: u32| v.checked_add(n).filter(|v| *v <= limit);
        if self.value.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).is_err() {
            self.given.withdraw(prepared, H::SCOPE);
            return Err(ReleasedTooOften);
        }
        self.given.notify_prepared(prepared, n, || self.value(), H::SCOPE);
        Ok(())
    }

    /// Changes the limit.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// Acquires all free permits; returns how many.
    pub fn take_all(&self) -> u32 {
        self.value.swap(0, Ordering::SeqCst)
    }

    /// A snapshot of its counters.
    pub fn statistics(&self) -> SemaphoreStatistics {
        SemaphoreStatistics {
            value: self.value(),
            limit: self.limit.load(Ordering::Relaxed),
            waiting: self.given.sleepers(),
            recovered: 0,
        }
    }

    /// The number of free permits.
    pub fn value(&self) -> u32 {
        self.value.load(Ordering::SeqCst)
    }

    /// The line of threads that wait for a permit.
    pub fn given(&self) -> &Line {
        &self.given
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Heap;

    #[test]
    fn numbers_that_cannot_be_are_not_believed() {
        let max = Semaphore::MAX;
        for (value, limit, can_be) in [(0, 1, true), (max, max, true), (max + 1, max, false), (0, max + 1, false)] {
            let expected = if can_be { Ok(()) } else { Err(Stopped::Damaged) };
            assert_eq!(Semaphore::new(value, limit).check::<Heap>(), expected, "{value} of {limit}");
        }
        // The counters are checked by callers that find no permit.
        assert_eq!(Semaphore::new(0, max + 1).acquire::<Heap>(&Patience::forever()), Err(Stopped::Damaged));
        assert_eq!(Semaphore::new(0, max).acquire::<Heap>(&Patience::none()), Err(Stopped::TimedOut));
    }
}
