//! The sleep of an event loop: until a descriptor is ready, a deadline has passed, or another thread wakes it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use crate::sys::epoll::{Epoll, Events, Interest, Ready, Refusal, TIMER};
use crate::sys::eventfd::EventFd;
use crate::sys::process;

/// The token of the wake-up descriptor. Tokens of descriptors are smaller.
const WAKE: u64 = TIMER - 1;

/// The descriptors that one loop waits for. Tokens are the loop's own numbers, all below `u64::MAX - 1`.
///
/// After a `fork` the child shares the epoll set with its parent: a change by either affects both. So the child must
/// create a new poller ([`is_of_this_process`](Self::is_of_this_process)); dropping this one in the child removes
/// nothing from the set.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    wake: EventFd,
    epoch: u64,
}

/// The result of removing a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It has been removed.
    Out,
    /// The program closed it first. If a duplicate is open, its file stays in the set and cannot be removed: its events
    /// carry a token that is no longer in use.
    ClosedBefore,
}

impl Poller {
    /// # Errors
    /// When descriptors have run out.
    pub fn new() -> io::Result<Self> {
        let (epoll, wake) = (Epoll::new()?, EventFd::new()?);
        epoll.add(wake.as_fd().as_raw_fd(), Interest { read: true, write: false }, WAKE)?;
        Ok(Self { epoll, wake, epoch: process::epoch() })
    }

    /// Whether this process created the poller.
    pub fn is_of_this_process(&self) -> bool {
        process::is_epoch(self.epoch)
    }

    /// Whether the poller's own descriptors are still open.
    pub fn is_whole(&self) -> bool {
        self.epoll.is_ours() && self.wake.is_ours()
    }

    /// The poller's descriptor, which is readable when something is ready.
    pub fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_fd().as_raw_fd()
    }

    /// Watches `fd` for the events in `interest` under `token`, replacing earlier settings for it.
    ///
    /// # Errors
    /// `EBADF` if it is not open, `EPERM` if it cannot be waited for (a regular file).
    pub fn watch(&self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        match self.epoll.add(fd, interest, token) {
            Err(e) if Refusal::of(&e) == Refusal::Present => self.epoll.modify(fd, interest, token),
            added => added,
        }
    }

    /// Like [`watch`](Self::watch), for a descriptor that is probably in the set already.
    ///
    /// # Errors
    /// As those of `watch`.
    pub fn change(&self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        match self.epoll.modify(fd, interest, token) {
            // The number belongs to another file by now.
            Err(e) if Refusal::of(&e) == Refusal::Absent => self.epoll.add(fd, interest, token),
            changed => changed,
        }
    }

    /// Stops watching `fd`.
    pub fn forget(&self, fd: RawFd) -> Removed {
        match self.epoll.remove(fd) {
            Ok(()) => Removed::Out,
            Err(_) => Removed::ClosedBefore,
        }
    }

    /// Wakes the loop. May be called from any thread.
    ///
    /// # Errors
    /// When the program closed what is needed for that.
    pub fn wake(&self) -> io::Result<()> {
        self.wake.raise()
    }

    /// Sleeps for at most `timeout`, or for ever if it is None. A signal ends the sleep without events.
    ///
    /// # Errors
    /// When the program closed what it sleeps on.
    pub fn sleep(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.epoll.wait(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            slept => slept,
        }
    }

    /// The events of the last sleep, except the wake-up.
    ///
    /// # Errors
    /// When the program closed what wakes it: it would not sleep any more.
    pub fn came<'a>(&'a self, events: &'a Events) -> io::Result<impl Iterator<Item = Ready> + 'a> {
        if events.iter().any(|ready| ready.token == WAKE) {
            self.wake.lower()?;
        }
        Ok(events.iter().filter(|ready| ready.token != WAKE))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    const READ: Interest = Interest { read: true, write: false };

    #[test]
    fn a_call_ends_the_sleep_and_is_not_told() {
        let poller = Poller::new().unwrap();
        let mut events = Events::default();
        std::thread::scope(|scope| {
            scope.spawn(|| poller.wake().unwrap());
            poller.sleep(&mut events, None).unwrap();
        });
        assert_eq!(poller.came(&events).unwrap().count(), 0);
        poller.sleep(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
    }

    #[test]
    fn a_number_that_changed_hands_is_watched_all_the_same() {
        let poller = Poller::new().unwrap();
        let (here, _there) = UnixStream::pair().unwrap();
        poller.change(here.as_raw_fd(), READ, 1).unwrap();
        poller.watch(here.as_raw_fd(), READ, 2).unwrap();
        assert_eq!(poller.forget(here.as_raw_fd()), Removed::Out);
        assert_eq!(poller.forget(here.as_raw_fd()), Removed::ClosedBefore);
    }
}
