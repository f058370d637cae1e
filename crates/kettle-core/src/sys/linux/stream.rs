//! Connected and listening sockets of an event loop.
//!
//! No function here blocks. Descriptors are given by number, as the loop's slots have them: a number that is not open is
//! an error like any other.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Accepts a connection. Returns its descriptor, which does not block and is not inherited, and for an internet socket
/// the address of the peer.
///
/// # Errors
/// `WouldBlock` if there is none; those of the connection itself, such as `ConnectionAborted`; or if descriptors or
/// memory have run out.
pub fn accept(listener: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // SAFETY: plain old data, for which all zeros is a valid value.
    let mut address: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
    let mut len = size_of_val(&address) as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: address and length are valid for writing, and the length is that of the address.
    let fd = unsafe { libc::accept4(listener, (&raw mut address).cast(), &raw mut len, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor without another owner.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, internet(&address)))
}

/// An address of one of the two internet families.
fn internet(address: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at = core::ptr::from_ref(address);
    match libc::c_int::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which type it is, and the storage is large enough and aligned for each.
            let v4 = unsafe { &*at.cast::<libc::sockaddr_in>() };
            let host = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(host, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*at.cast::<libc::sockaddr_in6>() };
            let (host, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Some(SocketAddr::V6(SocketAddrV6::new(host, port, u32::from_be(v6.sin6_flowinfo), v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// Receives what is there, as much as there is room for. Returns the number of bytes, 0 at the end.
///
/// # Errors
/// `WouldBlock` if there is nothing yet.
pub fn receive(fd: RawFd, to: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    // SAFETY: the slice is valid for writing; the kernel writes nothing but bytes.
    size(unsafe { libc::recv(fd, to.as_mut_ptr().cast(), to.len(), libc::MSG_DONTWAIT) })
}

/// How many bytes could be received now.
///
/// # Errors
/// If it is not a socket.
pub fn receivable(fd: RawFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request writes one c_int.
    size(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) } as isize)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Sends as many of the bytes as the socket accepts now. Returns their number.
///
/// # Errors
/// `WouldBlock` if there is no room, `BrokenPipe` if the other end is closed (no signal is raised).
#[inline]
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the slice is only read, and outlives the call.
    size(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// As [`send`], from several places.
///
/// # Errors
/// See [`send`].
pub fn send_parts(fd: RawFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: msghdr is plain old data, for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    // An IoSlice is an iovec.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the message refers to these parts, which are only read and outlive the call.
    size(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

fn size(r: isize) -> io::Result<usize> {
    usize::try_from(r).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_accepted_connection_has_the_address_of_its_peer() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has IPv6.
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (fd, peer) = accept(listener.as_raw_fd()).unwrap();
            assert_eq!(peer, Some(client.local_addr().unwrap()));
            let mut byte = [MaybeUninit::uninit()];
            assert_eq!(receive(fd.as_raw_fd(), &mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
            listener.set_nonblocking(true).unwrap();
            assert_eq!(accept(listener.as_raw_fd()).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn parts_arrive_in_order() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let sent = send_parts(here.as_raw_fd(), &[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"c")]);
        assert_eq!(sent.unwrap(), 3);
        here.write_all(b"d").unwrap();
        assert_eq!(receivable(there.as_raw_fd()).unwrap(), 4);
        let mut room = [MaybeUninit::uninit(); 8];
        let count = receive(there.as_raw_fd(), &mut room).unwrap();
        // SAFETY: so many were written.
        let bytes: Vec<u8> = room[..count].iter().map(|byte| unsafe { byte.assume_init() }).collect();
        assert_eq!(bytes, b"abcd");
        drop(there);
        assert_eq!(send(here.as_raw_fd(), b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
