//! A descriptor that any process of the session can make readable: an abstract Unix datagram socket.
//!
//! An eventfd would be smaller, but it cannot reach a process that was started before it was created. A name in the
//! abstract namespace can be rung by all processes, leaves no file behind, and vanishes with its socket.
//!
//! *By all processes*: such a name has no permissions, and `/proc/net/unix` shows it to all users of the machine. So
//! each bell also has a secret, and a ring is a datagram that ends with it. The kernel drops all other datagrams when
//! they are sent: they take no room, and wake no waiter.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::descriptor::KnownFd;
use super::memory::move_high;

/// The receiving end, bound to a name.
#[derive(Debug)]
pub struct Bell {
    fd: KnownFd,
    secret: u64,
}

/// The content of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// A word from a sender that knows the secret.
    Word(u64),
    /// Anything else; only possible if the kernel could not be told to drop it.
    Foreign,
}

/// A word and a secret.
const RING: usize = 16;

fn ring(what: u64, secret: u64) -> [u8; RING] {
    let mut ring = [0; RING];
    ring[..8].copy_from_slice(&what.to_ne_bytes());
    ring[8..].copy_from_slice(&secret.to_ne_bytes());
    ring
}

fn read_ring(datagram: &[u8], secret: u64) -> Ring {
    let Ok(datagram) = <[u8; RING]>::try_from(datagram) else { return Ring::Foreign };
    let [what, theirs] = [0, 8].map(|at| u64::from_ne_bytes(core::array::from_fn(|i| datagram[at + i])));
    if theirs == secret { Ring::Word(what) } else { Ring::Foreign }
}

fn address(name: &[u8]) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: sockaddr_un is plain old data, for which all zeros is a valid value.
    let mut a: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    a.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // An abstract name begins with a NUL, which is already there.
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
    // SAFETY: a fresh descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the kernel drop all datagrams to `fd` except those of [`RING`] bytes that end with `secret`, for the lifetime of
/// the socket. If the kernel refuses (some sandboxes do), the receiver's own check has to suffice.
fn admit_rings_only(fd: &OwnedFd, secret: u64) {
    const LOAD_LENGTH: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32, otherwise: u8| libc::sock_filter { code: code as u16, jt: 0, jf: otherwise, k };
    // Words are loaded in network byte order.
    let [high, low] = {
        let bytes = secret.to_ne_bytes();
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        [word(0), word(4)]
    };
    let mut steps = [
        step(LOAD_LENGTH, 0, 0),
        step(IF_EQUAL, RING as u32, 5),
        step(LOAD_WORD, 8, 0),
        step(IF_EQUAL, high, 3),
        step(LOAD_WORD, 12, 0),
        step(IF_EQUAL, low, 1),
        step(RETURN, u32::MAX, 0),
        step(RETURN, 0, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    let locked: libc::c_int = 1;
    if set(fd, libc::SO_ATTACH_FILTER, &program).is_ok() {
        // If this fails, the filter is in place nevertheless.
        let _ = set(fd, libc::SO_LOCK_FILTER, &locked);
    }
}

fn set<T>(fd: &impl AsRawFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads a T, the type of the option; the instructions of a filter outlive the call as well.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            core::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Bell {
    /// Binds a bell to this name. Only senders that know the secret can ring it.
    ///
    /// # Errors
    /// If descriptors have run out, or the name is in use.
    pub fn bind(name: &[u8], secret: u64) -> io::Result<Self> {
        let fd = socket()?;
        // Before it has a name, so that nothing can arrive earlier.
        admit_rings_only(&fd, secret);
        Self::bind_socket(fd, name, secret)
    }

    fn bind_socket(fd: OwnedFd, name: &[u8], secret: u64) -> io::Result<Self> {
        let (a, len) = address(name);
        // SAFETY: `a` is a valid address of `len` bytes.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const a).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd: KnownFd::new(fd, "what wakes an event loop"), secret })
    }

    /// The descriptor that becomes readable.
    pub fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether the socket is still ours. If the program closed it, nothing may be read from whatever has its number
    /// now.
    pub fn is_ours(&self) -> bool {
        self.fd.is_ours()
    }

    /// Takes one datagram, if there is one. The kernel closes descriptors that were attached to it.
    pub fn take(&self) -> Option<Ring> {
        // One byte more than a ring, so that a longer datagram is not mistaken for one.
        let mut datagram = [0u8; RING + 1];
        // SAFETY: the buffer is valid for its length.
        let n = unsafe {
            libc::recv(self.fd.as_raw_fd(), datagram.as_mut_ptr().cast(), datagram.len(), libc::MSG_DONTWAIT)
        };
        let datagram = datagram.get(..usize::try_from(n).ok()?)?;
        Some(read_ring(datagram, self.secret))
    }
}

/// The outcome of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// It is in the socket.
    Delivered,
    /// There is no room for it: either in the socket, whose owner has not read from it for a while, or in this
    /// process's send buffer.
    Full,
    /// There is no bell of this name (any more), or it is unreachable from here.
    Gone,
}

/// The sending end, which serves all bells.
#[derive(Debug)]
pub struct Ringer {
    fd: KnownFd,
}

impl Ringer {
    /// Creates it.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn new() -> io::Result<Self> {
        // It stays open as long as the process runs, so it should not take the number of the program's next file.
        Ok(Self { fd: KnownFd::new(move_high(socket()?), "what wakes other event loops") })
    }

    /// Whether the socket is still ours. If the program closed it, nothing may be sent through whatever has its number
    /// now.
    pub fn is_ours(&self) -> bool {
        self.fd.is_ours()
    }

    /// Rings the bell `name` with the word `what`. Never blocks.
    pub fn ring(&self, name: &[u8], secret: u64, what: u64) -> Rung {
        let (a, len) = address(name);
        let ring = ring(what, secret);
        // SAFETY: buffer and address are valid for the lengths given.
        let n = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                ring.as_ptr().cast(),
                ring.len(),
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

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

    use super::*;
    use crate::sys::memory;

    const SECRET: u64 = 0x0123_4567_89ab_cdef;

    fn name() -> Vec<u8> {
        format!("kettle-test-{:016x}", memory::random()).into_bytes()
    }

    fn filtered(name: &[u8]) -> Bell {
        Bell::bind(name, SECRET).unwrap()
    }

    /// The case in which the kernel refuses filters.
    fn unfiltered(name: &[u8]) -> Bell {
        Bell::bind_socket(socket().unwrap(), name, SECRET).unwrap()
    }

    /// What a sender that knows only the name may send.
    fn junk() -> Vec<Vec<u8>> {
        let mut kinds: Vec<Vec<u8>> = [0, 1, 7, 8, 9, 15, 16, 17, 24, 4096, 100_000].map(|n| vec![7; n]).into();
        kinds.push(ring(1, !SECRET).into());
        kinds.push(ring(1, SECRET ^ 1).into());
        kinds.push(ring(1, SECRET ^ 1 << 63).into());
        kinds.push(ring(1, SECRET)[..15].into());
        kinds.push([ring(1, SECRET).as_slice(), &[0]].concat());
        kinds.push(ring(SECRET, 0).into());
        kinds
    }

    fn send(name: &[u8], datagram: &[u8]) -> io::Result<usize> {
        let foreign = UnixDatagram::unbound()?;
        foreign.set_nonblocking(true)?;
        foreign.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        foreign.send(datagram)
    }

    #[test]
    fn only_rings_with_the_secret_enter() {
        let name = name();
        let bell = filtered(&name);
        for _ in 0..100 {
            for datagram in junk() {
                // The kernel reports success.
                assert_eq!(send(&name, &datagram).unwrap(), datagram.len());
            }
        }
        assert_eq!(bell.take(), None);
        assert_eq!(Ringer::new().unwrap().ring(&name, SECRET, 42), Rung::Delivered);
        assert_eq!(bell.take(), Some(Ring::Word(42)));
        assert_eq!(bell.take(), None);
    }

    #[test]
    fn the_filter_cannot_be_taken_off() {
        let bell = filtered(&name());
        let nothing: libc::c_int = 0;
        assert_eq!(
            set(&bell.fd, libc::SO_DETACH_FILTER, &nothing).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn without_a_filter_the_receiver_tells_rings_from_the_rest() {
        let name = name();
        let bell = unfiltered(&name);
        for datagram in junk() {
            send(&name, &datagram).unwrap();
            assert_eq!(bell.take(), Some(Ring::Foreign), "{} bytes", datagram.len());
        }
        assert_eq!(Ringer::new().unwrap().ring(&name, SECRET, 42), Rung::Delivered);
        assert_eq!(bell.take(), Some(Ring::Word(42)));
        assert_eq!(bell.take(), None);
    }

    #[test]
    fn a_full_socket_says_so() {
        let name = name();
        let bell = filtered(&name);
        let ringer = Ringer::new().unwrap();
        let delivered = (0..).take_while(|_| ringer.ring(&name, SECRET, 1) == Rung::Delivered).count();
        assert!(delivered > 0);
        assert_eq!(ringer.ring(&name, SECRET, 1), Rung::Full);
        assert_eq!(core::iter::from_fn(|| bell.take()).count(), delivered);
        drop(bell);
        assert_eq!(ringer.ring(&name, SECRET, 1), Rung::Gone);
    }

    #[test]
    fn streams_do_not_connect() {
        let name = name();
        let _bell = filtered(&name);
        assert!(UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap()).is_err());
    }

    #[test]
    fn descriptors_that_come_along_do_not_stay() {
        let name = name();
        let bell = unfiltered(&name);
        let (ours, theirs) = UnixStream::pair().unwrap();
        send_with_descriptor(&name, &ring(5, SECRET), &theirs);
        send_with_descriptor(&name, b"junk", &theirs);
        drop(theirs);
        assert_eq!(bell.take(), Some(Ring::Word(5)));
        assert_eq!(bell.take(), Some(Ring::Foreign));
        // The other end reports the end only if no duplicate is left.
        let mut watched = [crate::sys::socket::Watch::gone(ours.as_raw_fd())];
        crate::sys::socket::poll(&mut watched, std::time::Duration::from_secs(60)).unwrap();
        assert!(watched[0].is_ready());
    }

    fn send_with_descriptor(name: &[u8], datagram: &[u8], passed: &impl AsRawFd) {
        let fd = socket().unwrap();
        let (mut to, to_len) = address(name);
        let part = IoSlice::new(datagram);
        let mut control = [0u64; 8];
        // SAFETY: the message and what it points to outlive the call; the control buffer is aligned and long enough for
        // one descriptor, as the C library's own macros lay it out.
        let sent = unsafe {
            let mut message: libc::msghdr = core::mem::zeroed();
            message.msg_name = (&raw mut to).cast();
            message.msg_namelen = to_len;
            message.msg_iov = (&raw const part).cast_mut().cast();
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(passed.as_raw_fd());
            libc::sendmsg(fd.as_raw_fd(), &raw const message, 0)
        };
        assert_eq!(sent, datagram.len() as isize);
    }
}
