//! How a thread waits for a lock of the scheduler: the one thing about locks that depends on the front.
//!
//! All locks are mutexes that are held for moments. Where a thread that waits for one would hold up an interpreter, it has
//! to let go of that first, and must not have another lock in hand meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The right of a thread to take locks, and its way of waiting for them.
pub trait Locking: Copy {
    /// Takes a lock.
    fn lock<T>(self, mutex: &Mutex<T>) -> MutexGuard<'_, T>;

    /// Takes two locks. Other threads may take the second one alone, or the first one alone, or both in this order.
    fn lock_both<'m, A, B>(self, first: &'m Mutex<A>, second: &'m Mutex<B>) -> (MutexGuard<'m, A>, MutexGuard<'m, B>);

    /// Runs `wait`, which may take long.
    fn wait_detached(self, wait: impl FnOnce() + Send);
}

/// Threads that need nothing to wait.
#[derive(Clone, Copy, Debug)]
pub struct Blocking;

impl Locking for Blocking {
    #[inline]
    fn lock<T>(self, mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        // Nothing panics in the middle of a change.
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn lock_both<'m, A, B>(self, first: &'m Mutex<A>, second: &'m Mutex<B>) -> (MutexGuard<'m, A>, MutexGuard<'m, B>) {
        (self.lock(first), self.lock(second))
    }

    fn wait_detached(self, wait: impl FnOnce() + Send) {
        wait();
    }
}
