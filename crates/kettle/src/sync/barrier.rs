//! Barriers.

use std::fmt;
#[cfg(feature = "tokio")]
use std::marker::PhantomData;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::stats::BarrierStatistics;
#[cfg(feature = "tokio")]
use kettle_core::sync::Home;
use kettle_core::sync::{self, Turn};
use kettle_core::wait::Patience;

use crate::codec::by_token;
use crate::error::{OutOfMemory, SessionDamaged};
use crate::place::{Place, Shared};
use crate::queue::until;

/// A point at which a fixed number of parties wait for each other, round after round.
///
/// A barrier breaks when a party times out, is cancelled, or is killed while it waits. From then on all waits fail,
/// until [`reset`](Self::reset) is called.
pub struct Barrier {
    body: Handle<sync::Barrier>,
}

by_token!(Barrier);

/// Why a wait at a barrier failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarrierError {
    /// It is broken: a party timed out, was cancelled, or died, or the barrier was reset while parties were waiting.
    Broken,
    /// This process cannot take part in the session, or cannot map the memory of the barrier. It did not arrive.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl From<sync::BarrierError> for BarrierError {
    fn from(e: sync::BarrierError) -> Self {
        match e {
            sync::BarrierError::Broken | sync::BarrierError::Interrupted => Self::Broken,
            sync::BarrierError::NoPart => Self::OutOfMemory(OutOfMemory::no_part()),
            sync::BarrierError::Unmapped(text) => Self::OutOfMemory(OutOfMemory::new(text)),
            sync::BarrierError::Damaged => Self::Damaged(SessionDamaged::found()),
        }
    }
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the barrier is broken; reset() mends it when all parties know"),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for BarrierError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}

/// The caller's position among the parties of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: u32,
    is_leader: bool,
}

impl BarrierWaitResult {
    pub(crate) fn new(index: u32, is_leader: bool) -> Self {
        Self { index, is_leader }
    }

    /// Returns the position in the order of arrival, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns whether this party arrived last, which is true of exactly one party in each round.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

/// The methods of a barrier, in either kind of memory.
macro_rules! barrier_methods {
    ($name:ident, $place:ty, $refusal:ty, $refused:literal) => {
        impl $name {
            /// Creates a barrier for `parties` parties; 0 is treated as 1.
            ///
            /// # Errors
            #[doc = $refused]
            pub fn new(parties: u32) -> Result<Self, $refusal> {
                let parties = parties.clamp(1, sync::Barrier::MAX_PARTIES);
                <$place>::put(|| sync::Barrier::new(parties)).map(Self::from_body)
            }

            fn from_body(body: <$place as Place>::Ref<sync::Barrier>) -> Self {
                Self { body }
            }

            fn wait_with(
                &self,
                action: impl FnOnce(),
                patience: &Patience<'_>,
            ) -> Result<BarrierWaitResult, BarrierError> {
                match self.body.wait::<<$place as Place>::Home>(patience)? {
                    Turn::Through(index) => Ok(BarrierWaitResult::new(index, false)),
                    Turn::Last(last) => {
                        // If the action panics, `last` is dropped, which breaks the barrier for the others.
                        action();
                        Ok(BarrierWaitResult::new(last.done()?, true))
                    }
                }
            }

            /// Waits until all parties have arrived.
            ///
            /// # Errors
            /// If the barrier is broken or cannot be used: see [`BarrierError`].
            pub fn wait(&self) -> Result<BarrierWaitResult, BarrierError> {
                self.wait_with(|| (), &Patience::forever())
            }

            /// As `wait`, but the party that arrives last runs `action` before all parties continue.
            ///
            /// # Errors
            /// If the barrier is broken or cannot be used: see [`BarrierError`].
            pub fn wait_and(&self, action: impl FnOnce()) -> Result<BarrierWaitResult, BarrierError> {
                self.wait_with(action, &Patience::forever())
            }

            /// Waits for at most `timeout` until all parties have arrived. If they have not by then, the barrier
            /// breaks.
            ///
            /// # Errors
            /// If the barrier is broken or cannot be used: see [`BarrierError`].
            pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BarrierError> {
                self.wait_with(|| (), &until(timeout))
            }

            /// Waits until all parties have arrived, without blocking the thread. If the future is dropped before that,
            /// the barrier breaks, because the others would wait for a party that has left.
            ///
            /// # Errors
            /// If the barrier is broken or cannot be used: see [`BarrierError`].
            #[cfg(feature = "tokio")]
            pub async fn wait_async(&self) -> Result<BarrierWaitResult, BarrierError> {
                let changed = self.body.changed();
                let arrival = crate::reactor::wait_on::<<$place as Place>::Home, _>(changed, || {
                    self.body.find_dead::<<$place as Place>::Home>();
                    self.body.arrive::<<$place as Place>::Home>().transpose()
                })
                .await?;
                if arrival.is_last() {
                    let last = self.body.last::<<$place as Place>::Home>(arrival);
                    return Ok(BarrierWaitResult::new(last.done()?, true));
                }
                let mut party = Party::<<$place as Place>::Home>::new(&self.body, arrival);
                let result = crate::reactor::wait_on::<<$place as Place>::Home, _>(changed, || {
                    if kettle_core::damage::is_marked(<<$place as Place>::Home as kettle_core::sync::Home>::SCOPE) {
                        return Some(Err(sync::BarrierError::Damaged));
                    }
                    self.body.find_dead::<<$place as Place>::Home>();
                    self.body.poll(party.arrival())
                })
                .await;
                party.waits_no_more();
                Ok(BarrierWaitResult::new(result?, false))
            }

            /// Breaks the barrier: current and later waits fail.
            pub fn abort(&self) {
                self.body.abort::<<$place as Place>::Home>();
            }

            /// Begins a new, empty round, even if the barrier is broken. Current waits fail as if it had broken.
            pub fn reset(&self) {
                self.body.reset::<<$place as Place>::Home>();
            }

            /// Returns the number of parties.
            pub fn parties(&self) -> u32 {
                self.body.parties()
            }

            /// Returns whether the barrier is broken.
            pub fn is_broken(&self) -> bool {
                self.body.is_broken()
            }

            /// Returns statistics of the barrier.
            pub fn statistics(&self) -> BarrierStatistics {
                self.body.statistics()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("parties", &self.parties()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use barrier_methods;

barrier_methods!(Barrier, Shared, OutOfMemory, "When there is no shared memory to be had.");

/// A party that waits without blocking, and may be dropped meanwhile.
#[cfg(feature = "tokio")]
pub(crate) struct Party<'a, H: Home> {
    body: &'a sync::Barrier,
    arrival: sync::Arrival,
    waits: bool,
    home: PhantomData<H>,
}

#[cfg(feature = "tokio")]
impl<'a, H: Home> Party<'a, H> {
    pub(crate) fn new(body: &'a sync::Barrier, arrival: sync::Arrival) -> Self {
        Self { body, arrival, waits: true, home: PhantomData }
    }

    pub(crate) fn arrival(&self) -> &sync::Arrival {
        &self.arrival
    }

    pub(crate) fn waits_no_more(&mut self) {
        self.waits = false;
    }
}

#[cfg(feature = "tokio")]
impl<H: Home> Drop for Party<'_, H> {
    fn drop(&mut self) {
        self.body.leave::<H>(&self.arrival);
        if self.waits && self.body.poll(&self.arrival).is_none() {
            self.body.abort::<H>();
        }
    }
}
