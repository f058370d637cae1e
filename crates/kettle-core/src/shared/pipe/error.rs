//! Why a send fails.

use std::io;

use crate::queue::Exhausted;
use crate::wait::{Stopped, WatchError};

/// Why a send failed.
#[derive(Debug)]
pub enum SendError {
    /// The other end is closed.
    Closed,
    /// The wait ended; nothing was sent.
    Stopped(Stopped),
    /// There is no memory for the message.
    Exhausted(Exhausted),
    /// A system call failed.
    Io(io::Error),
}

impl From<WatchError> for SendError {
    fn from(e: WatchError) -> Self {
        match e {
            WatchError::Stopped(stopped) => Self::Stopped(stopped),
            WatchError::Io(e) => Self::Io(e),
        }
    }
}
