//! What a leader watches while it sleeps.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kettle_core::arena::Handle;
use kettle_core::sys::child::Child;
use kettle_core::sys::clock;
use kettle_core::sys::socket::Watch as Descriptor;
use kettle_core::wait::{Deadline, Doorbell, EventCount, Patience, Scope, Stopped, WatchError, sleep_on, spin_until};

use super::desk::Desk;

/// What wakes a leader, apart from the end of a worker: an outcome, or a thread of this process.
#[derive(Debug)]
pub(super) struct Bell {
    /// Notified by the workers.
    pub(super) outcomes: Handle<EventCount>,
    doorbell: Doorbell,
    kicks: AtomicU32,
}

impl Bell {
    pub(super) fn new(outcomes: Handle<EventCount>) -> io::Result<Self> {
        Ok(Self { outcomes, doorbell: Doorbell::new()?, kicks: AtomicU32::new(0) })
    }
}

/// Measures how long nothing has happened. Nearly every event comes with a notification. For the others a leader polls,
/// the less often the longer there was nothing.
#[derive(Debug)]
pub struct Quiet {
    since: u64,
}

/// A leader's rest.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// The count of kicks that the leader has seen.
    pub kicks: u32,
    /// When the leader looks again at the latest.
    pub until: Deadline,
    /// Whether it spins at first.
    pub spins: bool,
}

/// How a leader's rest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Something happened while the thread was spinning.
    Spun,
    /// Something woke the thread.
    Woken,
    /// The thread slept, and is not known to have missed anything.
    Slept,
}

/// The shortest and the longest interval between two looks, in nanoseconds.
const LOOKS: RangeInclusive<u64> = 10_000_000..=1_000_000_000;

impl Default for Quiet {
    fn default() -> Self {
        Self { since: clock::now() }
    }
}

impl Quiet {
    /// The time of the next look: after half the time for which nothing has happened.
    pub fn next_look(&self) -> Deadline {
        let now = clock::now();
        Deadline::at(now + (now.saturating_sub(self.since) / 2).clamp(*LOOKS.start(), *LOOKS.end()))
    }
}

/// A snapshot of a pool's workers, which a leader can watch without holding a lock of the pool.
#[derive(Debug)]
pub struct Watch {
    pub(super) bell: Arc<Bell>,
    pub(super) desks: Vec<Desk>,
    pub(super) children: Vec<Arc<Child>>,
}

impl Watch {
    /// The number of kicks so far.
    pub fn kicks(&self) -> u32 {
        self.bell.kicks.load(Ordering::SeqCst)
    }

    /// Wakes the leader, because there is something to do that no worker will notify it of.
    pub fn kick(&self) {
        self.bell.kicks.fetch_add(1, Ordering::SeqCst);
        self.bell.outcomes.notify_one(Scope::Shared);
    }

    fn has_news(&self, kicks: u32) -> bool {
        self.kicks() != kicks || self.desks.iter().any(Desk::has_outcome)
    }

    /// Spins for some microseconds if that is asked for, and then sleeps, until there is an outcome, a worker has ended,
    /// a kick arrives, or the pause is over. There is no system call while the thread spins. After `Ok` the caller looks
    /// again.
    ///
    /// # Errors
    /// If `patience` ends first.
    pub fn rest(&self, pause: Pause, patience: &Patience<'_>) -> Result<Rest, Stopped> {
        let Pause { kicks, until, spins } = pause;
        if spins && (self.has_news(kicks) || spin_until(|| self.has_news(kicks))) {
            return Ok(Rest::Spun);
        }
        self.sleep(kicks, until, patience)
    }

    fn sleep(&self, kicks: u32, until: Deadline, patience: &Patience<'_>) -> Result<Rest, Stopped> {
        if !patience.may_wait() {
            return Err(Stopped::TimedOut);
        }
        let door = self.bell.doorbell.door();
        self.bell.outcomes.leave_door(door);
        let result = if self.has_news(kicks) { Ok(true) } else { self.sleep_on_descriptors(until, patience) };
        self.bell.outcomes.take_door(door, Scope::Shared);
        self.bell.doorbell.drain();
        result.map(|is_told| if is_told { Rest::Woken } else { Rest::Slept })
    }

    fn sleep_on_descriptors(&self, until: Deadline, patience: &Patience<'_>) -> Result<bool, Stopped> {
        let mut watched: Vec<_> = self.bell.doorbell.watch().into_iter().collect();
        watched.extend(self.children.iter().filter_map(|child| child.watch()));
        let slept = sleep_on(&mut watched, &patience.unhurried().no_later_than(until));
        let is_told = watched.iter().any(Descriptor::is_ready);
        if !is_told {
            // Nothing for a whole slice. The program may have closed the descriptors that watch the workers.
            for child in &self.children {
                child.is_watched();
            }
        }
        match slept {
            Ok(()) | Err(WatchError::Io(_)) => Ok(is_told),
            Err(WatchError::Stopped(Stopped::TimedOut)) if !patience.deadline().is_past() => Ok(is_told),
            Err(WatchError::Stopped(stopped)) => Err(stopped),
        }
    }

    /// Returns whether a worker has ended.
    pub fn any_ended(&self) -> bool {
        !self.ended().is_empty()
    }

    /// The workers that have ended.
    pub(super) fn ended(&self) -> Vec<Arc<Child>> {
        let mut watched = Vec::with_capacity(self.children.len());
        let mut unwatched = Vec::new();
        for child in &self.children {
            match child.watch() {
                Some(watch) => watched.push((watch, child)),
                None => unwatched.push(child),
            }
        }
        let (mut watches, children): (Vec<_>, Vec<_>) = watched.into_iter().unzip();
        let _ = kettle_core::sys::socket::poll(&mut watches, std::time::Duration::ZERO);
        let told = watches.iter().zip(children).filter(|(watch, _)| watch.is_ready()).map(|(_, child)| child);
        // A ready descriptor may be another file that now has the number.
        told.chain(unwatched).filter(|child| child.has_ended()).map(Arc::clone).collect()
    }
}
