//! Something that threads wait for: that a job is done, or that a pool has no worker left.

use std::sync::atomic::{AtomicBool, Ordering};

use kettle_core::wait::{EventCount, Patience, Scope, Stopped, spin_until};

/// Something that threads wait for.
#[derive(Debug, Default)]
pub struct Completion {
    done: AtomicBool,
    events: EventCount,
}

impl Completion {
    /// What is waited for has come.
    pub fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.events.notify_all(Scope::Private);
    }

    /// Whether it has.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until it has come, where no leader is needed for that.
    ///
    /// # Errors
    /// When `patience` is over.
    pub fn wait(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        if patience.may_spin() && spin_until(|| self.is_done()) {
            return Ok(());
        }
        self.events.wait_for(patience, Scope::Private, || self.is_done().then_some(()), || None)
    }

    /// What is waited for is to come once more.
    pub fn begin_again(&self) {
        self.done.store(false, Ordering::SeqCst);
    }

    /// Has those who wait look again, although nothing has come.
    pub(super) fn wake(&self) {
        self.events.notify_all(Scope::Private);
    }

    /// Waits until `look` finds something, which is looked for again whenever those who wait are woken.
    pub(super) fn wait_for(&self, look: impl Fn() -> Option<()>, patience: &Patience<'_>) -> Result<(), Stopped> {
        self.events.wait_for(patience, Scope::Private, look, || None)
    }
}
