//! Of all threads that wait for results, one leads: it sends, receives and completes for all.
//!
//! ```text
//!            take                    let go
//!  nobody ─────────► a waiter leads ─────────► nobody: the next waiter is woken, or the deputy if there is work left
//!     │                                           ▲
//!     └────────────► the deputy leads ────────────┘  as soon as a waiter wants to
//! ```
//!
//! A leader *steps aside* while it runs code of the program, a signal handler say, which may take for ever or wait for
//! something that needs a leader. It stays the leader unless another thread takes the lead meanwhile.
//!
//! So a thread that waits for an answer takes it out of shared memory itself: no other thread has to be woken, to get
//! hold of an interpreter and to wake the first one in turn. The *deputy* is a thread for the times when work is
//! outstanding and nobody waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kettle_core::wait::{Deadline, EventCount, Patience, Scope, Stopped};

use super::completion::Completion;

/// No thread leads.
const FREE: u32 = 0;
/// A thread leads, but has stepped aside: the lead can be taken as if it were free.
const ASIDE: u32 = 1;
/// A thread leads.
const LED: u32 = 2;

/// The right to lead, and who would like to have it.
#[derive(Debug, Default)]
pub struct Lead {
    state: AtomicU32,
    /// How many waiters there are, the leader not counted.
    waiting: AtomicUsize,
    heirs: Mutex<VecDeque<Arc<Completion>>>,
    /// How often the lead was taken.
    turns: AtomicU32,
    deputy: EventCount,
    /// The deputy is to lead at once.
    called: AtomicBool,
    /// Where it lingers; so that whoever lets go of the lead meanwhile need not wake it.
    calls: EventCount,
}

/// The lead, of the thread that has it.
#[derive(Debug)]
pub struct HeldLead<'l, F: FnOnce() -> bool> {
    lead: &'l Lead,
    /// Whether there is work that needs a leader.
    outstanding: Option<F>,
    is_ours: bool,
}

impl<F: FnOnce() -> bool> HeldLead<'_, F> {
    /// Runs `aside`, during which the lead can be taken by others, or by `aside` itself. The caller must look
    /// afterwards whether it [`is_ours`](Self::is_ours) still.
    pub fn step_aside<T>(&mut self, aside: impl FnOnce() -> T) -> T {
        if !self.is_ours {
            return aside();
        }
        self.is_ours = false;
        self.lead.state.store(ASIDE, Ordering::SeqCst);
        let result = aside();
        self.is_ours = self.lead.state.compare_exchange(ASIDE, LED, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        result
    }

    /// Whether the lead was not taken while the caller had stepped aside.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }
}

impl<F: FnOnce() -> bool> Drop for HeldLead<'_, F> {
    fn drop(&mut self) {
        if let Some(outstanding) = self.outstanding.take().filter(|_| self.is_ours) {
            self.lead.let_go(outstanding);
        }
    }
}

impl Lead {
    /// Takes the lead, unless somebody has it.
    #[must_use]
    pub fn take(&self) -> bool {
        let taken = self.state.swap(LED, Ordering::SeqCst) != LED;
        if taken {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
        taken
    }

    /// Whether somebody leads.
    pub fn is_taken(&self) -> bool {
        self.state.load(Ordering::SeqCst) == LED
    }

    /// The lead, which the caller has, to be given up when the result is dropped: also if the caller panics meanwhile.
    pub fn held<F: FnOnce() -> bool>(&self, outstanding: F) -> HeldLead<'_, F> {
        HeldLead { lead: self, outstanding: Some(outstanding), is_ours: true }
    }

    /// Gives the lead up. A waiter is woken to take it; if there is none and work is `outstanding`, the deputy.
    ///
    /// `outstanding` is asked after nobody leads any more: whoever brings work after that finds no leader, and calls the
    /// deputy himself; so one of the two does.
    pub fn let_go(&self, outstanding: impl FnOnce() -> bool) {
        self.state.store(FREE, Ordering::SeqCst);
        self.pass_on(outstanding);
    }

    /// The heir stays in line until it has looked: if somebody else was faster and leads when it looks, it is woken
    /// again by that one.
    fn pass_on(&self, outstanding: impl FnOnce() -> bool) {
        let heir = lock(&self.heirs).iter().find(|heir| !heir.is_done()).cloned();
        match heir {
            Some(heir) => heir.wake(),
            None if outstanding() => self.deputy.notify_one(Scope::Private),
            None => {}
        }
    }

    /// There is work, and whoever brought it does not wait for it. `urgent`: somebody is to be told of its result.
    pub fn call_deputy(&self, urgent: bool) {
        if urgent {
            self.called.store(true, Ordering::SeqCst);
            self.calls.notify_one(Scope::Private);
        }
        if urgent || !self.is_taken() {
            self.deputy.notify_one(Scope::Private);
        }
    }

    /// The deputy is to look whether the pool is over, without waiting for the end of its slice of sleep.
    pub fn dismiss_deputy(&self) {
        self.deputy.notify_one(Scope::Private);
        self.calls.notify_one(Scope::Private);
    }

    /// Whether a waiter would lead if it could: the deputy then lets go.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Waits until `completion` is done or nobody leads. The caller then looks again, and takes the lead if it can.
    ///
    /// `kick` wakes the present leader, if that is a deputy which sleeps.
    ///
    /// # Errors
    /// When `patience` is over.
    pub fn follow(
        &self,
        completion: &Arc<Completion>,
        kick: impl Fn(),
        patience: &Patience<'_>,
    ) -> Result<(), Stopped> {
        lock(&self.heirs).push_back(Arc::clone(completion));
        self.waiting.fetch_add(1, Ordering::SeqCst);
        kick();
        let look = || (completion.is_done() || !self.is_taken()).then_some(());
        let result = completion.wait_for(look, patience);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let mut heirs = lock(&self.heirs);
        if let Some(at) = heirs.iter().position(|heir| Arc::ptr_eq(heir, completion)) {
            heirs.remove(at);
        }
        drop(heirs);
        if (result.is_err() || completion.is_done()) && !self.is_taken() {
            // The lead may have been meant for us.
            self.pass_on(|| true);
        }
        result
    }

    /// For the deputy: waits until it is to lead, and takes the lead. None: `is_over`.
    ///
    /// Work may be `outstanding` while nobody leads, because the thread that waits for results is just dealing with
    /// one, and will be back in some microseconds. To wake the deputy for that, and to take the lead from it again,
    /// would cost more than it gains; so it looks every now and then, and leads if nobody did since it last looked.
    /// Where a result is to be told to somebody who does not wait, it is called.
    ///
    /// # Errors
    /// When `patience` is over: a good time to look whether idle workers still live.
    pub fn stand_in(
        &self,
        outstanding: impl Fn() -> bool,
        is_over: impl Fn() -> bool,
        patience: &Patience<'_>,
    ) -> Result<Option<()>, Stopped> {
        loop {
            let look = || (is_over() || (outstanding() && !self.is_taken())).then_some(());
            self.deputy.wait_for(patience, Scope::Private, look, || None)?;
            if is_over() {
                return Ok(None);
            }
            let turns = self.turns.load(Ordering::SeqCst);
            if !self.called.swap(false, Ordering::SeqCst) {
                let nap = patience.no_later_than(Deadline::after(LINGER));
                let look = || (is_over() || self.called.load(Ordering::SeqCst)).then_some(());
                let _ = self.calls.wait_for(&nap, Scope::Private, look, || None);
                let somebody_led = turns != self.turns.load(Ordering::SeqCst);
                if !self.called.swap(false, Ordering::SeqCst) && (somebody_led || !outstanding()) {
                    continue;
                }
            }
            if self.take() {
                return Ok(Some(()));
            }
        }
    }
}

/// How long nobody may lead before the deputy does.
const LINGER: Duration = Duration::from_millis(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    /// What is to be done, and by whom it is done.
    #[derive(Default)]
    struct Office {
        lead: Lead,
        is_led: AtomicBool,
        /// Those who wait, to be finished by a leader in turn.
        tray: Mutex<VecDeque<Arc<Completion>>>,
        turns: AtomicU64,
        is_closed: AtomicBool,
    }

    impl Office {
        fn has_work(&self) -> bool {
            !lock(&self.tray).is_empty()
        }

        /// One turn of a leader: finishes one waiter, perhaps itself.
        fn work(&self) {
            assert!(!self.is_led.swap(true, Ordering::SeqCst), "two lead at once");
            let completion = lock(&self.tray).pop_front();
            if let Some(completion) = completion {
                completion.finish();
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
            self.is_led.store(false, Ordering::SeqCst);
        }

        fn wait(&self, completion: &Arc<Completion>) {
            while !completion.is_done() {
                if self.lead.take() {
                    while !completion.is_done() {
                        self.work();
                    }
                    self.lead.let_go(|| self.has_work());
                } else {
                    let followed = self.lead.follow(completion, || {}, &Patience::forever());
                    assert_eq!(followed, Ok(()));
                }
            }
        }

        fn deputise(&self) {
            let is_closed = || self.is_closed.load(Ordering::SeqCst);
            while let Ok(Some(())) = self.lead.stand_in(|| self.has_work(), is_closed, &Patience::forever()) {
                while self.has_work() && !self.lead.is_wanted() {
                    self.work();
                }
                self.lead.let_go(|| self.has_work());
            }
        }
    }

    #[test]
    fn who_stepped_aside_leads_on_unless_the_lead_was_taken() {
        let lead = Lead::default();
        assert!(lead.take());
        let mut held = lead.held(|| false);
        held.step_aside(|| assert!(!lead.is_taken()));
        assert!(held.is_ours() && lead.is_taken() && !lead.take());
        // A signal handler that waits for something that needs a leader.
        held.step_aside(|| {
            assert!(lead.take());
            drop(lead.held(|| false));
        });
        assert!(!held.is_ours() && !lead.is_taken());
        // Another thread, which leads still.
        assert!(lead.take());
        drop(held);
        assert!(lead.is_taken());
    }

    #[test]
    fn one_leads_and_everybody_gets_what_they_wait_for() {
        let office = Office::default();
        thread::scope(|scope| {
            let deputy = scope.spawn(|| office.deputise());
            let waiters: Vec<_> = (0..4)
                .map(|t| {
                    let office = &office;
                    scope.spawn(move || {
                        for n in 0..500 {
                            let completion = Arc::<Completion>::default();
                            lock(&office.tray).push_back(Arc::clone(&completion));
                            office.lead.call_deputy((n + t) % 7 == 0);
                            if (n + t) % 3 == 0 {
                                // Somebody else does it, the deputy if need be.
                                assert_eq!(completion.wait(&Patience::forever()), Ok(()));
                            } else {
                                office.wait(&completion);
                            }
                        }
                    })
                })
                .collect();
            waiters.into_iter().for_each(|waiter| waiter.join().expect("no waiter fails"));
            office.is_closed.store(true, Ordering::SeqCst);
            office.lead.call_deputy(true);
            deputy.join().expect("the deputy does not fail");
        });
        assert!(!office.has_work() && office.turns.into_inner() >= 2000);
    }
}
