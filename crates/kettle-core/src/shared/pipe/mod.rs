//! Pipes whose messages are whole or absent, whoever dies.
//!
//! A pipe is a pair of stream sockets and a [`Channel`] in the arena. Each message is one record, so a descriptor is
//! readable exactly when a message (or the end) is there. A program may also use the descriptors as those of any other
//! stream: redirect a child's output into one and read lines from the other, say. Short messages travel in their record.
//! For a long one, the sender puts its blocks into the channel's queue and then sends a record that announces them.
//!
//! *Order.* Putting and announcing happen under one lock, taking a record and what it announces under another, so
//! entries are announced in the order of the queue. A sender that dies between the two steps leaves an entry that
//! nobody announces: the next announcement has a higher number, and what stands before it is dropped. A receiver that
//! dies between its two steps has lost its message, as if it had died after; the entry is dropped likewise. One that
//! cannot map what was announced leaves a note of it, which the next receiver finds.
//!
//! *Back-pressure.* Records of long messages are tiny, so the socket alone would let a sender fill the arena. Both
//! sides publish how many bytes they have seen in all; the sender waits while too many are on their way. Each record
//! carries the sender's sum, and the receiver copies it, so whatever a death made wrong is right again with the next
//! message; and if the socket holds nothing unreceived, nothing is on its way, whatever the sums say.

mod channel;
mod lane;
mod receive;
mod record;
mod send;

use std::io;
use std::os::fd::OwnedFd;

use crate::arena::{ArenaError, Handle};
use crate::damage;
use crate::queue::Queue;
use crate::shared::Processes;
use crate::sync::Home;
use crate::sys::descriptor::KnownFd;
use crate::sys::socket;
use crate::wait::Stopped;

pub use channel::Channel;
pub use lane::Lanes;
pub use receive::{Posted, ReceiveError, Received};
pub use record::{IN_RECORD, RECORD_HEADER};
pub use send::SendError;

/// One end of a pipe while something is done with it: a socket, and its end of the channel if it is known.
#[derive(Clone, Copy, Debug)]
pub struct PipeEnd<'a> {
    /// The socket.
    pub socket: &'a KnownFd,
    /// Without it, only short messages pass.
    pub channel: Option<&'a Channel>,
}

impl PipeEnd<'_> {
    /// Whether [`send`](Self::send) is the way for a message of so many bytes. Where there is a channel, a longer one is
    /// sent with less work through that than in two parts, which is how a record of that length is received.
    pub fn takes_in_record(&self, len: usize) -> bool {
        len <= if self.channel.is_some() { record::WORTH_TWO_PARTS } else { IN_RECORD }
    }

    /// Whether what this end has in the arena can be relied on.
    fn check(&self) -> Result<(), Stopped> {
        match self.channel.is_some() && damage::is_marked(Processes::SCOPE) {
            true => Err(Stopped::Damaged),
            false => Ok(()),
        }
    }
}

/// The two sockets of a new pipe, each with its end of the channel.
///
/// # Errors
/// When there is no memory or no descriptor.
pub fn pipe() -> Result<[(OwnedFd, Channel); 2], PipeError> {
    let queue = || Handle::new(|| Queue::new(0, false));
    let lanes = Handle::new(Lanes::new).map_err(PipeError::Arena)?;
    let queues = [queue().map_err(PipeError::Arena)?, queue().map_err(PipeError::Arena)?];
    let (a, b) = socket::record_pair().map_err(PipeError::Io)?;
    let channel = Channel { lanes, queues, end: 0 };
    Ok([(a, channel.clone()), (b, Channel { end: 1, ..channel })])
}

/// Why there is no pipe.
#[derive(Debug)]
pub enum PipeError {
    /// The arena refused.
    Arena(ArenaError),
    /// The system refused.
    Io(io::Error),
}
