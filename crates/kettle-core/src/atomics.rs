//! The atomics that every algorithm here stands on: `core`'s, or loom's when a model is being checked.
//!
//! All words that threads or processes share are named through this module and nowhere else, which is what lets
//! `tests/loom.rs` explore the very code that ships.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// One turn of a spin loop.
#[inline]
pub fn spin_hint() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    core::hint::spin_loop();
}
