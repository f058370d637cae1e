//! The errors of a process.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::codec::Unsendable;
use crate::error::{DecodeError, EncodeError, OutOfMemory};

/// Why a process was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The child, which is this program again, would not know what it is: it is a program of something else that has
    /// loaded this code as a library, or one of the few that need [`kettle::init`](crate::init) and do not begin with
    /// it.
    NotInitialised,
    /// This program has rights that the one who started it does not have (it is set-user-id, say). It does not believe
    /// a command line, so it could not be its own child.
    Privileged,
    /// The arguments cannot be encoded.
    Encode(EncodeError),
    /// There is not enough shared memory.
    OutOfMemory(OutOfMemory),
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInitialised => f.write_str(
                "this program cannot be its own child: if it has loaded this code as a library, name another one by \
                 Builder::program; if it is linked statically, let main begin with kettle::init() (and tests have \
                 kettle::init_in_tests!())",
            ),
            Self::Privileged => f.write_str(
                "a program that is set-user-id, set-group-id or has capabilities of its own can start no process by this \
                 library; start one by std::process::Command, which gives up these rights and then calls kettle::init()",
            ),
            Self::Encode(e) => write!(f, "the arguments: {e}"),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Io(e) => write!(f, "the system did not start the process: {e}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<OutOfMemory> for StartError {
    fn from(e: OutOfMemory) -> Self {
        Self::OutOfMemory(e)
    }
}

impl From<Unsendable> for StartError {
    fn from(e: Unsendable) -> Self {
        match e {
            Unsendable::Encode(e) => Self::Encode(e),
            Unsendable::OutOfMemory(e) => Self::OutOfMemory(e),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Why a process has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// Its task panicked.
    Panicked {
        /// The panic message.
        message: String,
    },
    /// Its program ended by itself before its task began.
    NeverBegan {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// It ended before its task did: it was killed, aborted, or called `exit`.
    Died {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// The arguments or the result could not be transferred, for the reason given.
    Lost(String),
    /// Its exit status cannot be determined.
    Io(io::Error),
}

impl JoinError {
    /// Returns the signal that ended the process, if any.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Died { status, .. } => status.signal(),
            _ => None,
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { message } => write!(f, "the task panicked: {message}"),
            Self::NeverBegan { name, pid, status } => write!(
                f,
                "process {name} (pid {pid}) ended before its task began: {status}; what it wrote to stderr may say why \
                 (a program that needs kettle::init() calls it before anything else in main)"
            ),
            Self::Died { name, pid, status } => {
                write!(f, "process {name} (pid {pid}) ended before its task did: {status}")
            }
            Self::Lost(why) => f.write_str(why),
            Self::Io(e) => write!(f, "how the process ended cannot be found out: {e}"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<DecodeError> for JoinError {
    fn from(e: DecodeError) -> Self {
        Self::Lost(format!("the result: {}", e.0))
    }
}
