//! Permits that name their owners.

use super::{Home, ReleasedTooOften};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::damage::{self, What};
use crate::stats::SemaphoreStatistics;
use crate::sys::Owner;
use crate::wait::{Line, Patience, Stopped, spin_and_yield_until};

/// A fixed number of permits, each a word that names the process holding it, so that the permits of dead processes are
/// recovered.
///
/// Acquiring a permit and naming its owner are one compare-exchange, from the free state (0) or from an owner found
/// dead. The price is that the number is fixed, and that only the process that acquired a permit can release it.
#[repr(C)]
#[derive(Debug)]
pub struct OwnedPermits {
    count: AtomicU32,
    recovered: AtomicU32,
    given: Line,
    permits: [AtomicU64; Self::MAX as usize],
}

/// Released by a process that holds no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitNotHeld;

impl OwnedPermits {
    /// The maximum number of permits.
    pub const MAX: u32 = if cfg!(loom) { 2 } else { 48 };

    /// Creates `count` permits.
    ///
    /// # Errors
    /// If `count` exceeds [`MAX`](Self::MAX).
    pub fn new(count: u32) -> Result<Self, ReleasedTooOften> {
        if count > Self::MAX {
            return Err(ReleasedTooOften);
        }
        Ok(Self {
            count: AtomicU32::new(count),
            recovered: AtomicU32::new(0),
            given: Line::new(),
            permits: [0; Self::MAX as usize].map(AtomicU64::new),
        })
    }

    fn all(&self) -> &[AtomicU64] {
        &self.permits[..(self.count.load(Ordering::Relaxed) as usize).min(self.permits.len())]
    }

    fn take<H: Home>(&self) -> Option<()> {
        let me = H::try_me()?.participant_or_thread();
        self.all().iter().any(|p| p.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst).is_ok()).then_some(())
    }

    fn take_from_the_dead<H: Home>(&self) -> Option<()> {
        let me = H::try_me()?.participant_or_thread();
        for permit in self.all() {
            let word = permit.load(Ordering::Acquire);
            if word != 0 && !H::can_be(Owner::from_bits(word)) {
                damage::mark(H::SCOPE, What::Owner, 0, word);
                return None;
            }
            if word != 0
                && H::is_dead(Owner::from_bits(word))
                && permit.compare_exchange(word, me, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                self.recovered.fetch_add(1, Ordering::Relaxed);
                return Some(());
            }
        }
        None
    }

    /// Acquires a permit.
    ///
    /// # Errors
    /// If the wait ended.
    pub fn acquire<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        if damage::is_marked(H::SCOPE) {
            return Err(Stopped::Damaged);
        }
        H::try_me().ok_or(Stopped::NoPart)?;
        let take_if_admitted = || if self.given.admits(None, || self.value()) { self.take::<H>() } else { None };
        if take_if_admitted().is_some() {
            return Ok(());
        }
        if patience.takes_reserved() && self.take::<H>().is_some() {
            return Ok(());
        }
        if patience.may_spin() && spin_and_yield_until(|| self.value() > 0) && take_if_admitted().is_some() {
            return Ok(());
        }
        self.given
            .wait_for(patience, H::SCOPE, || self.take::<H>(), || self.take_from_the_dead::<H>())
            .or_else(|stopped| self.take_from_the_dead::<H>().ok_or(stopped))?;
        if self.value() > 0 {
            self.given.pass_on(self.value(), H::SCOPE);
        }
        Ok(())
    }

    /// Releases one of this process's permits.
    ///
    /// # Errors
    /// If the process holds none.
    pub fn release<H: Home>(&self) -> Result<(), PermitNotHeld> {
        let me = H::try_me().ok_or(PermitNotHeld)?.participant_or_thread();
        let prepared = self.given.prepare();
        if !self.all().iter().any(|p| p.compare_exchange(me, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()) {
            self.given.withdraw(prepared, H::SCOPE);
            return Err(PermitNotHeld);
        }
        self.given.notify_prepared(prepared, 1, || self.value(), H::SCOPE);
        Ok(())
    }

    /// The number of free permits; those of dead processes do not count until a waiter needs them.
    pub fn value(&self) -> u32 {
        self.all().iter().filter(|p| p.load(Ordering::Relaxed) == 0).count() as u32
    }

    /// A snapshot of the counters.
    pub fn statistics(&self) -> SemaphoreStatistics {
        SemaphoreStatistics {
            value: self.value(),
            limit: self.count.load(Ordering::Relaxed),
            waiting: self.given.sleepers(),
            recovered: self.recovered.load(Ordering::Relaxed),
        }
    }

    /// The processes that hold permits, alive or dead, one for each permit.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.all().iter().map(|p| Owner::from_bits(p.load(Ordering::Relaxed))).filter(|owner| !owner.is_none())
    }

    /// The line of threads that wait for a permit.
    pub fn given(&self) -> &Line {
        &self.given
    }
}
