//! Why there is no pipe, and why an item was not sent or received.

use std::fmt;
use std::io;

use kettle_core::shared;
use kettle_core::wait::Stopped;

use crate::error::{DecodeError, EncodeError, OutOfMemory, SessionDamaged};

/// Why there is no pipe.
#[derive(Debug)]
#[non_exhaustive]
pub enum PipeError {
    /// There is no shared memory.
    OutOfMemory(OutOfMemory),
    /// The system refused: descriptors have run out, say.
    Io(io::Error),
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Io(e) => write!(f, "the system gave no pipe: {e}"),
        }
    }
}

impl std::error::Error for PipeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfMemory(e) => Some(e),
            Self::Io(e) => Some(e),
        }
    }
}

/// Why an item was not sent. It is handed back.
#[non_exhaustive]
pub enum SendError<T> {
    /// The other end no longer exists.
    Closed(T),
    /// The pipe is full, or stayed so for as long as the caller would wait.
    Full(T),
    /// The item cannot be turned into bytes.
    Encode(T, EncodeError),
    /// There is no memory for it.
    OutOfMemory(T, OutOfMemory),
    /// The system refused.
    Io(T, io::Error),
    /// The session's shared memory is damaged.
    Damaged(T, SessionDamaged),
}

impl<T> SendError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Closed(item)
            | Self::Full(item)
            | Self::Encode(item, _)
            | Self::OutOfMemory(item, _)
            | Self::Io(item, _)
            | Self::Damaged(item, _) => item,
        }
    }

    pub(super) fn new(item: T, why: shared::SendError) -> Self {
        match why {
            shared::SendError::Closed => Self::Closed(item),
            shared::SendError::Stopped(Stopped::Damaged) => Self::Damaged(item, SessionDamaged::found()),
            shared::SendError::Stopped(Stopped::NoPart) => Self::OutOfMemory(item, OutOfMemory::no_part()),
            shared::SendError::Stopped(Stopped::TimedOut | Stopped::Interrupted) => Self::Full(item),
            shared::SendError::Exhausted(e) => Self::OutOfMemory(item, e.into()),
            shared::SendError::Io(e) => Self::Io(item, e),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(_) => f.write_str("the other end of the pipe is closed"),
            Self::Full(_) => f.write_str("the pipe is full"),
            Self::Encode(_, e) => e.fmt(f),
            Self::OutOfMemory(_, e) => e.fmt(f),
            Self::Io(_, e) => write!(f, "the system refused to send: {e}"),
            Self::Damaged(_, e) => e.fmt(f),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({self})")
    }
}

impl<T> std::error::Error for SendError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(_, e) => Some(e),
            Self::OutOfMemory(_, e) => Some(e),
            Self::Io(_, e) => Some(e),
            Self::Damaged(_, e) => Some(e),
            _ => None,
        }
    }
}

/// Why nothing was received.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// The other end no longer exists, and everything that it sent was received.
    Closed,
    /// Nothing is there, or came for as long as the caller would wait.
    Empty,
    /// A message was received that is none of this pipe's.
    Decode(DecodeError),
    /// This process has no memory for the next message, or no address space to map it. It is received later.
    OutOfMemory(OutOfMemory),
    /// The system refused.
    Io(io::Error),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the pipe has ended: its other end is closed"),
            Self::Empty => f.write_str("the pipe is empty"),
            Self::Decode(e) => e.fmt(f),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Io(e) => write!(f, "the system refused to receive: {e}"),
            Self::Damaged(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for RecvError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Io(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}
