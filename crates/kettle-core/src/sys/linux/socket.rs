//! Descriptors that carry messages, and waiting for several of them.
//!
//! No function here blocks except [`poll`], [`read`] and [`write()`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What is asked of the kernel as room for unread records, and how much more there is for one that cannot wait.
/// Together they are less than what `net.core.wmem_max` grants everywhere, unless it was lowered.
const ROOM: libc::c_int = 128 * 1024;
const SPARE_ROOM: libc::c_int = 64 * 1024;

/// Creates two connected stream sockets, marked as ends of a pipe and close-on-exec.
///
/// # Errors
/// If descriptors have run out.
pub fn record_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) })?;
    // SAFETY: fresh descriptors without another owner.
    let [a, b] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    for fd in [&a, &b] {
        // On failure the system's default size remains.
        let _ = set_option(fd.as_fd(), libc::SO_SNDBUF, &ROOM);
        // Without the mark both ends are ordinary sockets, with the standard library's message format.
        let _ = set_option(fd.as_fd(), libc::SO_LINGER, &MARK);
    }
    Ok((a, b))
}

/// A linger time, which Unix sockets store but do not use. This value marks an end of a pipe.
static MARK: libc::linger = libc::linger { l_onoff: 1, l_linger: 40_503 };

/// The kind of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// An end of one of our pipes: see [`record_pair`].
    Records,
    /// Any other socket.
    Socket,
    /// Anything else, or not open.
    Other,
}

/// Determines the kind of `fd`.
pub fn sort_of(fd: BorrowedFd<'_>) -> Sort {
    match (option(fd, libc::SO_DOMAIN), option(fd, libc::SO_TYPE)) {
        (Some(libc::AF_UNIX), Some(libc::SOCK_STREAM)) if is_marked(fd) => Sort::Records,
        (_, Some(_)) => Sort::Socket,
        _ => Sort::Other,
    }
}

fn is_marked(fd: BorrowedFd<'_>) -> bool {
    let mut value = libc::linger { l_onoff: 0, l_linger: 0 };
    // SAFETY: two integers.
    let is_known = unsafe { get_option(fd, libc::SO_LINGER, &mut value) };
    is_known && (value.l_onoff, value.l_linger) == (MARK.l_onoff, MARK.l_linger)
}

fn option(fd: BorrowedFd<'_>, name: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    // SAFETY: an integer.
    unsafe { get_option(fd, name, &mut value) }.then_some(value)
}

/// Reads the option `name` into `value`, truncated to its size. Returns whether there is such an option.
///
/// # Safety
/// Any bytes must be a valid `T`.
unsafe fn get_option<T: Copy>(fd: BorrowedFd<'_>, name: libc::c_int, value: &mut T) -> bool {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: value and length are valid for writing; any bytes are a valid `T`, as the caller promises.
    unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, core::ptr::from_mut(value).cast(), &mut len) == 0
    }
}

fn set_option<T: Copy>(fd: BorrowedFd<'_>, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value has the given length, and is only read.
    let r = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, core::ptr::from_ref(value).cast(), len) };
    check(r).map(drop)
}

/// Sends `first` and `second`, or as much of them as the socket accepts now. Returns the number of bytes sent.
///
/// # Errors
/// `WouldBlock` if there is no room, `BrokenPipe` if the other end is closed (no signal is raised).
pub fn send(fd: BorrowedFd<'_>, first: &[u8], second: &[u8]) -> io::Result<usize> {
    send_parts(fd, &[first, second])
}

/// As [`send`], from one place, which is less work for the kernel.
///
/// # Errors
/// See [`send`].
pub fn send_slice(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the slice is only read, and outlives the call.
    size(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// As [`send_slice`], to an end of a pipe that is full: there is some room that nothing else is given.
///
/// # Errors
/// See [`send`].
pub fn send_into_spare_room(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let _ = set_option(fd, libc::SO_SNDBUF, &(ROOM + SPARE_ROOM));
    let sent = send_slice(fd, bytes);
    let _ = set_option(fd, libc::SO_SNDBUF, &ROOM);
    sent
}

/// As [`send`]. A Unix socket accepts up to 32 KiB either completely or not at all.
///
/// # Errors
/// See [`send`].
pub fn send_parts<const N: usize>(fd: BorrowedFd<'_>, parts: &[&[u8]; N]) -> io::Result<usize> {
    let mut parts = parts.map(slice);
    // SAFETY: msghdr is plain old data, for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the message refers to these parts, which are only read and outlive the call.
    size(unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Receives at most `most` available bytes and appends them to `to`. Returns the number of bytes, 0 at the end.
///
/// # Errors
/// `WouldBlock` if there is no data yet.
pub fn receive(fd: BorrowedFd<'_>, to: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    // SAFETY: `append` provides room for `most` bytes.
    append(to, most, |at| unsafe { libc::recv(fd.as_raw_fd(), at, most, libc::MSG_DONTWAIT) })
}

/// Reads the first available bytes without consuming them. Returns their number.
///
/// # Errors
/// See [`receive`].
pub fn peek(fd: BorrowedFd<'_>, to: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the slice is valid for writing.
    size(unsafe { libc::recv(fd.as_raw_fd(), to.as_mut_ptr().cast(), to.len(), flags) })
}

/// As [`receive`], for descriptors that are not sockets. Blocks if there is no data: call [`poll`] first.
///
/// # Errors
/// Those of the system call.
pub fn read(fd: BorrowedFd<'_>, to: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    // SAFETY: as above.
    append(to, most, |at| unsafe { libc::read(fd.as_raw_fd(), at, most) })
}

fn append(to: &mut Vec<u8>, most: usize, get: impl FnOnce(*mut libc::c_void) -> isize) -> io::Result<usize> {
    to.reserve(most);
    let n = size(get(to.spare_capacity_mut().as_mut_ptr().cast()))?;
    debug_assert!(n <= most);
    // SAFETY: the kernel has initialized the first `n` of at least `most` spare bytes.
    unsafe { to.set_len(to.len() + n) };
    Ok(n)
}

/// As [`send`], for descriptors that are not sockets. Blocks until there is room for the first byte, and for a pipe
/// until there is room for all bytes.
///
/// # Errors
/// Those of the system call.
pub fn write(fd: BorrowedFd<'_>, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let parts = [slice(first), slice(second)];
    // SAFETY: two parts, which are only read and outlive the call.
    size(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), 2) })
}

fn slice(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// The memory used by data that was sent on `fd` and not received yet.
///
/// # Errors
/// If it is not a socket.
pub fn unreceived(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one c_int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes as usize)
}

/// A descriptor, what to wait for, and the outcome. The descriptor is identified by its number only: nothing is done to
/// the file, and a number that is not open is reported as such.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Watch(libc::pollfd);

impl Watch {
    /// Waits until `fd` can be read, or is at its end.
    pub fn readable(fd: RawFd) -> Self {
        Self(libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
    }

    /// Waits until `fd` can be written to, or never will be again.
    pub fn writable(fd: RawFd) -> Self {
        Self(libc::pollfd { fd, events: libc::POLLOUT, revents: 0 })
    }

    /// Waits until the other end of `fd` is closed.
    pub fn gone(fd: RawFd) -> Self {
        Self(libc::pollfd { fd, events: 0, revents: 0 })
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.0.fd
    }

    /// Whether the last [`poll`] found the condition satisfied.
    pub fn is_ready(&self) -> bool {
        self.0.revents != 0
    }

    /// Whether the last [`poll`] found that the descriptor is not open.
    pub fn is_invalid(&self) -> bool {
        self.0.revents & libc::POLLNVAL != 0
    }
}

/// Waits until one of the descriptors is ready or the time is over; returns how many are ready.
///
/// # Errors
/// `Interrupted` if a signal arrived; or if there is no memory.
pub fn poll(watched: &mut [Watch], timeout: Duration) -> io::Result<usize> {
    let mut timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: a Watch is a pollfd; the slice is valid for writing, and the mask may be null.
    let n =
        unsafe { libc::ppoll(watched.as_mut_ptr().cast(), watched.len() as libc::nfds_t, &timeout, core::ptr::null()) };
    match check(n) {
        // More descriptors than the process may open (`RLIMIT_NOFILE`), whether or not they are open.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => select(watched, &mut timeout),
        polled => polled.map(|n| n as usize),
    }
}

/// As [`poll`], for more descriptors than the limit on open descriptors, which a program may lower after it opened
/// them. The system call `select` does not check that limit, nor, unlike the C library's, the size of the numbers.
fn select(watched: &mut [Watch], timeout: &mut libc::timespec) -> io::Result<usize> {
    const BITS: usize = libc::c_ulong::BITS as usize;
    let count = watched.iter().filter_map(|w| usize::try_from(w.0.fd).ok()).max().map_or(0, |fd| fd + 1);
    let mut sets = [libc::POLLIN, libc::POLLOUT].map(|events| (events, vec![0 as libc::c_ulong; count.div_ceil(BITS)]));
    let mut is_one_ready = false;
    for watch in &mut *watched {
        let Watch(libc::pollfd { fd, events, revents }) = watch;
        *revents = 0;
        // Negative numbers are skipped, as `poll` does.
        let Ok(bit) = usize::try_from(*fd) else { continue };
        // SAFETY: reads a flag of whatever has this number.
        if unsafe { libc::fcntl(*fd, libc::F_GETFD) } < 0 {
            *revents = libc::POLLNVAL;
        } else if *events == 0 && has_no_other_end(*fd) {
            *revents = libc::POLLHUP;
        }
        is_one_ready |= *revents != 0;
        for (_, set) in sets.iter_mut().filter(|(event, _)| *revents == 0 && *events & event != 0) {
            set[bit / BITS] |= 1 << (bit % BITS);
        }
    }
    if is_one_ready {
        *timeout = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    }
    let [(_, readable), (_, writable)] = &mut sets;
    // SAFETY: both sets have a bit for each number below the count; the kernel writes the remaining time into the
    // timeout.
    let n = unsafe {
        let none = core::ptr::null_mut::<libc::c_ulong>();
        let (readable, writable) = (readable.as_mut_ptr(), writable.as_mut_ptr());
        libc::syscall(libc::SYS_pselect6, count, readable, writable, none, core::ptr::from_mut(timeout), none)
    };
    size(n as isize)?;
    for Watch(libc::pollfd { fd, events, revents }) in &mut *watched {
        let Ok(bit) = usize::try_from(*fd) else { continue };
        for (event, set) in &sets {
            if *events & event != 0 && set[bit / BITS] >> (bit % BITS) & 1 != 0 {
                *revents |= event;
            }
        }
    }
    Ok(watched.iter().filter(|w| w.is_ready()).count())
}

/// Whether all data was received from a socket, and no more will come.
fn has_no_other_end(fd: RawFd) -> bool {
    let mut byte = 0u8;
    // SAFETY: there is room for one byte, which is read without being consumed.
    unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) == 0 }
}

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

fn size(r: isize) -> io::Result<usize> {
    usize::try_from(r).map_err(|_| io::Error::last_os_error())
}
