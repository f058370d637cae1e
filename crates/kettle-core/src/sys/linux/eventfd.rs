//! A descriptor that any thread of this process can make readable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::descriptor::KnownFd;

/// A flag that an event loop can wait for.
#[derive(Debug)]
pub struct EventFd(KnownFd);

impl EventFd {
    /// Creates a flag that is not raised.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new() -> io::Result<Self> {
        // SAFETY: integers only.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor without another owner.
        Ok(Self(KnownFd::new(unsafe { OwnedFd::from_raw_fd(fd) }, "what wakes an event loop")))
    }

    /// Whether it is still ours: the program may have closed it.
    pub fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    /// Raises the flag, which makes the descriptor readable. Never blocks: if the counter is at its maximum, the
    /// descriptor is readable already.
    ///
    /// # Errors
    /// If the program closed it.
    pub fn raise(&self) -> io::Result<()> {
        let one = 1u64;
        // SAFETY: eight bytes, valid for reading.
        let r = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        match (r, io::Error::last_os_error()) {
            (r, e) if r < 0 && e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(()),
        }
    }

    /// Lowers the flag; returns whether it was raised.
    ///
    /// # Errors
    /// If the program closed it.
    pub fn lower(&self) -> io::Result<bool> {
        let mut count = 0u64;
        // SAFETY: eight bytes, valid for writing.
        let r = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
        match (r, io::Error::last_os_error()) {
            (r, e) if r < 0 && e.kind() != io::ErrorKind::WouldBlock => Err(e),
            (r, _) => Ok(r > 0),
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_up_until_it_is_lowered() {
        let flag = EventFd::new().unwrap();
        assert!(!flag.lower().unwrap());
        flag.raise().unwrap();
        flag.raise().unwrap();
        assert!(flag.lower().unwrap());
        assert!(!flag.lower().unwrap());
    }
}
