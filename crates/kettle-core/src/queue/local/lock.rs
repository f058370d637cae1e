//! Mutual exclusion for a queue's state: a mutex, or a lock that the caller holds in any case.

use core::ops::DerefMut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Grants exclusive access to a queue's state.
pub trait Lock<S> {
    /// What a caller needs to lock it; `()` if nothing.
    type Key<'k>: Copy
    where
        Self: 'k;
    /// Releases the lock when dropped.
    type Guard<'a>: DerefMut<Target = S>
    where
        Self: 'a;

    /// Wraps `state`.
    fn new(state: S) -> Self;

    /// Waits for exclusive access.
    fn lock<'a>(&'a self, key: Self::Key<'a>) -> Self::Guard<'a>;
}

impl<S> Lock<S> for Mutex<S> {
    type Key<'k>
        = ()
    where
        S: 'k;
    type Guard<'a>
        = MutexGuard<'a, S>
    where
        S: 'a;

    fn new(state: S) -> Self {
        Self::new(state)
    }

    #[inline]
    fn lock(&self, (): ()) -> MutexGuard<'_, S> {
        // No code panics in the middle of a change, so a poisoned state is intact.
        Self::lock(self).unwrap_or_else(PoisonError::into_inner)
    }
}
