//! Where the next bytes of a connection go.

use std::os::fd::RawFd;

use kettle_core::sys::stream;

/// From this size on, another system call is cheaper than another copy.
const LARGE: usize = 32 * 1024;

/// Chooses the memory for each read. One read per event, so that no connection delays the others.
#[derive(Debug)]
pub struct Incoming {
    most: usize,
    last: usize,
}

/// The memory for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Memory that all connections share; the bytes are copied out of it.
    Shared(usize),
    /// An object of this size, since as much is there.
    Exact(usize),
}

impl Incoming {
    /// For reads of at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { most, last: 0 }
    }

    /// The largest size of a read.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Changes the largest size of a read.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Chooses the memory for the next read.
    #[inline]
    pub fn room(&self, fd: RawFd) -> Room {
        if self.last < LARGE { Room::Shared(self.most) } else { self.large_room(fd) }
    }

    #[cold]
    fn large_room(&self, fd: RawFd) -> Room {
        match stream::receivable(fd) {
            Ok(count) if count.min(self.most) >= LARGE => Room::Exact(count.min(self.most)),
            // At the end there is nothing to receive.
            _ => Room::Shared(self.most),
        }
    }

    /// Notes how much came.
    #[inline]
    pub fn note(&mut self, count: usize) {
        self.last = count;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn after_a_large_read_the_size_is_asked_for() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let fd = there.as_raw_fd();
        let mut incoming = Incoming::new(1 << 18);
        assert_eq!(incoming.room(fd), Room::Shared(1 << 18));
        incoming.note(40_000);
        assert_eq!(incoming.room(fd), Room::Shared(1 << 18));
        here.write_all(&[0; 50_000]).unwrap();
        assert_eq!(incoming.room(fd), Room::Exact(50_000));
        incoming.set_most(40_000);
        assert_eq!(incoming.room(fd), Room::Exact(40_000));
        incoming.set_most(1000);
        assert_eq!(incoming.room(fd), Room::Shared(1000));
    }
}
