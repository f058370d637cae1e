//! Waiting for a change of what a lock protects.

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::damage;
use kettle_core::stats::ConditionStatistics;
use kettle_core::sync::{self, Growing, Heap};
use kettle_core::wait::{Deadline, Patience, Stopped};

use super::MutexGuard;
use crate::error::SessionDamaged;
use crate::sync::{WaitError, condition_methods};

/// Lets the holder of a [`Lock`](super::Lock) or a [`Mutex`](super::Mutex) wait until another thread has changed its
/// value.
///
/// ```
/// use kettle::threads::{Condition, Lock};
///
/// let Ok(lock) = Lock::new(Vec::new());
/// let Ok(changed) = Condition::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         lock.acquire().expect("no holder panicked").push("a letter");
///         changed.notify_one();
///     });
///     let letters = changed.wait_while(lock.acquire()?, |letters| letters.is_empty())?;
///     assert_eq!(*letters, ["a letter"]);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Notifications go to the one that has waited longest. One that was given to a waiter that gave up goes to the next.
/// There is room for any number of waiters.
#[derive(Clone)]
pub struct Condition {
    body: Arc<sync::Condition<Growing>>,
}

impl Condition {
    /// Creates a condition without waiters.
    ///
    /// # Errors
    /// Never.
    pub fn new() -> Result<Self, Infallible> {
        Ok(Self { body: Arc::new(sync::Condition::growing()) })
    }
}

condition_methods!(Condition, T, MutexGuard, Heap);

impl Default for Condition {
    fn default() -> Self {
        let Ok(new) = Self::new();
        new
    }
}
