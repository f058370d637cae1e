//! What a leader looks at while it has nothing to do.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kettle_core::arena::Handle;
use kettle_core::sys::child::Child;
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

    /// Sleeps until there is an outcome, a worker has ended, it is kicked, or `until` is past. `Ok` means: look again.
    ///
    /// # Errors
    /// When `patience` is over.
    pub fn sleep(&self, kicks: u32, until: Deadline, patience: &Patience<'_>) -> Result<(), Stopped> {
        if !patience.may_wait() {
            return Err(Stopped::TimedOut);
        }
        let door = self.bell.doorbell.door();
        self.bell.outcomes.leave_door(door);
        let result = if self.has_news(kicks) { Ok(()) } else { self.sleep_on_descriptors(until, patience) };
        self.bell.outcomes.take_door(door, Scope::Shared);
        self.bell.doorbell.drain();
        result
    }

    fn sleep_on_descriptors(&self, until: Deadline, patience: &Patience<'_>) -> Result<(), Stopped> {
        let mut watched = vec![Descriptor::readable(self.bell.doorbell.as_raw_fd())];
        watched.extend(self.children.iter().map(|child| Descriptor::readable(child.as_fd().as_raw_fd())));
        match sleep_on(&mut watched, &patience.no_later_than(until)) {
            Ok(()) | Err(WatchError::Io(_)) => Ok(()),
            Err(WatchError::Stopped(Stopped::TimedOut)) if !patience.deadline().is_past() => Ok(()),
            Err(WatchError::Stopped(stopped)) => Err(stopped),
        }
    }

    /// Whether a worker has ended.
    pub fn any_ended(&self) -> bool {
        !self.ended().is_empty()
    }

    /// Which of the workers have ended.
    pub(super) fn ended(&self) -> Vec<Arc<Child>> {
        let mut watched: Vec<_> =
            self.children.iter().map(|child| Descriptor::readable(child.as_fd().as_raw_fd())).collect();
        match kettle_core::sys::socket::poll(&mut watched, std::time::Duration::ZERO) {
            Ok(0) | Err(_) => Vec::new(),
            Ok(_) => {
                watched.iter().zip(&self.children).filter(|(w, _)| w.is_ready()).map(|(_, c)| Arc::clone(c)).collect()
            }
        }
    }
}
