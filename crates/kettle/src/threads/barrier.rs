//! Meeting at a point.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::stats::BarrierStatistics;
use kettle_core::sync::{self, Turn};
use kettle_core::wait::Patience;

use crate::place::{Heap, Place};
use crate::queue::until;
#[cfg(feature = "tokio")]
use crate::sync::Party;
use crate::sync::{BarrierError, BarrierWaitResult, barrier_methods};

/// A point at which a fixed number of threads wait for each other, round after round.
///
/// ```
/// let Ok(start) = kettle::threads::Barrier::new(3);
/// std::thread::scope(|scope| {
///     let runners: Vec<_> = (0..3).map(|_| scope.spawn(|| start.wait().is_ok_and(|r| r.is_leader()))).collect();
///     let leaders = runners.into_iter().map(|runner| runner.join().expect("no panic"));
///     assert_eq!(leaders.filter(|&leads| leads).count(), 1);
/// });
/// ```
///
/// A barrier breaks when a party times out, is cancelled, or panics in the action of its round. From then on all waits
/// fail, until [`reset`](Self::reset) is called.
#[derive(Clone)]
pub struct Barrier {
    body: Arc<sync::Barrier>,
}

barrier_methods!(Barrier, Heap, Infallible, "Never.");
