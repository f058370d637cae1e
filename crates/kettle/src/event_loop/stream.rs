//! The state of a connection.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use kettle_core::sys::stream;

use super::{Incoming, Outgoing};

/// A connection. The socket has another owner; `B` owns the bytes of one write.
#[derive(Debug)]
pub struct Stream<B> {
    /// What was written and not sent yet.
    pub outgoing: Outgoing<B>,
    /// How to read.
    pub incoming: Incoming,
    /// Nothing is read any more, and it ends when everything was sent.
    pub is_closing: bool,
    /// The program does not want to read for now.
    pub is_paused: bool,
    /// Nothing is written any more.
    pub has_ended: bool,
    /// Everything waits until another writer, that of a file, is done.
    pub is_lent: bool,
    /// It is over. From 1 on, counts what is written all the same.
    pub lost: u32,
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// After the end.
    Ended,
    /// While a file is sent.
    Lent,
    /// The connection is lost: what is written is dropped.
    Lost,
}

impl<B: AsRef<[u8]>> Stream<B> {
    /// A new connection, which reads at most `most` bytes at once.
    pub fn new(most: usize) -> Self {
        Self {
            outgoing: Outgoing::default(),
            incoming: Incoming::new(most),
            is_closing: false,
            is_paused: false,
            has_ended: false,
            is_lent: false,
            lost: 0,
        }
    }

    /// Whether something can be written.
    ///
    /// # Errors
    /// Why not.
    #[inline]
    pub fn check(&self) -> Result<(), Refused> {
        match self {
            Self { has_ended: true, .. } => Err(Refused::Ended),
            Self { is_lent: true, .. } => Err(Refused::Lent),
            Self { lost: 1.., .. } => Err(Refused::Lost),
            _ => Ok(()),
        }
    }

    /// Sends at once what the socket accepts now. Returns the number of bytes: 0 if something waits to be sent first.
    ///
    /// # Errors
    /// Those of the connection. That there is no room is not an error.
    #[inline]
    pub fn send(&self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        if !self.outgoing.is_empty() {
            return Ok(0);
        }
        match stream::send(fd, bytes) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            sent => sent,
        }
    }

    /// Sends at once what the socket accepts now, unless something waits to be sent first, and keeps the rest.
    ///
    /// # Errors
    /// Those of the connection. That there is no room is not an error.
    pub fn send_all(&mut self, fd: RawFd, pieces: impl IntoIterator<Item = B>) -> io::Result<()> {
        let was_empty = self.outgoing.is_empty();
        pieces.into_iter().for_each(|piece| self.outgoing.push(piece, 0));
        if was_empty { self.outgoing.flush(fd).map(drop) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_waits_is_sent_first() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut stream = Stream::new(1);
        assert_eq!(stream.send(here.as_raw_fd(), b"abc").unwrap(), 3);
        stream.outgoing.push(b"d".as_slice(), 0);
        assert_eq!(stream.send(here.as_raw_fd(), b"e").unwrap(), 0);
        stream.send_all(here.as_raw_fd(), [b"f".as_slice(), b"g"]).unwrap();
        assert_eq!(stream.outgoing.size(), 3);
        stream.outgoing.flush(here.as_raw_fd()).unwrap();
        stream.send_all(here.as_raw_fd(), [b"h".as_slice(), b"", b"i"]).unwrap();
        assert!(stream.outgoing.is_empty());
        let mut came = [0; 8];
        there.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"abcdfghi");
    }

    #[test]
    fn the_reasons_for_a_refusal_are_told_apart() {
        let mut stream = Stream::<Vec<u8>>::new(1);
        assert_eq!(stream.check(), Ok(()));
        stream.lost = 1;
        assert_eq!(stream.check(), Err(Refused::Lost));
        stream.is_lent = true;
        assert_eq!(stream.check(), Err(Refused::Lent));
        stream.has_ended = true;
        assert_eq!(stream.check(), Err(Refused::Ended));
    }
}
