//! Of all threads that wait for results, one leads: it sends, receives and completes for all.
//!
//! ```text
//!            take                    let go
//!  nobody ─────────► a waiter leads ─────────► nobody: the next waiter is woken, or the deputy if there is work left
//!     │                                           ▲
//!     └────────────► the deputy leads ────────────┘  as soon as a waiter wants to
//! ```
//!
//! So a thread that waits for an answer takes it out of shared memory itself: no other thread has to be woken, to get
//! hold of an interpreter and to wake the first one in turn. The *deputy* is a thread for the times when work is
//! outstanding and nobody waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kettle_core::wait::{EventCount, Patience, Scope, Stopped};

/// The right to lead, and who would like to have it.
#[derive(Debug, Default)]
pub struct Lead {
    taken: AtomicBool,
    /// How many waiters there are, the leader not counted.
    waiting: AtomicUsize,
    heirs: Mutex<VecDeque<Arc<Waiter>>>,
    deputy: EventCount,
}

/// Something that threads wait for.
#[derive(Debug, Default)]
pub struct Waiter {
    done: AtomicBool,
    events: EventCount,
}

impl Waiter {
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

    /// What is waited for is to come once more.
    pub fn begin_again(&self) {
        self.done.store(false, Ordering::SeqCst);
    }
}

impl Lead {
    /// Takes the lead, unless somebody has it.
    #[must_use]
    pub fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }

    /// Whether somebody leads.
    pub fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }

    /// Gives the lead up. A waiter is woken to take it; if there is none and work is `outstanding`, the deputy.
    pub fn let_go(&self, outstanding: bool) {
        self.taken.store(false, Ordering::SeqCst);
        self.pass_on(outstanding);
    }

    fn pass_on(&self, outstanding: bool) {
        let heir = loop {
            match lock(&self.heirs).pop_front() {
                Some(heir) if heir.is_done() => {}
                heir => break heir,
            }
        };
        match heir {
            Some(heir) => heir.events.notify_all(Scope::Private),
            None if outstanding => self.deputy.notify_one(Scope::Private),
            None => {}
        }
    }

    /// There is work, and whoever brought it does not wait for it.
    pub fn call_deputy(&self) {
        if !self.is_taken() {
            self.deputy.notify_one(Scope::Private);
        }
    }

    /// Wakes the deputy whatever happens, so that it looks what it is to do.
    pub fn wake_deputy(&self) {
        self.deputy.notify_all(Scope::Private);
    }

    /// Whether a waiter would lead if it could: the deputy then lets go.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Waits until `waiter` is done or nobody leads. The caller then looks again, and takes the lead if it can.
    ///
    /// `kick` wakes the present leader, if that is a deputy which sleeps.
    ///
    /// # Errors
    /// When `patience` is over.
    pub fn follow(&self, waiter: &Arc<Waiter>, kick: impl Fn(), patience: &Patience<'_>) -> Result<(), Stopped> {
        lock(&self.heirs).push_back(Arc::clone(waiter));
        self.waiting.fetch_add(1, Ordering::SeqCst);
        kick();
        let look = || (waiter.is_done() || !self.is_taken()).then_some(());
        let result = waiter.events.wait_for(patience, Scope::Private, look, || None);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let mut heirs = lock(&self.heirs);
        if let Some(at) = heirs.iter().position(|heir| Arc::ptr_eq(heir, waiter)) {
            heirs.remove(at);
        }
        drop(heirs);
        if (result.is_err() || waiter.is_done()) && !self.is_taken() {
            // The lead may have been meant for us.
            self.pass_on(true);
        }
        result
    }

    /// The deputy waits until `wanted`: there is something for it to do and nobody else leads, say.
    ///
    /// # Errors
    /// When `patience` is over.
    pub fn stand_by(&self, mut wanted: impl FnMut() -> bool, patience: &Patience<'_>) -> Result<(), Stopped> {
        let mut look = || wanted().then_some(());
        self.deputy.wait_for(patience, Scope::Private, &mut look, || None)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
