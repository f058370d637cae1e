//! A flag that threads can wait for.

use super::Home;
use crate::atomics::{AtomicU32, Ordering};
use crate::damage;
use crate::stats::EventStatistics;
use crate::wait::{EventCount, Patience, Stopped, spin_and_yield_until};

/// One flag. Setting it wakes all waiters and requires nothing of them, so it does not matter whether they are alive.
///
/// ```text
/// word:  31              1   0
///        [ times cleared  ][set]
/// ```
///
/// The count tells a waiter that slept through a `set` and a `clear` that the flag was set.
#[repr(C)]
#[derive(Debug)]
pub struct Event {
    word: AtomicU32,
    changed: EventCount,
}

const SET: u32 = 1;

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    /// Creates an event that is not set.
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0), changed: EventCount::new() }
    }

    /// Whether the flag is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.word.load(Ordering::SeqCst) & SET != 0
    }

    /// A number that changes with each change of the flag, so that a waiter can detect changes it slept through.
    pub fn version(&self) -> u32 {
        self.word.load(Ordering::SeqCst)
    }

    /// Sets the flag. May be called from a signal handler.
    #[inline]
    pub fn set<H: Home>(&self) {
        if self.word.fetch_or(SET, Ordering::SeqCst) & SET == 0 {
            self.changed.notify_after_fence(EventCount::ALL, H::SCOPE);
        }
    }

    /// Clears the flag.
    #[inline]
    pub fn clear(&self) {
        // Adding one to a set word clears the flag and increments the count in the same step.
        let _ =
            self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |w| (w & SET != 0).then(|| w.wrapping_add(1)));
    }

    /// Waits until the flag is set, or was set in the meantime.
    ///
    /// # Errors
    /// If the wait ended.
    pub fn wait<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        if damage::is_marked(H::SCOPE) {
            return Err(Stopped::Damaged);
        }
        let before = self.word.load(Ordering::SeqCst);
        let look = || {
            let w = self.word.load(Ordering::SeqCst);
            (w & SET != 0 || w != before).then_some(())
        };
        if look().is_some() {
            return Ok(());
        }
        if patience.may_spin() && spin_and_yield_until(|| look().is_some()) {
            return Ok(());
        }
        self.changed.wait_for(patience, H::SCOPE, look, || None)
    }

    /// Discards the waiters, in a forked child. The flag keeps its value.
    pub fn reinit(&self) {
        self.changed.reinit();
    }

    /// A snapshot of its state.
    pub fn statistics(&self) -> EventStatistics {
        EventStatistics { is_set: self.is_set(), waiting: self.changed.sleepers() }
    }

    /// The event count on which threads wait for the flag.
    pub fn changed(&self) -> &EventCount {
        &self.changed
    }
}
