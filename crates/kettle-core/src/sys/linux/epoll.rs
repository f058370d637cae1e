//! Waiting for many descriptors at once, with nanosecond timeouts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::descriptor::KnownFd;
use super::timerfd::TimerFd;

/// The conditions for which a descriptor is reported, for as long as they hold (level-triggered).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Report it while it is readable.
    pub read: bool,
    /// Report it while it is writable.
    pub write: bool,
}

impl Interest {
    /// No condition.
    pub const NONE: Self = Self { read: false, write: false };

    /// Whether there is no condition.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    fn bits(self) -> u32 {
        let read = if self.read { libc::EPOLLIN } else { 0 };
        let write = if self.write { libc::EPOLLOUT } else { 0 };
        (read | write) as u32
    }
}

/// A descriptor that is ready. Errors and hang-ups count as both conditions, so that the next read or write reports
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token with which it was added.
    pub token: u64,
    /// Reading will not block.
    pub read: bool,
    /// Writing will not block.
    pub write: bool,
}

/// The token of the timer that is used where the kernel has no nanosecond timeouts. It is reserved for that.
pub const TIMER: u64 = u64::MAX;

/// The maximum number of events per wait.
const BATCH: usize = 256;

/// The buffer into which the kernel writes events.
pub struct Events {
    list: Box<[libc::epoll_event; BATCH]>,
    count: usize,
}

impl Default for Events {
    fn default() -> Self {
        Self { list: Box::new([libc::epoll_event { events: 0, u64: 0 }; BATCH]), count: 0 }
    }
}

impl core::fmt::Debug for Events {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Events {
    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        let [input, output] = [libc::EPOLLIN, libc::EPOLLOUT].map(|bit| bit as u32);
        self.list[..self.count].iter().filter(|event| event.u64 != TIMER).map(move |event| Ready {
            token: event.u64,
            read: event.events & !output != 0,
            write: event.events & !input != 0,
        })
    }
}

/// Whether `epoll_pwait2` is unavailable to this process.
static IS_WITHOUT_NANOSECONDS: AtomicBool = AtomicBool::new(false);

/// A set of descriptors.
#[derive(Debug)]
pub struct Epoll {
    fd: KnownFd,
    /// Created on demand.
    timer: std::sync::OnceLock<TimerFd>,
}

impl Epoll {
    /// Creates an empty set.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new() -> io::Result<Self> {
        // SAFETY: an integer only.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a fresh descriptor without another owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd: KnownFd::new(fd, "what an event loop waits on"), timer: std::sync::OnceLock::new() })
    }

    /// Treats `epoll_pwait2` as unavailable in this process from now on: some sandboxes kill processes that try it.
    pub fn avoid_nanoseconds() {
        IS_WITHOUT_NANOSECONDS.store(true, Ordering::Relaxed);
    }

    /// Whether the set is still ours: the program may have closed its descriptor.
    pub fn is_ours(&self) -> bool {
        self.fd.is_ours()
    }

    /// Adds a descriptor that is not in the set.
    ///
    /// # Errors
    /// `EEXIST` if its file is already in the set at this number, `EPERM` if it cannot be waited for, `EBADF` if it is
    /// not open.
    pub fn add(&self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    /// Changes the conditions for a descriptor in the set.
    ///
    /// # Errors
    /// `ENOENT` if the file at this number is not in the set, because it is not the one that was added.
    pub fn modify(&self, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    /// Removes a descriptor.
    ///
    /// # Errors
    /// `ENOENT` or `EBADF` if it is not in the set (any more).
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, Interest::NONE, 0)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, interest: Interest, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits(), u64: token };
        // SAFETY: the event is valid for reading; the numbers need not be open.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }

    /// Waits for at most `timeout`, or forever if None, and never less than that unless an event occurs.
    ///
    /// # Errors
    /// `EINTR` if a signal arrived; `EBADF` or `EINVAL` if the program closed the set.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.count = 0;
        let count = match timeout {
            None => self.wait_milliseconds(events, -1),
            Some(Duration::ZERO) => self.wait_milliseconds(events, 0),
            Some(timeout) if IS_WITHOUT_NANOSECONDS.load(Ordering::Relaxed) => self.wait_by_timer(events, timeout),
            Some(timeout) => match self.wait_nanoseconds(events, timeout) {
                Err(e) if is_refused(&e) => {
                    Self::avoid_nanoseconds();
                    self.wait_by_timer(events, timeout)
                }
                waited => waited,
            },
        };
        events.count = count? as usize;
        Ok(())
    }

    fn wait_milliseconds(&self, events: &mut Events, timeout: libc::c_int) -> io::Result<libc::c_int> {
        let list = events.list.as_mut_ptr();
        // SAFETY: the list has room for BATCH events.
        check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), list, BATCH as libc::c_int, timeout) })
    }

    fn wait_nanoseconds(&self, events: &mut Events, timeout: Duration) -> io::Result<libc::c_int> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // As a direct system call, since older C libraries lack the function.
        // SAFETY: the list has room for BATCH events, the time is valid for reading, and no signals are masked.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.list.as_mut_ptr(),
                BATCH as libc::c_int,
                &raw const timeout,
                core::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        check(count as libc::c_int)
    }

    fn wait_by_timer(&self, events: &mut Events, timeout: Duration) -> io::Result<libc::c_int> {
        let timer = self.timer()?;
        timer.set(Some(timeout))?;
        let waited = self.wait_milliseconds(events, -1);
        // Resetting the timer clears its expiration.
        timer.set(None)?;
        waited
    }

    fn timer(&self) -> io::Result<&TimerFd> {
        if let Some(timer) = self.timer.get() {
            return Ok(timer);
        }
        let timer = TimerFd::new()?;
        self.add(timer.as_fd().as_raw_fd(), Interest { read: true, write: false }, TIMER)?;
        Ok(self.timer.get_or_init(|| timer))
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the kernel is too old, or a sandbox forbids the call. Some sandboxes report that by `EPERM`.
fn is_refused(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM))
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Why [`Epoll::add`], [`Epoll::modify`] or [`Epoll::remove`] failed, for callers that can handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file is already in the set at this number.
    Present,
    /// It is not in the set, or the number is not open.
    Absent,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Classifies a kernel error.
    pub fn of(e: &io::Error) -> Self {
        match e.raw_os_error() {
            Some(libc::EEXIST) => Self::Present,
            Some(libc::ENOENT | libc::EBADF) => Self::Absent,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    const READ: Interest = Interest { read: true, write: false };

    fn wait(epoll: &Epoll, timeout: Duration) -> Vec<Ready> {
        let mut events = Events::default();
        epoll.wait(&mut events, Some(timeout)).unwrap();
        events.iter().collect()
    }

    #[test]
    fn tells_what_came_for_as_long_as_it_is_so() {
        let epoll = Epoll::new().unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        epoll.add(there.as_raw_fd(), READ, 7).unwrap();
        assert_eq!(wait(&epoll, Duration::ZERO), []);
        here.write_all(b"x").unwrap();
        for _ in 0..2 {
            assert_eq!(wait(&epoll, Duration::from_secs(60)), [Ready { token: 7, read: true, write: false }]);
        }
        epoll.modify(there.as_raw_fd(), Interest { read: false, write: true }, 8).unwrap();
        assert_eq!(wait(&epoll, Duration::from_secs(60)), [Ready { token: 8, read: false, write: true }]);
        drop(here);
        assert_eq!(wait(&epoll, Duration::from_secs(60)), [Ready { token: 8, read: true, write: true }]);
        epoll.remove(there.as_raw_fd()).unwrap();
        assert_eq!(wait(&epoll, Duration::ZERO), []);
    }

    #[test]
    fn no_wait_is_too_short_with_nanoseconds_or_without() {
        let epoll = Epoll::new().unwrap();
        let mut events = Events::default();
        for timeout in [1, 50_000, 999_999, 1_000_001, 3_200_000].map(Duration::from_nanos) {
            for by_timer in [false, true] {
                let begun = Instant::now();
                match by_timer {
                    true => epoll.wait_by_timer(&mut events, timeout).map(drop).unwrap(),
                    false => epoll.wait(&mut events, Some(timeout)).unwrap(),
                }
                assert!(begun.elapsed() >= timeout);
                assert_eq!(events.iter().count(), 0);
            }
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let epoll = Epoll::new().unwrap();
        let (here, _there) = UnixStream::pair().unwrap();
        let fd = here.as_raw_fd();
        assert_eq!(Refusal::of(&epoll.remove(fd).unwrap_err()), Refusal::Absent);
        epoll.add(fd, READ, 1).unwrap();
        assert_eq!(Refusal::of(&epoll.add(fd, READ, 1).unwrap_err()), Refusal::Present);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(Refusal::of(&epoll.add(file.as_raw_fd(), READ, 1).unwrap_err()), Refusal::Other);
    }
}
