//! A number for each thread that a fork does not change.
//!
//! The kernel's number of the thread that forks is another one in the child. What that thread holds in its own memory,
//! a copy of which it takes along, would then be nobody's. So its number there goes on being the one of before:
//!
//! ```text
//! a thread of its own      the kernel's number
//! the one that forked      the number that it had before the fork: KEPT; by now the kernel may give it to another
//! that other thread        the kernel's number, with NAMESAKE beside it
//! ```
//!
//! A process has one thread that it was forked with at most, which is its main thread.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Once;

use super::process;

/// Beyond all thread numbers of the kernel, which end at 2^22.
const NAMESAKE: u32 = 1 << 29;

thread_local! {
    /// This thread's number; 0 before it is asked for.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// The number of the thread with which this process was forked; 0 if it has the kernel's, or there was no fork.
static KEPT: AtomicU32 = AtomicU32::new(0);

/// This thread's number, at the price of a load. No other thread of the process has it, in the child of a fork neither.
#[inline]
pub fn number() -> u32 {
    match NUMBER.get() {
        0 => choose(),
        number => number,
    }
}

#[cold]
fn choose() -> u32 {
    static HOOK: Once = Once::new();
    // Failing for lack of memory: then the one that forks is a stranger to its own locks, in the child.
    HOOK.call_once(|| drop(process::at_fork(nothing, nothing, keep)));
    let id = process::thread_id();
    let number = if id == KEPT.load(Ordering::Relaxed) { id | NAMESAKE } else { id };
    NUMBER.set(number);
    number
}

extern "C" fn nothing() {}

/// In the child, in its only thread.
extern "C" fn keep() {
    KEPT.store(NUMBER.get(), Ordering::Relaxed);
}

/// The kernel's number of the thread of this process that has `number`.
pub fn kernel_id(number: u32) -> u32 {
    if number == KEPT.load(Ordering::Relaxed) { process::id() } else { number & !NAMESAKE }
}
