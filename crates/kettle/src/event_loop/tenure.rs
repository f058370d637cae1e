//! Whether a loop waits with or without the interpreter, beside threads that compute. README.md explains the rule.
//!
//! Times are nanoseconds on a monotonic clock.

use std::time::Duration;

/// What a loop does with the interpreter when it has nothing to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Wait with it, for at most this long.
    Holding(Duration),
    /// Wait without it.
    Released,
}

/// How a loop that never sleeps gives other threads their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Release the interpreter and take it back. That is enough if a thread waits for it and said so.
    Glimpse,
    /// Stay without it for this long, so that a thread that waits for it gets it in any case.
    Pause(Duration),
}

/// A loop that waited longer than this to get the interpreter back has it beside a thread that computes.
const CONTESTED: u64 = 1_000_000;
/// How long a wait with the interpreter lasts at most.
const HOLD: u64 = 100_000;
/// After so many waits in a row in which nothing came, the loop waits without the interpreter for [`REST`].
const VAIN: u32 = 4;
const REST: u64 = 50_000_000;
/// Long enough for a thread that is woken to take the interpreter.
const PAUSE: Duration = Duration::from_micros(100);
/// Python's own default.
const SWITCH_INTERVAL: u64 = 5_000_000;

/// When the loop got the interpreter, and what is known of the threads that want it too.
#[derive(Clone, Debug)]
pub struct Tenure {
    /// How long a thread waits for the interpreter before it asks for it.
    interval: u64,
    /// When the loop got the interpreter, as far as it knows, and the processor time of its thread at that moment.
    since: u64,
    spent_before: u64,
    /// How long it has waited with the interpreter since then.
    waited: u64,
    is_contested: bool,
    must_release: bool,
    vain: u32,
    rests_until: u64,
}

impl Default for Tenure {
    fn default() -> Self {
        Self {
            interval: SWITCH_INTERVAL,
            since: 0,
            spent_before: 0,
            waited: 0,
            is_contested: false,
            must_release: false,
            vain: 0,
            rests_until: 0,
        }
    }
}

impl Tenure {
    /// Whether the loop had to wait for another thread when it last took the interpreter back.
    #[inline(always)]
    pub fn is_contested(&self) -> bool {
        self.is_contested
    }

    /// The program's switch interval.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX / 2).max(1);
    }

    /// How to wait now.
    pub fn wait(&self, now: u64) -> Wait {
        match self.is_contested && !self.must_release && now >= self.rests_until {
            true => Wait::Holding(Duration::from_nanos(HOLD)),
            false => Wait::Released,
        }
    }

    /// Notes a wait with the interpreter, and whether something came.
    pub fn held(&mut self, begun: u64, ended: u64, has_come: bool) {
        self.waited += ended.saturating_sub(begun);
        if has_come {
            self.vain = 0;
            return;
        }
        self.must_release = true;
        self.vain += 1;
        if self.vain == VAIN {
            self.vain = 0;
            self.rests_until = ended + REST;
        }
    }

    /// Notes that the loop asked for the interpreter and got it. Returns whether this is the first of several times in
    /// which another thread kept it: then the [switch interval](Self::set_interval) matters.
    pub fn regained(&mut self, asked: u64, got: u64, spent: impl FnOnce() -> u64) -> bool {
        let was_contested = self.is_contested;
        self.is_contested = got.saturating_sub(asked) > CONTESTED;
        self.must_release = false;
        self.begin(got, if self.is_contested { spent() } else { 0 });
        self.is_contested && !was_contested
    }

    /// What the loop owes to other threads now, if it has had the interpreter for more than an interval without an
    /// interruption. `spent` tells the processor time of this thread.
    #[inline(always)]
    pub fn owes(&mut self, now: u64, spent: impl FnOnce() -> u64) -> Option<Offer> {
        // Half an interval more: a thread that asked for the interpreter gets it from the next line of Python.
        if now.saturating_sub(self.since) < self.interval + self.interval / 2 {
            return None;
        }
        self.owes_now(now, spent)
    }

    #[cold]
    fn owes_now(&mut self, now: u64, spent: impl FnOnce() -> u64) -> Option<Offer> {
        if !self.is_contested {
            return Some(Offer::Glimpse);
        }
        // Another thread that took the interpreter from Python code of this one did so after one interval. This thread
        // then neither computed nor waited in the poller for some time.
        let spent = spent();
        let had = spent.saturating_sub(self.spent_before) + self.waited;
        if now.saturating_sub(self.since) < had + CONTESTED {
            return Some(Offer::Pause(PAUSE));
        }
        let again = had.saturating_sub(self.interval).min(self.interval);
        self.begin(now - again, spent.saturating_sub(again));
        None
    }

    fn begin(&mut self, since: u64, spent: u64) {
        (self.since, self.spent_before, self.waited) = (since, spent, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const HOLDING: Wait = Wait::Holding(Duration::from_nanos(HOLD));

    /// One that got the interpreter at `got`, after five milliseconds.
    fn contested(got: u64) -> Tenure {
        let mut tenure = Tenure::default();
        assert!(tenure.regained(got - 5 * MS, got, || 0));
        tenure
    }

    #[test]
    fn a_loop_holds_on_only_beside_a_thread_that_computes() {
        let mut tenure = Tenure::default();
        assert_eq!(tenure.wait(0), Wait::Released);
        assert!(!tenure.regained(10 * MS, 10 * MS + 900_000, || 0));
        assert_eq!(tenure.wait(11 * MS), Wait::Released);
        assert!(tenure.regained(20 * MS, 25 * MS, || 0));
        assert_eq!(tenure.wait(25 * MS), HOLDING);
        assert!(!tenure.regained(30 * MS, 35 * MS, || 0));
        assert_eq!(tenure.wait(35 * MS), HOLDING);
        assert!(!tenure.regained(40 * MS, 40 * MS + 1000, || 0));
        assert_eq!(tenure.wait(41 * MS), Wait::Released);
    }

    #[test]
    fn after_a_vain_wait_it_waits_without_the_interpreter_once() {
        let mut tenure = contested(5 * MS);
        tenure.held(5 * MS, 5 * MS + 10_000, true);
        assert_eq!(tenure.wait(6 * MS), HOLDING);
        tenure.held(6 * MS, 6 * MS + HOLD, false);
        assert_eq!(tenure.wait(7 * MS), Wait::Released);
        tenure.regained(8 * MS, 13 * MS, || 0);
        assert_eq!(tenure.wait(13 * MS), HOLDING);
    }

    #[test]
    fn vain_waits_cost_less_than_a_fiftieth_of_the_time() {
        let (mut tenure, mut now, mut vain) = (contested(5 * MS), 5 * MS, 0);
        while now < 2000 * MS {
            match tenure.wait(now) {
                Wait::Holding(most) => {
                    let begun = now;
                    now += most.as_nanos() as u64;
                    vain += now - begun;
                    tenure.held(begun, now, false);
                }
                Wait::Released => {
                    tenure.regained(now, now + 5 * MS, || 0);
                    now += 5 * MS;
                }
            }
        }
        assert!(vain > 0 && vain * 50 < now, "{vain} of {now}");
    }

    #[test]
    fn what_comes_makes_up_for_vain_waits() {
        let mut tenure = contested(5 * MS);
        for now in (10..400).step_by(10).map(|n| n * MS) {
            assert_eq!(tenure.wait(now), HOLDING);
            tenure.held(now, now + HOLD, now / MS % 40 == 0);
            tenure.regained(now + HOLD, now + 6 * MS, || 0);
        }
    }

    #[test]
    fn a_loop_that_runs_no_python_offers_the_interpreter() {
        let mut tenure = Tenure::default();
        tenure.regained(MS, MS, || panic!("not needed"));
        assert_eq!(tenure.owes(8 * MS, || panic!("not needed")), None);
        assert_eq!(tenure.owes(9 * MS, || panic!("not needed")), Some(Offer::Glimpse));
        let mut tenure = contested(5 * MS);
        assert_eq!(tenure.owes(12 * MS, || panic!("not needed")), None);
        // It computed for four milliseconds and waited for the rest.
        tenure.held(5 * MS, 9 * MS, true);
        assert_eq!(tenure.owes(13 * MS, || 4 * MS), Some(Offer::Pause(PAUSE)));
    }

    #[test]
    fn a_loop_that_was_interrupted_owes_nothing() {
        let mut tenure = contested(5 * MS);
        // Another thread had it from 10 to 15.
        assert_eq!(tenure.owes(16 * MS, || 6 * MS), None);
        // The turn that began at 15 ends at 22.5.
        assert_eq!(tenure.owes(22 * MS, || 12 * MS), None);
        assert_eq!(tenure.owes(23 * MS, || 13 * MS), Some(Offer::Pause(PAUSE)));
    }

    #[test]
    fn a_shorter_interval_ends_a_turn_earlier() {
        let mut tenure = contested(5 * MS);
        tenure.set_interval(Duration::from_millis(2));
        assert_eq!(tenure.owes(7 * MS, || 2 * MS), None);
        assert_eq!(tenure.owes(8 * MS, || 3 * MS), Some(Offer::Pause(PAUSE)));
        tenure.set_interval(Duration::ZERO);
        tenure.set_interval(Duration::MAX);
        assert_eq!(tenure.owes(u64::MAX / 4, || 0), None);
    }
}
