//! Permits.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::stats::SemaphoreStatistics;
use kettle_core::sync;
use kettle_core::wait::Patience;

use crate::place::{Heap, Place};
use crate::queue::until;
use crate::sync::{ReleasedTooOften, permit, semaphore_methods};

/// A number of permits: a thread that has one may go on, the others wait.
///
/// ```
/// let Ok(seats) = kettle::threads::Semaphore::new(1);
/// let permit = seats.acquire();
/// assert!(seats.try_acquire().is_none());
/// drop(permit);
/// assert!(seats.try_acquire().is_some());
/// ```
///
/// Permits have no owner: one that was taken here may be [`forgotten`](Permit::forget) and given back by
/// [`release`](Self::release) elsewhere.
#[derive(Clone)]
pub struct Semaphore {
    body: Arc<sync::Semaphore>,
}

/// A [`Semaphore`] that never has more permits than at first: giving back too many is an error at the call.
#[derive(Clone)]
pub struct BoundedSemaphore {
    body: Arc<sync::Semaphore>,
}

semaphore_methods!(Semaphore, limit = |_| sync::Semaphore::MAX, Heap, Infallible, "Never.");
semaphore_methods!(BoundedSemaphore, limit = |permits| permits, Heap, Infallible, "Never.");

permit!(Heap);
