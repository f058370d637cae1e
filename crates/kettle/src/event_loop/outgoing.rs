//! What was written to a connection and not sent yet.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::RawFd;

use kettle_core::sys::stream;

/// The largest number of pieces per system call.
const MOST: usize = 64;

/// Pieces in the order in which they were written. `B` owns its bytes.
#[derive(Debug)]
pub struct Outgoing<B> {
    pieces: VecDeque<Piece<B>>,
    size: usize,
}

#[derive(Debug)]
struct Piece<B> {
    bytes: B,
    /// How many bytes at its beginning were sent.
    sent: usize,
}

impl<B: AsRef<[u8]>> Piece<B> {
    fn left(&self) -> &[u8] {
        &self.bytes.as_ref()[self.sent..]
    }
}

impl<B> Default for Outgoing<B> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), size: 0 }
    }
}

impl<B> Outgoing<B> {
    /// The number of bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether everything was sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }
}

impl<B: AsRef<[u8]>> Outgoing<B> {
    /// Adds the bytes from place `sent` on.
    pub fn push(&mut self, bytes: B, sent: usize) {
        let piece = Piece { bytes, sent };
        self.size += piece.left().len();
        if !piece.left().is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Sends as much as the socket accepts now. Returns the number of bytes.
    ///
    /// # Errors
    /// Those of the connection. That there is no room is not an error.
    pub fn flush(&mut self, fd: RawFd) -> io::Result<usize> {
        let before = self.size;
        while !self.is_empty() {
            let mut parts = [IoSlice::new(&[]); MOST];
            let mut offered = 0;
            let count = self.pieces.len().min(MOST);
            for (part, piece) in parts.iter_mut().zip(&self.pieces) {
                *part = IoSlice::new(piece.left());
                offered += part.len();
            }
            match stream::send_parts(fd, &parts[..count]) {
                Ok(sent) => {
                    self.advance(sent);
                    if sent < offered {
                        break;
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(before - self.size)
    }

    /// Drops the first `sent` bytes.
    fn advance(&mut self, mut sent: usize) {
        self.size -= sent;
        while sent > 0 {
            let Some(first) = self.pieces.front_mut() else { return };
            let left = first.left().len();
            if sent < left {
                first.sent += sent;
                return;
            }
            sent -= left;
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            // A flood leaves no large queue behind.
            self.pieces.shrink_to(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn all_bytes_arrive_in_order_whatever_the_socket_accepts() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut outgoing = Outgoing::default();
        let mut expected = Vec::new();
        for n in 0..3000_usize {
            let piece: Vec<u8> = (0..n).map(|i| (i * 7 + n) as u8).collect();
            let sent = if n == 2500 { 100 } else { 0 };
            expected.extend_from_slice(&piece[sent..]);
            outgoing.push(piece, sent);
        }
        assert_eq!(outgoing.size(), expected.len());
        there.set_nonblocking(true).unwrap();
        let (mut came, mut room) = (Vec::new(), vec![0; 100_000]);
        while came.len() < expected.len() {
            outgoing.flush(here.as_raw_fd()).unwrap();
            while let Ok(count) = there.read(&mut room) {
                came.extend_from_slice(&room[..count]);
            }
        }
        assert!(outgoing.is_empty() && came == expected);
        outgoing.push(vec![1], 0);
        drop(there);
        assert_eq!(outgoing.flush(here.as_raw_fd()).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_socket_is_no_error() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut outgoing = Outgoing::default();
        outgoing.push(vec![0; 10_000_000], 0);
        let sent = outgoing.flush(here.as_raw_fd()).unwrap();
        assert!(sent > 0 && outgoing.size() == 10_000_000 - sent);
        assert_eq!(outgoing.flush(here.as_raw_fd()).unwrap(), 0);
    }
}
