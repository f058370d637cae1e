//! Semaphores.

use std::fmt;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::stats::SemaphoreStatistics;
use kettle_core::sync;
use kettle_core::wait::Patience;

use crate::codec::by_token;
use crate::error::OutOfMemory;
use crate::place::{Place, Shared};
use crate::queue::until;

/// A number of permits. Acquiring one waits while there is none.
///
/// ```
/// let seats = kettle::Semaphore::new(1)?;
/// let permit = seats.acquire();
/// assert!(seats.try_acquire().is_none());
/// drop(permit);
/// assert!(seats.try_acquire().is_some());
/// # Ok::<(), kettle::OutOfMemory>(())
/// ```
///
/// Permits have no owner: one that was acquired here may be [forgotten](Permit::forget) and returned with
/// [`release`](Self::release) elsewhere. Permits of a process that is killed are therefore lost.
pub struct Semaphore {
    body: Handle<sync::Semaphore>,
}

/// A [`Semaphore`] that never has more permits than initially: releasing too many is an error.
pub struct BoundedSemaphore {
    body: Handle<sync::Semaphore>,
}

/// More permits were released than acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleasedTooOften;

impl fmt::Display for ReleasedTooOften {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more permits were released than acquired")
    }
}

impl std::error::Error for ReleasedTooOften {}

by_token!(Semaphore);
by_token!(BoundedSemaphore);

/// The methods of a semaphore, in either kind of memory.
macro_rules! semaphore_methods {
    ($name:ident, limit = $limit:expr, $place:ty, $refusal:ty, $refused:literal) => {
        impl $name {
            /// Creates a semaphore with `permits` permits.
            ///
            /// # Errors
            #[doc = $refused]
            pub fn new(permits: u32) -> Result<Self, $refusal> {
                let permits = permits.min(sync::Semaphore::MAX);
                <$place>::put(|| sync::Semaphore::new(permits, $limit(permits))).map(Self::from_body)
            }

            fn from_body(body: <$place as Place>::Ref<sync::Semaphore>) -> Self {
                Self { body }
            }

            pub(crate) fn body(&self) -> &sync::Semaphore {
                &self.body
            }

            #[inline]
            fn acquire_with(&self, patience: &Patience<'_>) -> Option<Permit<'_>> {
                let taken = self.body.acquire::<<$place as Place>::Home>(patience);
                $crate::error::in_time(taken).map(|()| Permit { semaphore: &self.body })
            }

            /// Acquires a permit, and waits for one if there is none.
            pub fn acquire(&self) -> Permit<'_> {
                loop {
                    if let Some(permit) = self.acquire_with(&Patience::forever()) {
                        return permit;
                    }
                }
            }

            /// Acquires a permit if there is one now.
            pub fn try_acquire(&self) -> Option<Permit<'_>> {
                self.acquire_with(&Patience::none())
            }

            /// Acquires a permit, and waits for one for at most `timeout`.
            pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
                self.acquire_with(&until(timeout))
            }

            /// Acquires a permit, and waits for one without blocking the thread. If the future is dropped before it is
            /// ready, no permit was acquired.
            #[cfg(feature = "tokio")]
            pub async fn acquire_async(&self) -> Permit<'_> {
                let attempt = || self.try_acquire();
                crate::reactor::wait_on::<<$place as Place>::Home, _>(self.body.given(), attempt).await
            }

            /// Releases permits that were [forgotten](Permit::forget), all or none.
            ///
            /// # Errors
            /// If there would be too many.
            pub fn release(&self, permits: u32) -> Result<(), ReleasedTooOften> {
                let released = self.body.release::<<$place as Place>::Home>(permits);
                released.map_err(|sync::ReleasedTooOften| ReleasedTooOften)
            }

            /// Returns the number of permits that are available now.
            pub fn available(&self) -> u32 {
                self.body.value()
            }

            /// Returns statistics of the semaphore.
            pub fn statistics(&self) -> SemaphoreStatistics {
                self.body.statistics()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("available", &self.available()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use semaphore_methods;

semaphore_methods!(
    Semaphore,
    limit = |_| sync::Semaphore::MAX,
    Shared,
    OutOfMemory,
    "When there is no shared memory to be had."
);
semaphore_methods!(
    BoundedSemaphore,
    limit = |permits| permits,
    Shared,
    OutOfMemory,
    "When there is no shared memory to be had."
);

/// The permits of semaphores in one kind of memory.
macro_rules! permit {
    ($place:ty) => {
        /// A permit of a [`Semaphore`], given back when this is dropped.
        #[must_use = "the permit is given back as soon as this is dropped"]
        #[derive(Debug)]
        pub struct Permit<'a> {
            semaphore: &'a sync::Semaphore,
        }

        impl Permit<'_> {
            /// Keeps the permit acquired. It can be returned with `release`, in another thread or process too.
            pub fn forget(self) {
                std::mem::forget(self);
            }
        }

        impl Drop for Permit<'_> {
            fn drop(&mut self) {
                // More permits may have been released than acquired; then there are enough without this one.
                let _ = self.semaphore.release::<<$place as Place>::Home>(1);
            }
        }
    };
}
pub(crate) use permit;

permit!(Shared);
