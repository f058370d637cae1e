//! Leadership: of all threads that wait for results, one sends, receives and completes on behalf of all.
//!
//! ```text
//!             take                     let go
//!  no leader ─────────► a waiter leads ─────────► no leader: the next waiter is woken, or the deputy if work is left
//!      │                                              ▲
//!      └──────────────► the deputy leads ─────────────┘  as soon as a waiter wants to
//! ```
//!
//! A leader *steps aside* while it runs code of the program, such as a signal handler, which may run forever or wait
//! for something that needs a leader. It remains the leader unless another thread takes the lead meanwhile.
//!
//! A thread that waits for an answer thus takes it out of shared memory itself. No second thread has to wake up,
//! acquire the interpreter and wake the first one in turn. The *deputy* is a thread that leads while work is
//! outstanding and no thread waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kettle_core::wait::{Deadline, EventCount, Patience, Scope, Stopped};

use super::completion::Completion;

/// No thread leads.
const FREE: u32 = 0;
/// The leader has stepped aside: another thread can take the lead as if it were free.
const ASIDE: u32 = 1;
/// A thread leads.
const LED: u32 = 2;

/// The right to lead, and the threads waiting for it.
#[derive(Debug, Default)]
pub struct Lead {
    state: AtomicU32,
    /// The number of waiters, not counting the leader.
    waiting: AtomicUsize,
    heirs: Mutex<VecDeque<Arc<Completion>>>,
    /// The number of times the lead was taken.
    turns: AtomicU32,
    deputy: EventCount,
    /// Set if the deputy is to lead at once.
    called: AtomicBool,
    /// Where the deputy waits out its grace period. It is separate from `deputy` so that a thread that releases the
    /// lead meanwhile does not wake it.
    calls: EventCount,
}

/// Proof that the current thread has the lead. Dropping it releases the lead.
#[derive(Debug)]
pub struct HeldLead<'l, F: FnOnce() -> bool> {
    lead: &'l Lead,
    /// Returns whether there is work that needs a leader.
    outstanding: Option<F>,
    is_ours: bool,
}

impl<F: FnOnce() -> bool> HeldLead<'_, F> {
    /// Runs `aside`. Meanwhile another thread, or `aside` itself, can take the lead, so the caller must check
    /// [`is_ours`](Self::is_ours) afterwards.
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

    /// Returns whether the caller still has the lead: it was not taken while the caller had stepped aside.
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
    /// Takes the lead unless another thread has it. Returns whether it was taken.
    #[must_use]
    pub fn take(&self) -> bool {
        let taken = self.state.swap(LED, Ordering::SeqCst) != LED;
        if taken {
            self.turns.fetch_add(1, Ordering::SeqCst);
        }
        taken
    }

    /// Returns whether a thread leads.
    pub fn is_taken(&self) -> bool {
        self.state.load(Ordering::SeqCst) == LED
    }

    /// Wraps the lead, which the caller must have. Dropping the result releases it, even during a panic.
    pub fn held<F: FnOnce() -> bool>(&self, outstanding: F) -> HeldLead<'_, F> {
        HeldLead { lead: self, outstanding: Some(outstanding), is_ours: true }
    }

    /// Releases the lead and wakes a waiter to take it, or the deputy if there is no waiter and work is `outstanding`.
    ///
    /// `outstanding` is called after the lead is free. A thread that adds work later finds no leader and calls the
    /// deputy itself, so at least one of the two threads calls it.
    pub fn let_go(&self, outstanding: impl FnOnce() -> bool) {
        self.state.store(FREE, Ordering::SeqCst);
        self.pass_on(outstanding);
    }

    /// Wakes the next waiter, which stays in the line until it has looked. If another thread has taken the lead by
    /// then, that thread wakes it again.
    fn pass_on(&self, outstanding: impl FnOnce() -> bool) {
        let heir = lock(&self.heirs).iter().find(|heir| !heir.is_done()).cloned();
        match heir {
            Some(heir) => heir.wake(),
            None if outstanding() => self.deputy.notify_one(Scope::Private),
            None => {}
        }
    }

    /// Calls the deputy for work whose submitter does not wait. `urgent` means that its result triggers a callback, or
    /// that the pool is over: the deputy then looks at once.
    pub fn call_deputy(&self, urgent: bool) {
        if urgent {
            self.called.store(true, Ordering::SeqCst);
            self.calls.notify_one(Scope::Private);
        }
        if urgent || !self.is_taken() {
            self.deputy.notify_one(Scope::Private);
        }
    }

    /// Returns whether a waiter wants the lead; if so, the deputy releases it.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Waits until `completion` is done or no thread leads. The caller then checks again, and takes the lead if it can.
    ///
    /// `kick` wakes the current leader if that is a sleeping deputy.
    ///
    /// # Errors
    /// If `patience` ends first.
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
            // This thread may have been the one woken to take the lead.
            self.pass_on(|| true);
        }
        result
    }

    /// For the deputy: waits until it is needed and takes the lead. Returns `None` once `is_over`.
    ///
    /// Work may be `outstanding` while no thread leads, because the thread that waits for results is processing one and
    /// returns within microseconds. Waking the deputy and taking the lead back from it would cost more than it gains.
    /// So the deputy waits for a grace period, and leads if no thread has led during it. An urgent call ends the grace
    /// period.
    ///
    /// # Errors
    /// If `patience` ends first, which is a good time to check whether idle workers are alive.
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
                let was_led = turns != self.turns.load(Ordering::SeqCst);
                if !self.called.swap(false, Ordering::SeqCst) && (was_led || !outstanding()) {
                    continue;
                }
            }
            if self.take() {
                return Ok(Some(()));
            }
        }
    }
}

/// The deputy's grace period: how long there may be no leader before the deputy takes the lead.
const LINGER: Duration = Duration::from_millis(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    /// A model of a pool: waiters to be completed, and the lead.
    #[derive(Default)]
    struct Office {
        lead: Lead,
        is_led: AtomicBool,
        /// The waiters, which a leader completes in order.
        tray: Mutex<VecDeque<Arc<Completion>>>,
        turns: AtomicU64,
        is_closed: AtomicBool,
    }

    impl Office {
        fn has_work(&self) -> bool {
            !lock(&self.tray).is_empty()
        }

        /// One step of a leader: completes one waiter, possibly itself.
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
        // Another thread, which is still the leader.
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
                                // Another thread completes it, the deputy if necessary.
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
