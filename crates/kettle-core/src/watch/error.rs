//! Why a session cannot be read.

use core::fmt;
use std::io;

/// Why a session cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// There is no process with this ID.
    NoProcess(u32),
    /// The process has no session of this library.
    NoSession(u32),
    /// The kernel does not let this user look at the process.
    NotAllowed(u32),
    /// The file cannot be read.
    Read(io::Error),
    /// The file is not an arena.
    NotAnArena,
    /// The session belongs to another version of the library, with another layout of its memory.
    OtherVersion {
        /// The layout of the session.
        found: u32,
        /// The layout that this version can read.
        expected: u32,
    },
}

impl From<io::Error> for WatchError {
    fn from(e: io::Error) -> Self {
        Self::Read(e)
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::NoSession(pid) => write!(
                f,
                "process {pid} has no session: it does not use Kettle, or has not used anything yet that needs shared \
                 memory"
            ),
            Self::NotAllowed(pid) => write!(
                f,
                "not allowed to look at process {pid}: it belongs to another user, or has made itself unreadable; run \
                 this as its user, or as root"
            ),
            Self::Read(e) => write!(f, "cannot read the session's memory: {e}"),
            Self::NotAnArena => f.write_str("the file is not the memory of a session"),
            Self::OtherVersion { found, expected } => write!(
                f,
                "the session has memory layout {found}, and this version of Kettle reads layout {expected}: use the \
                 `kettle` of the program's own environment"
            ),
        }
    }
}

impl std::error::Error for WatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(e) => Some(e),
            _ => None,
        }
    }
}
