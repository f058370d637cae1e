//! A flag that can be waited for.

use std::fmt;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::stats::EventStatistics;
use kettle_core::sync;
use kettle_core::wait::Patience;

use crate::codec::by_token;
use crate::error::OutOfMemory;
use crate::queue::until;
use crate::session;

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

impl Event {
    /// A flag that is down.
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn new() -> Result<Self, OutOfMemory> {
        session::join()?;
        Ok(Self::from_body(Handle::new(sync::Event::new)?))
    }

    fn from_body(body: Handle<sync::Event>) -> Self {
        Self { body }
    }

    pub(crate) fn body(&self) -> &Handle<sync::Event> {
        &self.body
    }

    /// Puts it up, and wakes all who wait for that.
    pub fn set(&self) {
        self.body.set::<Processes>();
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
        while self.body.wait::<Processes>(&Patience::forever()).is_err() {}
    }

    /// Waits for so long until it is up; says whether that came.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.body.wait::<Processes>(&until(timeout)).is_ok()
    }

    /// Waits until it is up, without blocking the thread.
    #[cfg(feature = "tokio")]
    pub async fn wait_async(&self) {
        crate::reactor::wait_on(self.body.changed(), || self.is_set().then_some(())).await;
    }

    /// How it is.
    pub fn statistics(&self) -> EventStatistics {
        self.body.statistics()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
