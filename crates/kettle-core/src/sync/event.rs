//! A flag that can be waited for.

use super::Home;
use crate::atomics::{AtomicU32, Ordering};
use crate::damage;
use crate::stats::EventStatistics;
use crate::wait::{EventCount, Patience, Stopped, spin_until};

/// One flag. Setting it wakes all who wait, and asks nothing of them: whether they live does not matter.
///
/// ```text
/// word:  31              1   0
///        [ times cleared  ][set]
/// ```
///
/// The count lets a waiter that slept through `set` and `clear` know that the flag was up.
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
    /// A flag that is down.
    pub fn new() -> Self {
        Self { word: AtomicU32::new(0), changed: EventCount::new() }
    }

    /// Whether it is up.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.word.load(Ordering::SeqCst) & SET != 0
    }

    /// A number that changes with each change of the flag: who finds another one than before was woken in between.
    pub fn version(&self) -> u32 {
        self.word.load(Ordering::SeqCst)
    }

    /// Puts it up. May be called from a signal handler.
    #[inline]
    pub fn set<H: Home>(&self) {
        if self.word.fetch_or(SET, Ordering::SeqCst) & SET == 0 {
            self.changed.notify_after_fence(EventCount::ALL, H::SCOPE);
        }
    }

    /// Takes it down.
    #[inline]
    pub fn clear(&self) {
        // From set to the next even number: adding one does both, so the count grows in the same step.
        let _ =
            self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |w| (w & SET != 0).then(|| w.wrapping_add(1)));
    }

    /// Waits until it is up, or was up meanwhile.
    ///
    /// # Errors
    /// When the wait ended first.
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
        if patience.may_spin() && spin_until(|| look().is_some()) {
            return Ok(());
        }
        self.changed.wait_for(patience, H::SCOPE, look, || None)
    }

    /// Forgets who waits, in a forked child. The flag stays as it is.
    pub fn reinit(&self) {
        self.changed.reinit();
    }

    /// How it is.
    pub fn statistics(&self) -> EventStatistics {
        EventStatistics { is_set: self.is_set(), waiting: self.changed.sleepers() }
    }

    /// Where those wait who want it up.
    pub fn changed(&self) -> &EventCount {
        &self.changed
    }
}
