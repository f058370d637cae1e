//! Connections over any other descriptor: the standard library's framing.
//!
//! ```text
//! [ length: signed, 32 bits, big endian ][ bytes … ]
//! [ -1 ][ length: unsigned, 64 bits, big endian ][ bytes … ]     from 2 GiB on
//! ```

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use kettle_core::sys::socket::{self, Watch};
use kettle_core::wait::{Deadline, Patience, WatchError, sleep_on, spin_on_calls};
use pyo3::exceptions::{PyEOFError, PyKeyboardInterrupt, PyOSError};
use pyo3::prelude::*;

use super::descriptor::{InUse, closed};
use super::incoming::{Incoming, Scratch};
use crate::door::wait_outside;
use crate::errors;

/// A stream in use.
pub(super) struct Stream<'a> {
    pub(super) descriptor: &'a InUse<'a>,
    pub(super) is_socket: bool,
}

enum Failure {
    /// Between two messages.
    End,
    /// Inside a message.
    EndInside,
    BadLength,
    Watch(WatchError),
}

impl From<WatchError> for Failure {
    fn from(e: WatchError) -> Self {
        Self::Watch(e)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Watch(WatchError::Io(e))
    }
}

/// The initial buffer size: a length sent by an untrusted peer is not believed before that many bytes arrive.
const FIRST_ROOM: usize = 64 * 1024;

impl Stream<'_> {
    pub(super) fn send_bytes(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<()> {
        let mut header = [0; 12];
        let header = match i32::try_from(bytes.len()) {
            Ok(len) => {
                header[..4].copy_from_slice(&len.to_be_bytes());
                &header[..4]
            }
            Err(_) => {
                header[..4].copy_from_slice(&(-1i32).to_be_bytes());
                header[4..].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
                &header[..]
            }
        };
        wait_outside(py, Deadline::NEVER, |p| self.put(header, bytes, p))?.map_err(|e| self.failed(e))
    }

    /// Writes both parts completely.
    fn put(&self, mut header: &[u8], mut bytes: &[u8], patience: &Patience<'_>) -> Result<(), Failure> {
        let write = if self.is_socket { socket::send } else { socket::write };
        self.look()?;
        loop {
            match write(self.descriptor.as_fd(), header, bytes) {
                Ok(n) => {
                    let of_header = n.min(header.len());
                    (header, bytes) = (&header[of_header..], &bytes[n - of_header..]);
                    if header.is_empty() && bytes.is_empty() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    sleep_on(&mut [Watch::writable(self.descriptor.number())], patience)?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => patience.slept().map_err(WatchError::Stopped)?,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Returns None if the message is longer than `limit`. Only its length has been read then.
    pub(super) fn receive(&self, py: Python<'_>, limit: Option<usize>) -> PyResult<Option<Incoming>> {
        let mut scratch = Scratch::take();
        let buffer: &mut Vec<u8> = &mut scratch;
        match wait_outside(py, Deadline::NEVER, |p| self.get_message(buffer, limit, p))? {
            Ok(()) => Ok(Some(Incoming::Bytes { scratch, start: 0 })),
            Err(Failure::BadLength) => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn get_message(&self, to: &mut Vec<u8>, limit: Option<usize>, patience: &Patience<'_>) -> Result<(), Failure> {
        self.look()?;
        if !self.has_input() {
            spin_on_calls(|| self.has_input());
        }
        let len = match i32::from_be_bytes(self.get_number(to, patience)?) {
            -1 => match self.get_number(to, patience) {
                Ok(len) => usize::try_from(u64::from_be_bytes(len)).map_err(|_| Failure::BadLength)?,
                Err(Failure::End) => return Err(Failure::EndInside),
                Err(e) => return Err(e),
            },
            len => usize::try_from(len).map_err(|_| Failure::BadLength)?,
        };
        if limit.is_some_and(|limit| len > limit) {
            return Err(Failure::BadLength);
        }
        to.clear();
        match self.get(to, len, patience) {
            Err(Failure::End) => Err(Failure::EndInside),
            other => other,
        }
    }

    fn get_number<const N: usize>(&self, to: &mut Vec<u8>, patience: &Patience<'_>) -> Result<[u8; N], Failure> {
        to.clear();
        self.get(to, N, patience)?;
        Ok(std::array::from_fn(|i| to[i]))
    }

    /// Reads `len` bytes.
    fn get(&self, to: &mut Vec<u8>, len: usize, patience: &Patience<'_>) -> Result<(), Failure> {
        let fd = self.descriptor.as_fd();
        while to.len() < len {
            if !self.is_socket && !self.has_input() {
                sleep_on(&mut [Watch::readable(fd.as_raw_fd())], patience)?;
                continue;
            }
            let most = (len - to.len()).min(to.len().max(FIRST_ROOM));
            let got = if self.is_socket { socket::receive(fd, to, most) } else { socket::read(fd, to, most) };
            match got {
                Ok(0) if to.is_empty() => return Err(Failure::End),
                Ok(0) => return Err(Failure::EndInside),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    sleep_on(&mut [Watch::readable(fd.as_raw_fd())], patience)?
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => patience.slept().map_err(WatchError::Stopped)?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// If the program closed our descriptor, the file that now has its number must not be written to or read from.
    fn look(&self) -> Result<(), Failure> {
        self.descriptor.known().get().map(drop).map_err(|lost| io::Error::from(lost).into())
    }

    fn has_input(&self) -> bool {
        // If this check fails, reading reports the reason.
        !matches!(socket::poll(&mut [Watch::readable(self.descriptor.number())], Duration::ZERO), Ok(0))
    }

    fn failed(&self, e: Failure) -> PyErr {
        match e {
            _ if self.descriptor.is_closed() => closed(),
            // The signal handler's own exception takes precedence over this one.
            Failure::Watch(WatchError::Stopped(_)) => PyKeyboardInterrupt::new_err(()),
            Failure::BadLength => PyOSError::new_err("bad message length"),
            _ if !self.descriptor.known().is_ours() => errors::descriptor_lost(self.descriptor.known().lost()),
            Failure::End => PyEOFError::new_err(()),
            Failure::EndInside => PyOSError::new_err("got end of file during message"),
            Failure::Watch(WatchError::Io(e)) => errors::os(e),
        }
    }
}
