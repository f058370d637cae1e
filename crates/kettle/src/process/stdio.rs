//! The standard streams of a process that is started.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;

use kettle_core::sys::child;

/// What a standard stream of a new process is connected to. See [`Builder::stdin`](crate::Builder::stdin).
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Inherited,
    Null,
    Piped,
    To(OwnedFd),
}

impl Stdio {
    /// The stream of this process.
    pub fn inherit() -> Self {
        Self(Kind::Inherited)
    }

    /// Nothing: what is written is dropped, and reading finds the end.
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// A pipe, whose other end the [`Process`](crate::Process) has.
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }
}

impl Default for Stdio {
    fn default() -> Self {
        Self::inherit()
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self(Kind::To(file.into()))
    }
}

impl From<OwnedFd> for Stdio {
    /// Any descriptor, such as that of a socket or of a pipe of another process.
    fn from(fd: OwnedFd) -> Self {
        Self(Kind::To(fd))
    }
}

/// The direction of a stream, as the new process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A stream that is ready: the end of the new process, and that of this one.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) theirs: Option<OwnedFd>,
    pub(super) ours: Option<OwnedFd>,
}

impl Stdio {
    pub(super) fn open(self, direction: Direction) -> io::Result<Ready> {
        let theirs = match self.0 {
            Kind::Inherited => return Ok(Ready::default()),
            Kind::Null => OpenOptions::new().read(true).write(true).open("/dev/null")?.into(),
            Kind::To(fd) => fd,
            Kind::Piped => {
                let (reader, writer) = child::pipe()?;
                return Ok(match direction {
                    Direction::In => Ready { theirs: Some(above_streams(reader)?), ours: Some(writer) },
                    Direction::Out => Ready { theirs: Some(above_streams(writer)?), ours: Some(reader) },
                });
            }
        };
        Ok(Ready { theirs: Some(above_streams(theirs)?), ours: None })
    }
}

/// The same file at a number that is not that of a standard stream, which another stream may be about to get.
fn above_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    // The standard library duplicates to numbers above these.
    fd.try_clone()
}
