//! A descriptor that any process of the session can make readable: an abstract Unix datagram socket.
//!
//! An eventfd would be smaller, but it cannot reach a process that was started before it was made. A name in the
//! abstract namespace can be rung by everybody, leaves no file behind, and vanishes with its socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The receiving end, bound to a name.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
}

/// What came in one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring(pub u64);

fn address(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: sockaddr_un is plain old data, for which all zeroes is a valid value.
    let mut a: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    a.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // An abstract name begins with a NUL, which is there already.
    let room = a.sun_path.len() - 1;
    assert!(name.len() <= room, "doorbell name too long");
    for (to, from) in a.sun_path[1..].iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    let len = core::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
    (a, len as libc::socklen_t)
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Bell {
    /// Hangs up a bell with this name.
    ///
    /// # Errors
    /// When descriptors have run out, or the name is taken.
    pub fn bind(name: &[u8]) -> io::Result<Self> {
        let fd = socket()?;
        let (a, len) = address(name);
        // SAFETY: `a` is a valid address of `len` bytes.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const a).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd })
    }

    /// The descriptor that becomes readable.
    pub fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Takes one ring, if there is one.
    pub fn take(&self) -> Option<Ring> {
        let mut word = [0u8; 8];
        // SAFETY: the buffer is valid for eight bytes.
        let n = unsafe { libc::recv(self.fd.as_raw_fd(), word.as_mut_ptr().cast(), 8, libc::MSG_DONTWAIT) };
        (n == 8).then(|| Ring(u64::from_ne_bytes(word)))
    }
}

/// What became of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It lies in the socket.
    Delivered,
    /// The socket is full: its owner is awake and will find many.
    Full,
    /// Nobody has a bell of this name (any more), or it cannot be reached from here.
    Gone,
}

/// The sending end. One serves all bells.
#[derive(Debug)]
pub struct Ringer {
    fd: OwnedFd,
}

impl Ringer {
    /// # Errors
    /// When descriptors have run out.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: socket()? })
    }

    /// Rings the bell `name` with the word `what`. Never blocks.
    pub fn ring(&self, name: &[u8], what: u64) -> Rung {
        let (a, len) = address(name);
        let word = what.to_ne_bytes();
        // SAFETY: buffer and address are valid for the lengths given.
        let n = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                word.as_ptr().cast(),
                word.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const a).cast(),
                len,
            )
        };
        if n >= 0 {
            return Rung::Delivered;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => Rung::Full,
            _ => Rung::Gone,
        }
    }
}
