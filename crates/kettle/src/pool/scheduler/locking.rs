//! How a thread waits for a lock of the scheduler, the only aspect of locking that depends on the front.
//!
//! All locks are mutexes that are held only briefly. If a waiting thread would block an interpreter, it has to detach
//! from that first, and must not hold another lock meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A thread's way of waiting for locks.
pub trait Locking: Copy {
    /// Acquires a lock.
    fn lock<T>(self, mutex: &Mutex<T>) -> MutexGuard<'_, T>;

    /// Acquires two locks. Other threads may acquire either one alone, or both in this order.
    fn lock_both<'m, A, B>(self, first: &'m Mutex<A>, second: &'m Mutex<B>) -> (MutexGuard<'m, A>, MutexGuard<'m, B>);

    /// Runs `wait`, which may block for a long time.
    fn wait_detached(self, wait: impl FnOnce() + Send);
}

/// Threads that can simply block.
#[derive(Clone, Copy, Debug)]
pub struct Blocking;

impl Locking for Blocking {
    #[inline]
    fn lock<T>(self, mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        // A poisoned lock is safe to use: no code panics in the middle of a change.
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
