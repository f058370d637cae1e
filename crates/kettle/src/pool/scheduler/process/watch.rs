//! What a leader looks at while it has nothing to do.

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

/// Where a leader is woken: by an outcome, by the end of a worker, or by a thread of this process.
#[derive(Debug)]
pub(super) struct Bell {
    /// What the workers ring.
    pub(super) outcomes: Handle<EventCount>,
    doorbell: Doorbell,
    kicks: AtomicU32,
}

impl Bell {
    pub(super) fn new(outcomes: Handle<EventCount>) -> io::Result<Self> {
        Ok(Self { outcomes, doorbell: Doorbell::new()?, kicks: AtomicU32::new(0) })
    }
}

/// For how long nothing has happened. Most of what can happen is told; for the rest a leader looks now and then, the more
/// seldom the longer there was nothing.
#[derive(Debug)]
pub struct Quiet {
    since: u64,
}

/// The first look is after so many nanoseconds, and there is one after so many at least.
const LOOKS: RangeInclusive<u64> = 10_000_000..=1_000_000_000;

impl Default for Quiet {
    fn default() -> Self {
        Self { since: clock::now() }
    }
}

impl Quiet {
    /// When to look next: after half the time that there was nothing.
    pub fn next_look(&self) -> Deadline {
        let now = clock::now();
        Deadline::at(now + (now.saturating_sub(self.since) / 2).clamp(*LOOKS.start(), *LOOKS.end()))
    }
}

/// The workers of a pool at some moment. It is looked at without holding up anybody.
#[derive(Debug)]
pub struct Watch {
    pub(super) bell: Arc<Bell>,
    pub(super) desks: Vec<Desk>,
    pub(super) children: Vec<Arc<Child>>,
}

impl Watch {
    /// How often the leader was kicked so far.
    pub fn kicks(&self) -> u32 {
        self.bell.kicks.load(Ordering::SeqCst)
    }

    /// Wakes the leader: there is something to do for it that no worker will tell.
    pub fn kick(&self) {
        self.bell.kicks.fetch_add(1, Ordering::SeqCst);
        self.bell.outcomes.notify_one(Scope::Shared);
    }

    fn has_news(&self, kicks: u32) -> bool {
        self.kicks() != kicks || self.desks.iter().any(Desk::has_outcome)
    }

    /// Looks for some microseconds whether something came since `kicks`. It costs no system call, so a Python thread
    /// that expects an answer soon need not even let others run.
    pub fn spin(&self, kicks: u32) -> bool {
        self.has_news(kicks) || spin_until(|| self.has_news(kicks))
    }

    /// Sleeps until there is an outcome, a worker has ended, it is kicked, or `until` is past. `Ok` means: look again; and
    /// says whether there was a reason.
    ///
    /// # Errors
    /// When `patience` is over.
    pub fn sleep(&self, kicks: u32, until: Deadline, patience: &Patience<'_>) -> Result<bool, Stopped> {
        if !patience.may_wait() {
            return Err(Stopped::TimedOut);
        }
        let door = self.bell.doorbell.door();
        self.bell.outcomes.leave_door(door);
        let result = if self.has_news(kicks) { Ok(true) } else { self.sleep_on_descriptors(until, patience) };
        self.bell.outcomes.take_door(door, Scope::Shared);
        self.bell.doorbell.drain();
        result
    }

    fn sleep_on_descriptors(&self, until: Deadline, patience: &Patience<'_>) -> Result<bool, Stopped> {
        let mut watched: Vec<_> = self.bell.doorbell.watch().into_iter().collect();
        watched.extend(self.children.iter().filter_map(|child| child.watch()));
        let slept = sleep_on(&mut watched, &patience.unhurried().no_later_than(until));
        let is_told = watched.iter().any(Descriptor::is_ready);
        if !is_told {
            // Nothing for a whole slice: perhaps nothing can come, because the program closed what watches them.
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

    /// Whether a worker has ended.
    pub fn any_ended(&self) -> bool {
        !self.ended().is_empty()
    }

    /// Which of the workers have ended.
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
        // What is ready may be another file that has the number now.
        told.chain(unwatched).filter(|child| child.has_ended()).map(Arc::clone).collect()
    }
}
