//! Permits.

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

/// A number of permits: whoever has one may go on, the others wait.
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
/// Permits have no owner: one that was taken here may be [`forgotten`](Permit::forget) and given back by
/// [`release`](Self::release) elsewhere. Hence those of a process that is killed are gone.
pub struct Semaphore {
    body: Handle<sync::Semaphore>,
}

/// A [`Semaphore`] that never has more permits than at first: giving back too many is an error at the call.
pub struct BoundedSemaphore {
    body: Handle<sync::Semaphore>,
}

/// More permits were given back than taken.
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

/// What a semaphore can do, wherever it stands.
macro_rules! semaphore_methods {
    ($name:ident, limit = $limit:expr, $place:ty, $refusal:ty, $refused:literal) => {
        impl $name {
            /// `permits` of them.
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

            /// Waits for a permit, and takes it.
            pub fn acquire(&self) -> Permit<'_> {
                loop {
                    if let Some(permit) = self.acquire_with(&Patience::forever()) {
                        return permit;
                    }
                }
            }

            /// Takes a permit if there is one now.
            pub fn try_acquire(&self) -> Option<Permit<'_>> {
                self.acquire_with(&Patience::none())
            }

            /// Waits for a permit for so long, and takes it.
            pub fn acquire_timeout(&self, timeout: Duration) -> Option<Permit<'_>> {
                self.acquire_with(&until(timeout))
            }

            /// Waits for a permit without blocking the thread, and takes it. Dropped before it is ready, the future has
            /// taken nothing.
            #[cfg(feature = "tokio")]
            pub async fn acquire_async(&self) -> Permit<'_> {
                let attempt = || self.try_acquire();
                crate::reactor::wait_on::<<$place as Place>::Home, _>(self.body.given(), attempt).await
            }

            /// Gives permits back that were [forgotten](Permit::forget), all or none.
            ///
            /// # Errors
            /// When there would be more than there can be.
            pub fn release(&self, permits: u32) -> Result<(), ReleasedTooOften> {
                let released = self.body.release::<<$place as Place>::Home>(permits);
                released.map_err(|sync::ReleasedTooOften| ReleasedTooOften)
            }

            /// How many permits could be taken now.
            pub fn available(&self) -> u32 {
                self.body.value()
            }

            /// How it is.
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

/// A permit of semaphores that stand at a place.
macro_rules! permit {
    ($place:ty) => {
        /// A permit of a [`Semaphore`], given back when this is dropped.
        #[must_use = "the permit is given back as soon as this is dropped"]
        #[derive(Debug)]
        pub struct Permit<'a> {
            semaphore: &'a sync::Semaphore,
        }

        impl Permit<'_> {
            /// Keeps the permit: somebody will give it back with `release`, perhaps somewhere else.
            pub fn forget(self) {
                std::mem::forget(self);
            }
        }

        impl Drop for Permit<'_> {
            fn drop(&mut self) {
                // Somebody may have given back more than he had; then there are enough without this one.
                let _ = self.semaphore.release::<<$place as Place>::Home>(1);
            }
        }
    };
}
pub(crate) use permit;

permit!(Shared);
