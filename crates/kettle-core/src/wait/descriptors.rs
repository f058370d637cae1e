//! Sleeping on descriptors.

use std::io;

use super::{Patience, Stopped};
use crate::sys::socket::{self, Watch};

/// Why a sleep on descriptors ended other than by a reason to look again.
#[derive(Debug)]
pub enum WatchError {
    /// The wait ended.
    Stopped(Stopped),
    /// The system call failed.
    Io(io::Error),
}

impl From<Stopped> for WatchError {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// Sleeps until one of `watched` is ready, a slice is over, or `patience` runs out. `Ok` means: look again.
///
/// # Errors
/// See [`WatchError`].
pub fn sleep_on(watched: &mut [Watch], patience: &Patience<'_>) -> Result<(), WatchError> {
    match socket::poll(watched, patience.slice()?) {
        Ok(0) => Ok(patience.slept()?),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(patience.slept()?),
        Err(e) => Err(WatchError::Io(e)),
    }
}
