//! Looking a little longer before going to sleep.

use core::cell::Cell;

#[cfg(not(loom))]
use crate::sys::clock;

/// The longest spin. A wake-up through the kernel costs some ten microseconds on either side, so looking for longer
/// than a few of those cannot pay; milliseconds would be a core burnt for nothing.
const LONGEST: u64 = 40_000;
const SHORTEST: u64 = 2_000;

/// How many processors this process may use.
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

/// In a model there is nothing to gain by spinning.
#[cfg(loom)]
pub fn cpus() -> usize {
    1
}

thread_local! {
    /// How long this thread spins, in nanoseconds: long after a spin that paid, shorter after those that did not; and
    /// how many short ones did not pay in a row.
    static BUDGET: Cell<(u64, u32)> = const { Cell::new((LONGEST / 2, 0)) };
}

/// After so many short spins in vain a long one is tried. Where two sides answer each other, both may have got used to
/// being woken through the kernel: then no short spin ever pays, and only a long one finds out that spinning does.
#[cfg(not(loom))]
const VAIN: u32 = 8;

/// Looks at `ready` for some microseconds; says whether it came true. Never with one processor, where the one we
/// wait for could not run meanwhile.
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
            BUDGET.set(match budget / 2 {
                _ if vain >= VAIN => (LONGEST, 0),
                shorter @ SHORTEST.. => (shorter, 0),
                _ => (SHORTEST, vain + 1),
            });
            return false;
        }
    }
}

thread_local! {
    /// As `BUDGET`, for [`spin_on_calls`]; and how many waits are still to go without a spin.
    static CALLS_BUDGET: Cell<u64> = const { Cell::new(LONGEST / 2) };
    static CALLS_PAUSE: Cell<(u32, u32)> = const { Cell::new((0, 1)) };
}

/// As [`spin_until`], for a look that is a system call: some hundred nanoseconds, and more for the one we wait for if
/// it is to run on this very processor. So where spins do not pay they are left out altogether, but for a try now and
/// then: after 1, 2, 4 … waits, at most 128.
#[cfg(not(loom))]
pub fn spin_on_calls(mut ready: impl FnMut() -> bool) -> bool {
    const WORTH_A_TRY: u64 = LONGEST / 8;
    const LONGEST_PAUSE: u32 = 128;
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
    if budget > WORTH_A_TRY {
        CALLS_BUDGET.set(budget / 2);
    } else {
        // After a pause a long one, for the same reason.
        CALLS_BUDGET.set(LONGEST);
        CALLS_PAUSE.set((next, (next * 2).min(LONGEST_PAUSE)));
    }
    false
}

/// In a model there is nothing to gain by spinning.
#[cfg(loom)]
pub fn spin_on_calls(_: impl FnMut() -> bool) -> bool {
    false
}

/// See the other one: a model looks once.
#[cfg(loom)]
pub fn spin_until(mut ready: impl FnMut() -> bool) -> bool {
    let _ = (&BUDGET, LONGEST, SHORTEST);
    ready()
}
