//! Workers without work: who looks for some, who sleeps, and when to wake one.

use super::{EventCount, Patience, Scope, spin_until};
use crate::atomics::{AtomicU32, Ordering};

/// The workers of a crew that have nothing to do. The work itself lies elsewhere, in a queue that they share.
///
/// ```text
///               found                        nothing comes for some microseconds
///   at work ◄───────────── searching ──────────────────────────────────────────► asleep
///      └──── nothing to do ───▲ ▲───────────────────── called ─────────────────────┘
/// ```
///
/// Who brings work [calls](Self::call), which wakes a sleeper only if nobody searches; and a searcher that finds
/// something wakes the next if there is more. So short tasks are done by one worker without anybody being woken for
/// them, and as soon as tasks take longer than it takes to wake a worker, all are at work.
///
/// No call is lost. It is counted before the caller looks for searchers, and a searcher looks at the count after it has
/// stopped to be one: so either the caller sees no searcher and wakes a sleeper, or the searcher sees the call. And who
/// finds something looks for more after it has stopped to be a searcher, so what came while it was one has somebody.
#[derive(Debug)]
pub struct Idle {
    /// How often workers were called: one that has looked for work in vain waits until this moves on.
    calls: AtomicU32,
    searching: AtomicU32,
    asleep: EventCount,
}

/// A worker's part in it. Its rounds are: [`look`](Self::look), see whether there is work; [`found`](Self::found) and do
/// it, or [`rest`](Self::rest).
///
/// Dropped, it takes part no more, and a sleeper is woken in its place: a call may have counted on it.
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
    /// With no workers yet.
    pub fn new() -> Self {
        Self { calls: AtomicU32::new(0), searching: AtomicU32::new(0), asleep: EventCount::new() }
    }

    /// There is work for one more worker. It must lie there before this.
    #[inline]
    pub fn call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        settle();
        // [A] pairs with [B].
        if self.searching.load(Ordering::SeqCst) == 0 {
            self.asleep.notify_one(Scope::Private);
        }
    }

    /// All workers are to look, and to leave then. One that is just being woken may have taken the wake-up of the others
    /// for its own (see [`EventCount`]); that is made good when it leaves.
    pub fn dismiss(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.asleep.notify_all(Scope::Private);
    }

    /// One worker more, which searches.
    pub fn searcher(&self) -> Searcher<'_> {
        let mut searcher = Searcher { idle: self, seen: 0, searches: false };
        searcher.search();
        searcher
    }
}

impl Searcher<'_> {
    /// Hears the calls that there were so far. See whether there is work after this.
    #[inline]
    pub fn look(&mut self) {
        self.seen = self.idle.calls.load(Ordering::SeqCst);
    }

    /// There was work, and it was taken. `is_more`: whether more lies there now.
    #[inline]
    pub fn found(&mut self, is_more: impl FnOnce() -> bool) {
        if self.stop() && is_more() {
            self.idle.call();
        }
    }

    /// There was nothing. Until it finds something, whoever brings work counts on this worker: it must look again, or
    /// [`rest`](Self::rest).
    pub fn search(&mut self) {
        if !self.searches {
            self.searches = true;
            self.idle.searching.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// There was nothing: waits until there was a call since the last [`look`](Self::look), for some microseconds
    /// without sleeping. However it ends, look again.
    pub fn rest(&mut self, patience: &Patience<'_>) {
        self.search();
        if spin_until(|| self.was_called()) {
            return;
        }
        self.stop();
        let look = || self.was_called().then_some(());
        // Its errors say that the patience is over, and then there is another look too.
        let _ = self.idle.asleep.wait_for(patience, Scope::Private, look, || None);
        self.search();
    }

    fn was_called(&self) -> bool {
        self.idle.calls.load(Ordering::SeqCst) != self.seen
    }

    /// Says whether it was a searcher until now.
    fn stop(&mut self) -> bool {
        let searched = std::mem::replace(&mut self.searches, false);
        if searched {
            // [B] pairs with [A]: whatever is looked at after this was not there before, or somebody else is called.
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

/// Loom takes a sequentially consistent read-modify-write for less than the processors make of it.
#[inline]
fn settle() {
    #[cfg(loom)]
    crate::atomics::fence(Ordering::SeqCst);
}
