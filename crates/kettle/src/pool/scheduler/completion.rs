//! An event that threads wait for: the end of a job, or of a pool's last worker.

use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::wait::{EventCount, Patience, Scope, Stopped, spin_until};

/// An event that threads wait for.
#[derive(Debug, Default)]
pub struct Completion {
    done: AtomicBool,
    events: EventCount,
}

impl Completion {
    /// Marks the event as done and wakes all waiters.
    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.events.notify_all(Scope::Private);
    }

    /// Returns whether the event is done.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until the event is done. For waits that need no leader.
    ///
    /// # Errors
    /// If `patience` ends first.
    pub fn wait(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        if patience.may_spin() && spin_until(|| self.is_done()) {
            return Ok(());
        }
        self.events.wait_for(patience, Scope::Private, || self.is_done().then_some(()), || None)
    }

    /// Marks the event as not done, so that it can be waited for again.
    pub fn begin_again(&self) {
        self.done.store(false, Ordering::SeqCst);
    }

    /// Wakes all waiters, so that they check again, without marking the event as done.
    pub(super) fn wake(&self) {
        self.events.notify_all(Scope::Private);
    }

    /// Waits until `look` returns something; it is called again after each wake-up.
    pub(super) fn wait_for(&self, look: impl Fn() -> Option<()>, patience: &Patience<'_>) -> Result<(), Stopped> {
        self.events.wait_for(patience, Scope::Private, look, || None)
    }
}
