//! Meeting at a point.

use std::fmt;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::stats::BarrierStatistics;
use kettle_core::sync::{self, BarrierError, Turn};
use kettle_core::wait::Patience;

use crate::codec::by_token;
use crate::error::OutOfMemory;
use crate::queue::until;
use crate::session;

/// A point at which a fixed number of parties wait for each other, round after round.
///
/// A barrier breaks when a party is late, gives up, or is killed while it waits: then all are told, until somebody
/// calls [`reset`](Self::reset).
pub struct Barrier {
    body: Handle<sync::Barrier>,
}

by_token!(Barrier);

/// The barrier is broken: a party was late, gave up, or died, or it was reset under those who waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken; reset() mends it when all parties know")
    }
}

impl std::error::Error for BrokenBarrier {}

/// Which of the parties one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: u32,
    is_leader: bool,
}

impl BarrierWaitResult {
    /// The number of this party: 0 came first.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether this party came last; in each round exactly one did.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}

impl Barrier {
    /// A barrier for so many parties; for none it is as if there were one.
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn new(parties: u32) -> Result<Self, OutOfMemory> {
        session::join()?;
        let parties = parties.clamp(1, sync::Barrier::MAX_PARTIES);
        Ok(Self::from_body(Handle::new(|| sync::Barrier::new(parties))?))
    }

    fn from_body(body: Handle<sync::Barrier>) -> Self {
        Self { body }
    }

    fn wait_with(&self, action: impl FnOnce(), patience: &Patience<'_>) -> Result<BarrierWaitResult, BrokenBarrier> {
        let broken = |e: BarrierError| match e {
            BarrierError::Broken | BarrierError::Interrupted => BrokenBarrier,
        };
        match self.body.wait::<Processes>(patience).map_err(broken)? {
            Turn::Through(index) => Ok(BarrierWaitResult { index, is_leader: false }),
            Turn::Last(last) => {
                // If the action panics, `last` is dropped, which breaks the barrier for the others.
                action();
                last.done().map(|index| BarrierWaitResult { index, is_leader: true }).map_err(broken)
            }
        }
    }

    /// Waits until all parties have come.
    ///
    /// # Errors
    /// When the barrier is broken.
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_with(|| (), &Patience::forever())
    }

    /// The same; the party that comes last does `action` before all go on.
    ///
    /// # Errors
    /// When the barrier is broken.
    pub fn wait_and(&self, action: impl FnOnce()) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_with(action, &Patience::forever())
    }

    /// Waits for so long until all parties have come. If they do not, the barrier is broken.
    ///
    /// # Errors
    /// When the barrier is broken.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_with(|| (), &until(timeout))
    }

    /// Waits until all parties have come, without blocking the thread. If the future is dropped before, the barrier is
    /// broken: the others would wait for a party that has left.
    ///
    /// # Errors
    /// When the barrier is broken.
    #[cfg(feature = "tokio")]
    pub async fn wait_async(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        let changed = self.body.changed();
        let broken = |_: BarrierError| BrokenBarrier;
        let arrival = crate::reactor::wait_on(changed, || {
            self.body.find_dead::<Processes>();
            self.body.arrive::<Processes>().transpose()
        })
        .await
        .map_err(broken)?;
        if arrival.is_last() {
            let last = self.body.last::<Processes>(arrival);
            return last.done().map(|index| BarrierWaitResult { index, is_leader: true }).map_err(broken);
        }
        let mut party = Party { body: &self.body, arrival, waits: true };
        let result = crate::reactor::wait_on(changed, || {
            self.body.find_dead::<Processes>();
            self.body.poll(&party.arrival)
        })
        .await;
        party.waits = false;
        result.map(|index| BarrierWaitResult { index, is_leader: false }).map_err(broken)
    }

    /// Breaks it: all who wait and all who come are told so.
    pub fn abort(&self) {
        self.body.abort::<Processes>();
    }

    /// Begins a new round with nobody there, also after it was broken. Those who wait are told that it was broken.
    pub fn reset(&self) {
        self.body.reset::<Processes>();
    }

    /// How many must come.
    pub fn parties(&self) -> u32 {
        self.body.parties()
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.body.is_broken()
    }

    /// How it is.
    pub fn statistics(&self) -> BarrierStatistics {
        self.body.statistics()
    }
}

/// A party that waits without blocking, and may be dropped while it does.
#[cfg(feature = "tokio")]
struct Party<'a> {
    body: &'a sync::Barrier,
    arrival: sync::Arrival,
    waits: bool,
}

#[cfg(feature = "tokio")]
impl Drop for Party<'_> {
    fn drop(&mut self) {
        self.body.leave(&self.arrival);
        if self.waits && self.body.poll(&self.arrival).is_none() {
            self.body.abort::<Processes>();
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("parties", &self.parties()).finish_non_exhaustive()
    }
}
