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

thread_local! {
    /// This thread's spin budget in nanoseconds: long after a spin that paid off, shorter after those that did not; and
    /// how many consecutive short spins did not pay off.
    static BUDGET: Cell<(u64, u32)> = const { Cell::new((LONGEST / 2, 0)) };
}

/// After this many futile short spins a long one is tried. Two threads that answer each other may both have settled on
/// being woken through the kernel; then no short spin ever pays off, and only a long one shows that spinning would.
#[cfg(not(loom))]
const VAIN: u32 = 8;

/// Polls `ready` for some microseconds; returns whether it became true. On a single processor it polls only once, since
/// the awaited thread could not run in the meantime.
#[cfg(not(loom))]
pub fn spin_until(mut ready: impl FnMut() -> bool) -> bool {
    if cpus() < 2 {
        return ready();
    }
    let (budget, vain) = BUDGET.get();
    let start = clock::now();
    loop {
        for _ in 0..16 {
            if ready() {
                BUDGET.set((LONGEST, 0));
                return true;
            }
            crate::atomics::spin_hint();
        }
        if clock::now() - start > budget {
            BUDGET.set(after_a_spin_in_vain(budget, vain));
            return false;
        }
    }
}

/// The next budget, and the number of consecutive futile short spins.
#[cfg(not(loom))]
fn after_a_spin_in_vain(budget: u64, vain: u32) -> (u64, u32) {
    match budget / 2 {
        _ if vain >= VAIN => (LONGEST, 0),
        shorter @ SHORTEST.. => (shorter, 0),
        _ => (SHORTEST, vain + 1),
    }
}

thread_local! {
    /// As `BUDGET`, for [`spin_on_calls`]; and how many more waits go without a spin.
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
    let _ = (&BUDGET, LONGEST, SHORTEST);
    ready()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn spins_in_vain_become_shorter_but_for_a_try_now_and_then() {
        let mut spin = (LONGEST, 0);
        for budget in [20_000, 10_000, 5_000, 2_500, 2_000] {
            spin = after_a_spin_in_vain(spin.0, spin.1);
            assert_eq!(spin.0, budget);
        }
        for vain in 2..=VAIN {
            spin = after_a_spin_in_vain(spin.0, spin.1);
            assert_eq!(spin, (SHORTEST, vain));
        }
        assert_eq!(after_a_spin_in_vain(spin.0, spin.1), (LONGEST, 0));
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
            let mut looks = 0;
            assert!(spin_until(|| {
                looks += 1;
                looks == 3
            }));
            assert_eq!(BUDGET.get(), (LONGEST, 0));
        }
    }
}
