//! What keeps two threads from a queue's state at once: a mutex, or a lock that the caller holds anyway.

use core::ops::DerefMut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lets one thread at a time at a queue's state.
pub trait Lock<S> {
    /// What one must have to enter; `()` if anyone may.
    type Key<'k>: Copy
    where
        Self: 'k;
    /// Lets go when dropped.
    type Guard<'a>: DerefMut<Target = S>
    where
        Self: 'a;

    /// Around `state`.
    fn new(state: S) -> Self;

    /// Waits until nobody else is there.
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
        // Nothing panics in the middle of a change.
        Self::lock(self).unwrap_or_else(PoisonError::into_inner)
    }
}
