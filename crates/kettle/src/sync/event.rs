//! A flag that can be waited for.

use std::fmt;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::stats::EventStatistics;
use kettle_core::sync;
use kettle_core::wait::Patience;

use crate::codec::by_token;
use crate::error::OutOfMemory;
use crate::place::{Place, Shared};
use crate::queue::until;

/// A flag that is down at first. Everybody can put it up and wait for that; nobody who is killed gets in the way.
///
/// ```
/// let ready = kettle::Event::new()?;
/// ready.set();
/// ready.wait();
/// # Ok::<(), kettle::OutOfMemory>(())
/// ```
pub struct Event {
    body: Handle<sync::Event>,
}

by_token!(Event);

/// What an event can do, wherever it stands.
macro_rules! event_methods {
    ($name:ident, $place:ty, $refusal:ty, $refused:literal) => {
        impl $name {
            /// A flag that is down.
            ///
            /// # Errors
            #[doc = $refused]
            pub fn new() -> Result<Self, $refusal> {
                <$place>::put(sync::Event::new).map(Self::from_body)
            }

            fn from_body(body: <$place as Place>::Ref<sync::Event>) -> Self {
                Self { body }
            }

            pub(crate) fn body(&self) -> &sync::Event {
                &self.body
            }

            /// Puts it up, and wakes all who wait for that.
            pub fn set(&self) {
                self.body.set::<<$place as Place>::Home>();
            }

            /// Takes it down.
            pub fn clear(&self) {
                self.body.clear();
            }

            /// Whether it is up.
            pub fn is_set(&self) -> bool {
                self.body.is_set()
            }

            /// Waits until it is up.
            pub fn wait(&self) {
                while !self.waits(&Patience::forever()) {}
            }

            /// Waits for so long until it is up; says whether that came.
            pub fn wait_timeout(&self, timeout: Duration) -> bool {
                self.waits(&until(timeout))
            }

            fn waits(&self, patience: &Patience<'_>) -> bool {
                $crate::error::in_time(self.body.wait::<<$place as Place>::Home>(patience)).is_some()
            }

            /// Waits until it is up, without blocking the thread.
            #[cfg(feature = "tokio")]
            pub async fn wait_async(&self) {
                let attempt = || self.waits(&Patience::none()).then_some(());
                crate::reactor::wait_on::<<$place as Place>::Home, _>(self.body.changed(), attempt).await;
            }

            /// How it is.
            pub fn statistics(&self) -> EventStatistics {
                self.body.statistics()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("is_set", &self.is_set()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use event_methods;

event_methods!(Event, Shared, OutOfMemory, "When there is no shared memory to be had.");
