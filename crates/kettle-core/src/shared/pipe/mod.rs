//! Pipes whose messages arrive whole or not at all, even if processes die.
//!
//! A pipe is a pair of stream sockets and a [`Channel`] in the arena. Each message has a record of its own (except in a
//! backlog, below), so a descriptor is readable exactly when there is a message (or the end). A program may also use
//! the descriptors like those of any other stream, for example redirect a child's output into one and read lines from
//! the other. Short messages travel in their records. For a long one, the sender puts its blocks into the channel's
//! queue and then sends a record that announces them.
//!
//! *Order.* One lock covers putting and announcing; another covers receiving a record and taking what it announces.
//! Entries are therefore announced in queue order. A sender that dies between its two steps leaves an entry that is
//! never announced; the next announcement has a higher number, and the entries before it are dropped. A receiver that
//! dies between its two steps has lost its message, as if it had died right after; the entry is dropped likewise. A
//! receiver that cannot map what was announced records that, for the next receiver to find.
//!
//! *Backlog.* When the socket is full, further messages go into the queue without a record of their own, as far as
//! back-pressure allows: see `backlog.rs`.
//!
//! *Back-pressure.* Records of long messages are tiny, so the socket alone would let a sender fill the arena. Both
//! sides publish the total number of bytes they have handled; the sender waits while too many are in flight. Each
//! record carries the sender's total, which the receiver copies, so any error caused by a death is corrected with the
//! next message; and if the socket holds no unreceived data, nothing is in flight, whatever the totals say.

mod backlog;
mod channel;
mod error;
mod lane;
mod receive;
mod record;
mod send;

use std::io;
use std::os::fd::OwnedFd;

use crate::arena::{ArenaError, Handle};
use crate::damage;
use crate::queue::{INLINE_MAX, Queue};
use crate::shared::Processes;
use crate::sync::Home;
use crate::sys::descriptor::KnownFd;
use crate::sys::socket;
use crate::wait::Stopped;

pub use channel::Channel;
pub use error::SendError;
pub use lane::Lanes;
pub use receive::{Posted, ReceiveError, Received};
pub use record::{IN_RECORD, RECORD_HEADER};

/// One end of a pipe for the duration of an operation: a socket, and its end of the channel if known.
#[derive(Clone, Copy, Debug)]
pub struct PipeEnd<'a> {
    /// The socket.
    pub socket: &'a KnownFd,
    /// The channel. Without it, only short messages can be sent or received.
    pub channel: Option<&'a Channel>,
}

impl PipeEnd<'_> {
    /// Whether a message of this length should be sent by [`send`](Self::send).
    pub fn takes_short(&self, len: usize) -> bool {
        len <= if self.channel.is_some() { INLINE_MAX } else { IN_RECORD }
    }

    /// Checks that this end's part of the arena can be relied on.
    fn check(&self) -> Result<(), Stopped> {
        match self.channel.is_some() && damage::is_marked(Processes::SCOPE) {
            true => Err(Stopped::Damaged),
            false => Ok(()),
        }
    }
}

/// Creates a pipe: two sockets, each with its end of the channel.
///
/// # Errors
/// If there is no memory or no descriptor.
pub fn pipe() -> Result<[(OwnedFd, Channel); 2], PipeError> {
    let queue = || Handle::new(|| Queue::new(0, false));
    let lanes = Handle::new(Lanes::new).map_err(PipeError::Arena)?;
    let queues = [queue().map_err(PipeError::Arena)?, queue().map_err(PipeError::Arena)?];
    let (a, b) = socket::record_pair().map_err(PipeError::Io)?;
    let channel = Channel { lanes, queues, end: 0 };
    Ok([(a, channel.clone()), (b, Channel { end: 1, ..channel })])
}

/// Why a pipe was not created.
#[derive(Debug)]
pub enum PipeError {
    /// The arena failed.
    Arena(ArenaError),
    /// A system call failed.
    Io(io::Error),
}
