//! A descriptor that becomes readable when a timer expires.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::descriptor::KnownFd;

/// A timer, initially disarmed.
#[derive(Debug)]
pub struct TimerFd(KnownFd);

impl TimerFd {
    /// Creates a disarmed timer.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new() -> io::Result<Self> {
        // SAFETY: integers only.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor without another owner.
        Ok(Self(KnownFd::new(unsafe { OwnedFd::from_raw_fd(fd) }, "a timer of an event loop")))
    }

    /// Makes it readable after `delay`, or disarms it if None. Replaces any previous setting.
    ///
    /// # Errors
    /// If the program closed it.
    pub fn set(&self, delay: Option<Duration>) -> io::Result<()> {
        // Zero would disarm it.
        let delay = delay.map_or(Duration::ZERO, |delay| delay.max(Duration::from_nanos(1)));
        let value = libc::timespec {
            tv_sec: delay.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: delay.subsec_nanos().into(),
        };
        let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: the new value is valid for reading; the old one is not requested.
        let r = unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &once, core::ptr::null_mut()) };
        if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
