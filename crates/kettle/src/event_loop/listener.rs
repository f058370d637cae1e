//! Accepting connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use kettle_core::sys::stream;

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// Its descriptor, which does not block.
    pub fd: OwnedFd,
    /// The address of the peer, for internet sockets.
    pub peer: Option<SocketAddr>,
}

/// The next connection that waits; None if there is none. A connection that ended before it was accepted is none either:
/// the listener is reported again for the next one.
///
/// # Errors
/// When descriptors or memory have run out, or the listener is not usable.
pub fn accept(listener: RawFd) -> io::Result<Option<Accepted>> {
    match stream::accept(listener) {
        Ok((fd, peer)) => Ok(Some(Accepted { fd, peer })),
        Err(e) => match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => Ok(None),
            _ => Err(e),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn one_after_the_other_and_then_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let fd = listener.as_raw_fd();
        assert!(accept(fd).unwrap().is_none());
        let clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        for client in &clients {
            assert_eq!(accept(fd).unwrap().unwrap().peer, Some(client.local_addr().unwrap()));
        }
        assert!(accept(fd).unwrap().is_none());
        assert!(accept(-1).is_err());
    }
}
