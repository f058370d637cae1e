//! Idle workers: which of them search for work, which sleep, and when to wake one.

use super::{EventCount, Patience, Scope, spin_until};
use crate::atomics::{AtomicU32, Ordering};

/// The idle workers of a pool. The work itself is stored elsewhere, in a queue that they share.
///
/// ```text
///               found                        nothing comes for some microseconds
///   at work ◄───────────── searching ──────────────────────────────────────────► asleep
///      └──── nothing to do ───▲ ▲───────────────────── called ─────────────────────┘
/// ```
///
/// A producer [calls](Self::call) for a worker, which wakes a sleeper only if no worker is searching; a searcher that
/// finds work wakes the next worker if there is more. So one worker handles a stream of short tasks without any
/// wake-up, and as soon as tasks take longer than waking a worker does, all workers are busy.
///
/// No call is lost. The caller counts its call before it checks for searchers, and a searcher checks the count after it
/// has stopped searching: either the caller sees no searcher and wakes a sleeper, or the searcher sees the call. A
/// searcher that finds work checks for more after it has stopped searching, so work that arrived while it was searching
/// is not left alone.
#[derive(Debug)]
pub struct Idle {
    /// The number of calls so far. A worker that found no work waits until this changes.
    calls: AtomicU32,
    searching: AtomicU32,
    asleep: EventCount,
}

/// A worker's handle. Each of its rounds is: [`look`](Self::look), check for work, then either [`found`](Self::found)
/// and run it, or [`rest`](Self::rest).
///
/// Dropping it deregisters the worker and wakes a sleeper in its place, since a call may have relied on this worker.
#[derive(Debug)]
pub struct Searcher<'i> {
    idle: &'i Idle,
    seen: u32,
    searches: bool,
}

impl Default for Idle {
    fn default() -> Self {
        Self::new()
    }
}

impl Idle {
    /// Creates it without workers.
    pub fn new() -> Self {
        Self { calls: AtomicU32::new(0), searching: AtomicU32::new(0), asleep: EventCount::new() }
    }

    /// Announces work for one more worker. The work must be in the queue before this call.
    #[inline]
    pub fn call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        settle();
        // [A] pairs with [B].
        if self.searching.load(Ordering::SeqCst) == 0 {
            self.asleep.notify_one(Scope::Private);
        }
    }

    /// Wakes all workers, so that they see that they are to exit. A worker that is being woken at this moment may take
    /// the wake-up meant for the others (see [`EventCount`]); dropping its handle makes up for that.
    pub fn dismiss(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asleep.notify_all(Scope::Private);
    }

    /// Registers one more worker, which starts out searching.
    pub fn searcher(&self) -> Searcher<'_> {
        let mut searcher = Searcher { idle: self, seen: 0, searches: false };
        searcher.search();
        searcher
    }
}

impl Searcher<'_> {
    /// Notes the calls made so far. Check for work after this.
    #[inline]
    pub fn look(&mut self) {
        self.seen = self.idle.calls.load(Ordering::SeqCst);
    }

    /// The worker found and took work. `is_more`: whether there is more now.
    #[inline]
    pub fn found(&mut self, is_more: impl FnOnce() -> bool) {
        if self.stop() && is_more() {
            self.idle.call();
        }
    }

    /// The worker found no work and searches on. Producers rely on it from now on: it must look again or
    /// [`rest`](Self::rest).
    pub fn search(&mut self) {
        if !self.searches {
            self.searches = true;
            self.idle.searching.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The worker found no work: waits until there was a call since the last [`look`](Self::look), spinning for some
    /// microseconds before it sleeps. Look again afterwards, whatever ended the wait.
    pub fn rest(&mut self, patience: &Patience<'_>) {
        self.search();
        if spin_until(|| self.was_called()) {
            return;
        }
        self.stop();
        let look = || self.was_called().then_some(());
        // An error only says that the time is over, and the caller looks again in any case.
        let _ = self.idle.asleep.wait_for(patience, Scope::Private, look, || None);
        self.search();
    }

    fn was_called(&self) -> bool {
        self.idle.calls.load(Ordering::SeqCst) != self.seen
    }

    /// Stops searching; returns whether the worker was a searcher.
    fn stop(&mut self) -> bool {
        let searched = std::mem::replace(&mut self.searches, false);
        if searched {
            // [B] pairs with [A]: the look that follows sees the work, or its producer wakes another worker.
            self.idle.searching.fetch_sub(1, Ordering::SeqCst);
            settle();
        }
        searched
    }
}

impl Drop for Searcher<'_> {
    fn drop(&mut self) {
        self.stop();
        self.idle.asleep.notify_one(Scope::Private);
    }
}

/// Loom models a sequentially consistent read-modify-write as weaker than it is on real processors.
#[inline]
fn settle() {
    #[cfg(loom)]
    crate::atomics::fence(Ordering::SeqCst);
}
