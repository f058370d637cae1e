//! A number for each thread that a fork does not change.
//!
//! The forking thread has a different kernel ID in the child. Whatever it holds in private memory, which the child
//! inherits as a copy, would then have no owner. So the thread keeps its previous number in the child:
//!
//! ```text
//! an ordinary thread       the kernel's ID
//! the thread that forked   the number that it had before the fork: KEPT; the kernel may reuse that ID
//! that other thread        the kernel's ID, combined with NAMESAKE
//! ```
//!
//! A process has at most one thread that came from a fork: its main thread.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Once;

use super::process;

/// Beyond all thread IDs of the kernel, which end at 2^22.
const NAMESAKE: u32 = 1 << 29;

thread_local! {
    /// This thread's number; 0 until it is first requested.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// The number of the thread with which this process was forked; 0 if it has the kernel's ID, or there was no fork.
static KEPT: AtomicU32 = AtomicU32::new(0);

/// This thread's number, for the cost of a load. It is unique within the process, even in the child of a fork.
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
    // If this fails for lack of memory, the forking thread does not own its locks in the child.
    HOOK.call_once(|| drop(process::at_fork(nothing, nothing, keep)));
    let id = process::thread_id();
    let number = if id == KEPT.load(Ordering::Relaxed) { id | NAMESAKE } else { id };
    NUMBER.set(number);
    number
}

extern "C" fn nothing() {}

/// Runs in the child, in its only thread.
extern "C" fn keep() {
    KEPT.store(NUMBER.get(), Ordering::Relaxed);
}

/// The kernel's ID of the thread of this process that has `number`.
pub fn kernel_id(number: u32) -> u32 {
    if number == KEPT.load(Ordering::Relaxed) { process::id() } else { number & !NAMESAKE }
}
