//! Flags that can be waited for.

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

/// A flag that is initially clear. Any thread or process can set it, or wait until it is set; the death of one does not
/// affect the others.
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

/// The methods of an event, in either kind of memory.
macro_rules! event_methods {
    ($name:ident, $place:ty, $refusal:ty, $refused:literal) => {
        impl $name {
            /// Creates a flag that is clear.
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

            /// Sets the flag and wakes all waiters.
            pub fn set(&self) {
                self.body.set::<<$place as Place>::Home>();
            }

            /// Clears the flag.
            pub fn clear(&self) {
                self.body.clear();
            }

            /// Returns whether the flag is set.
            pub fn is_set(&self) -> bool {
                self.body.is_set()
            }

            /// Waits until the flag is set.
            pub fn wait(&self) {
                while !self.waits(&Patience::forever()) {}
            }

            /// Waits for at most `timeout` until the flag is set; returns whether it was.
            pub fn wait_timeout(&self, timeout: Duration) -> bool {
                self.waits(&until(timeout))
            }

            fn waits(&self, patience: &Patience<'_>) -> bool {
                $crate::error::in_time(self.body.wait::<<$place as Place>::Home>(patience)).is_some()
            }

            /// Waits until the flag is set, without blocking the thread.
            #[cfg(feature = "tokio")]
            pub async fn wait_async(&self) {
                let attempt = || self.waits(&Patience::none()).then_some(());
                crate::reactor::wait_on::<<$place as Place>::Home, _>(self.body.changed(), attempt).await;
            }

            /// Returns statistics of the event.
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
