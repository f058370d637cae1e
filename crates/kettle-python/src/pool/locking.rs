//! How attached threads take a pool's locks.
//!
//! Each lock is held for a few instructions, attached to the interpreter, and never while Python code can run: objects
//! to be dropped are moved out of the critical section first.

use std::sync::{Mutex, MutexGuard, TryLockError};

use kettle::pool::scheduler::Locking;
use pyo3::prelude::*;

/// How often to retry a lock that is held for a few instructions only. After that, its holder may have been preempted.
const TRIES: usize = 100;

/// A thread that waits for a lock detaches, and retries after it has attached again. So no thread waits for the
/// interpreter while it holds a lock, and no lock changes hands while a garbage collection has stopped all other
/// threads.
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
#[inline]
pub(super) fn lock<'m, T>(py: Python<'_>, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
    Detaching(py).lock(mutex)
}

/// Takes a lock, unless another thread holds it for longer than a few instructions.
#[inline]
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
