//! How threads that are attached to the interpreter take the locks of a pool.
//!
//! Each lock is held for moments, with the interpreter attached, and never while Python code can run: what is dropped is
//! carried out of it first.

use std::sync::{Mutex, MutexGuard, TryLockError};

use kettle::pool::scheduler::Locking;
use pyo3::prelude::*;

/// So often a lock is tried again that another thread holds for a moment, before that one may be without a processor.
const TRIES: usize = 100;

/// A thread that waits for a lock is detached, and tries again when it has come back. So no thread waits for the
/// interpreter with a lock in hand, and while a garbage collection has stopped all others, no lock changes hands.
#[derive(Clone, Copy)]
pub(super) struct Detaching<'py>(pub(super) Python<'py>);

impl Locking for Detaching<'_> {
    #[inline]
    fn lock<T>(self, mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        loop {
            if let Some(guard) = try_lock(mutex) {
                return guard;
            }
            self.0.detach(std::thread::yield_now);
        }
    }

    fn lock_both<'m, A, B>(self, first: &'m Mutex<A>, second: &'m Mutex<B>) -> (MutexGuard<'m, A>, MutexGuard<'m, B>) {
        loop {
            let first = self.lock(first);
            if let Some(second) = try_lock(second) {
                return (first, second);
            }
            drop(first);
            self.0.detach(std::thread::yield_now);
        }
    }

    fn wait_detached(self, wait: impl FnOnce() + Send) {
        self.0.detach(wait);
    }
}

/// Takes a lock.
pub(super) fn lock<'m, T>(py: Python<'_>, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
    Detaching(py).lock(mutex)
}

/// Takes a lock, unless another thread has it for longer than a moment.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(e)) => return Some(e.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}
