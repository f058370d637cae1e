//! A flag that can be waited for.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::stats::EventStatistics;
use kettle_core::sync;
use kettle_core::wait::Patience;

use crate::place::{Heap, Place};
use crate::queue::until;
use crate::sync::event_methods;

/// A flag that is down at first. Every thread can put it up and wait for that.
///
/// ```
/// let Ok(ready) = kettle::threads::Event::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| ready.set());
///     ready.wait();
/// });
/// ```
#[derive(Clone)]
pub struct Event {
    body: Arc<sync::Event>,
}

event_methods!(Event, Heap, Infallible, "Never.");

impl Default for Event {
    fn default() -> Self {
        let Ok(new) = Self::new();
        new
    }
}
