//! Spinning briefly before going to sleep.

use core::cell::Cell;

#[cfg(not(loom))]
use crate::sys::clock;

/// The longest spin. A wake-up through the kernel costs some ten microseconds on either side, so spinning for more than
/// a small multiple of that cannot pay; milliseconds would waste a core.
const LONGEST: u64 = 40_000;
const SHORTEST: u64 = 2_000;

/// The number of processors available to this process.
#[cfg(not(loom))]
pub fn cpus() -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering};
    static CPUS: AtomicUsize = AtomicUsize::new(0);
    match CPUS.load(Ordering::Relaxed) {
        0 => {
            let n = std::thread::available_parallelism().map_or(1, |n| n.get());
            CPUS.store(n, Ordering::Relaxed);
            n
        }
        n => n,
    }
}

/// Spinning gains nothing in a model.
#[cfg(loom)]
pub fn cpus() -> usize {
    1
}

/// A look that comes this much later than the one before, in nanoseconds, was held up: another thread had the processor
/// in between. The pauses between two looks take a fraction of this.
#[cfg(not(loom))]
const HELD_UP: u64 = 2_000;
/// How often a thread that waits for an answer looks after a single pause: the answer of a thread that is running comes
/// within a microsecond.
#[cfg(not(loom))]
const EAGER: u32 = 32;
/// After that, and at once for what several threads contend for, the pauses between two looks double up to this many.
/// Each look takes the cache line from the thread that is about to change it, and that thread pays more to get it back
/// than the spinner wins by an earlier look.
#[cfg(not(loom))]
const MOST_PAUSES: u32 = 16;
/// How many waits go without a spin at first, and at most, once even the shortest spins are in vain.
const FEWEST_LEFT_OUT: u32 = 8;
#[cfg(not(loom))]
const MOST_LEFT_OUT: u32 = 1024;

/// What a thread has learned about spinning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Learned {
    /// How long the next spin may take, in nanoseconds.
    budget: u64,
    /// How many waits go without a spin before it.
    left_out: u32,
    /// How many will be left out the next time.
    next_left_out: u32,
}

impl Learned {
    const NOTHING: Self = Self { budget: LONGEST / 2, left_out: 0, next_left_out: FEWEST_LEFT_OUT };
    #[cfg(not(loom))]
    const THAT_SPINS_PAY: Self = Self { budget: LONGEST, ..Self::NOTHING };

    /// Spins become shorter until they are left out, since the awaited thread may need this very processor. Then a long
    /// one is tried: two threads that answer each other may both have settled on being woken through the kernel, and
    /// only a long spin shows that they could do without.
    #[cfg(not(loom))]
    fn after_a_spin_in_vain(self) -> Self {
        match self.budget / 2 {
            shorter @ SHORTEST.. => Self { budget: shorter, ..self },
            _ => Self {
                budget: LONGEST,
                left_out: self.next_left_out,
                next_left_out: (self.next_left_out * 2).min(MOST_LEFT_OUT),
            },
        }
    }
}

thread_local! {
    static LEARNED: Cell<Learned> = const { Cell::new(Learned::NOTHING) };
}

/// Looks at `ready` for some microseconds; returns whether it became true. It looks only once on a single processor, and
/// where spins have been in vain: the awaited thread could not run in the meantime.
#[cfg(not(loom))]
pub fn spin_until(ready: impl FnMut() -> bool) -> bool {
    spin(ready, EAGER)
}

/// The same; the first `eager` looks come after a single pause each.
#[cfg(not(loom))]
fn spin(mut ready: impl FnMut() -> bool, eager: u32) -> bool {
    if ready() {
        return true;
    }
    let learned = LEARNED.get();
    if learned.left_out > 0 {
        LEARNED.set(Learned { left_out: learned.left_out - 1, ..learned });
        return false;
    }
    if cpus() < 2 {
        return false;
    }
    let (begin, mut pauses) = (clock::now(), 1);
    let mut before = begin;
    let mut look_after = |pauses| {
        for _ in 0..pauses {
            crate::atomics::spin_hint();
        }
        ready()
    };
    let mut is_ready = (0..eager).any(|_| look_after(1));
    let (is_ready, pays) = loop {
        is_ready = is_ready || look_after(pauses);
        let now = clock::now();
        if is_ready {
            // If the spinner was held up, the awaited thread may have needed its processor, and not run beside it.
            break (true, now - before <= HELD_UP);
        }
        if now - begin > learned.budget {
            break (false, false);
        }
        before = now;
        pauses = (pauses * 2).min(MOST_PAUSES);
    };
    LEARNED.set(if pays { Learned::THAT_SPINS_PAY } else { learned.after_a_spin_in_vain() });
    is_ready
}

/// How often a waiter lets other threads have its processor before it sleeps.
#[cfg(not(loom))]
const YIELDS: u32 = 4;

/// As [`spin_until`], and if that is in vain, lets other threads have the processor and looks again, a few times: the
/// awaited thread, if it waits for this very processor, then goes on without either of them sleeping. Not for a caller
/// that holds something that others need, nor for one that has other work.
#[cfg(not(loom))]
pub fn spin_and_yield_until(mut ready: impl FnMut() -> bool) -> bool {
    spin(&mut ready, 0)
        || (0..YIELDS).any(|_| {
            std::thread::yield_now();
            ready()
        })
}

/// As the other one, but a model checks once.
#[cfg(loom)]
pub fn spin_and_yield_until(ready: impl FnMut() -> bool) -> bool {
    spin_until(ready)
}

thread_local! {
    /// The same for [`spin_on_calls`]: how long the next spin may take, and how many more waits go without one.
    static CALLS_BUDGET: Cell<u64> = const { Cell::new(LONGEST / 2) };
    static CALLS_PAUSE: Cell<(u32, u32)> = const { Cell::new((0, 1)) };
}

/// As [`spin_until`], for a check that is a system call. It costs some hundred nanoseconds, and more for the awaited
/// thread if that has to run on this very processor. Where spins do not pay off they are therefore skipped entirely,
/// except for a retry after 1, 2, 4 … waits, at most 128.
#[cfg(not(loom))]
pub fn spin_on_calls(mut ready: impl FnMut() -> bool) -> bool {
    if cpus() < 2 {
        return false;
    }
    let (left, next) = CALLS_PAUSE.get();
    if left > 0 {
        CALLS_PAUSE.set((left - 1, next));
        return false;
    }
    let budget = CALLS_BUDGET.get();
    let start = clock::now();
    loop {
        if ready() {
            CALLS_BUDGET.set(LONGEST);
            CALLS_PAUSE.set((0, 1));
            return true;
        }
        if clock::now() - start > budget {
            break;
        }
        crate::atomics::spin_hint();
    }
    let (budget, pause) = after_calls_in_vain(budget, next);
    CALLS_BUDGET.set(budget);
    CALLS_PAUSE.set(pause);
    false
}

/// The next budget, how many waits to skip before it, and how many to skip the time after.
#[cfg(not(loom))]
fn after_calls_in_vain(budget: u64, next: u32) -> (u64, (u32, u32)) {
    const WORTH_A_TRY: u64 = LONGEST / 8;
    const LONGEST_PAUSE: u32 = 128;
    if budget > WORTH_A_TRY {
        return (budget / 2, (0, next));
    }
    // After the pause a long spin, for the same reason as above.
    (LONGEST, (next, (next * 2).min(LONGEST_PAUSE)))
}

/// Spinning gains nothing in a model.
#[cfg(loom)]
pub fn spin_on_calls(_: impl FnMut() -> bool) -> bool {
    false
}

/// As the other one, but a model checks once.
#[cfg(loom)]
pub fn spin_until(mut ready: impl FnMut() -> bool) -> bool {
    let _ = (&LEARNED, SHORTEST);
    ready()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn spins_in_vain_become_shorter_and_are_then_left_out() {
        let mut learned = Learned::THAT_SPINS_PAY;
        for left_out in [8, 16, 32, 64, 128, 256, 512, 1024, 1024] {
            for budget in [20_000, 10_000, 5_000, 2_500] {
                learned = learned.after_a_spin_in_vain();
                assert_eq!(learned.budget, budget);
            }
            learned = learned.after_a_spin_in_vain();
            assert_eq!((learned.budget, learned.left_out), (LONGEST, left_out));
        }
    }

    #[test]
    fn a_wait_without_a_spin_looks_once() {
        LEARNED.set(Learned { left_out: 2, ..Learned::NOTHING });
        for left_out in [1, 0] {
            let mut looks = 0;
            assert!(!spin_until(|| {
                looks += 1;
                looks > 1
            }));
            assert_eq!((looks, LEARNED.get().left_out), (1, left_out));
        }
    }

    #[test]
    fn who_yields_looks_after_each_time() {
        LEARNED.set(Learned { left_out: 2, ..Learned::NOTHING });
        for (come_at, is_seen) in [(1 + YIELDS, true), (2 + YIELDS, false)] {
            let mut looks = 0;
            let seen = spin_and_yield_until(|| {
                looks += 1;
                looks == come_at
            });
            assert_eq!((seen, looks), (is_seen, 1 + YIELDS));
        }
    }

    #[test]
    fn pauses_between_spins_on_calls_become_longer() {
        let (mut budget, mut pause) = (LONGEST, (0, 1));
        for paused in [1, 2, 4, 8, 16, 32, 64, 128, 128] {
            for next in [20_000, 10_000, 5_000] {
                (budget, pause) = after_calls_in_vain(budget, pause.1);
                assert_eq!((budget, pause.0), (next, 0));
            }
            (budget, pause) = after_calls_in_vain(budget, pause.1);
            assert_eq!((budget, pause.0), (LONGEST, paused));
        }
    }

    #[test]
    fn what_is_looked_at_comes_true_or_not() {
        assert!(cpus() > 0);
        for _ in 0..20 {
            let mut looks = 0;
            assert!(spin_until(|| {
                looks += 1;
                looks == 1
            }));
            assert!(!spin_until(|| false));
            assert!(!spin_on_calls(|| false));
        }
        if cpus() > 1 {
            // There is no pause after a spin that succeeded.
            CALLS_PAUSE.set((0, 64));
            assert!(spin_on_calls(|| true));
            assert_eq!((CALLS_PAUSE.get(), CALLS_BUDGET.get()), ((0, 1), LONGEST));
            CALLS_PAUSE.set((2, 4));
            assert!(!spin_on_calls(|| true) && !spin_on_calls(|| true) && spin_on_calls(|| true));
        }
    }
}
