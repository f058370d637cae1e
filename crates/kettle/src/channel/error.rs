//! Why an item was not sent or received.

use std::error::Error;
use std::fmt;

use crate::error::{DecodeError, EncodeError, OutOfMemory, SessionDamaged};
use crate::queue::{GetError, PutError};

/// Why an item was not sent. It is handed back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// There are no receivers left: all were dropped, or their processes died.
    Disconnected(T),
    /// The channel is full, or stayed so for as long as the caller would wait.
    Full(T),
    /// The item cannot be turned into bytes.
    Encode(T, EncodeError),
    /// There is no memory for it.
    OutOfMemory(T, OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(T, SessionDamaged),
}

impl<T> SendError<T> {
    /// The item.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel()?;
    /// drop(receiver);
    /// assert_eq!(sender.send(5).unwrap_err().into_inner(), 5);
    /// # Ok::<(), kettle::OutOfMemory>(())
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Disconnected(item)
            | Self::Full(item)
            | Self::Encode(item, _)
            | Self::OutOfMemory(item, _)
            | Self::Damaged(item, _) => item,
        }
    }

    /// Whether no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }

    /// Whether the channel had no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<T> From<PutError<T>> for SendError<T> {
    fn from(e: PutError<T>) -> Self {
        match e {
            PutError::Full(item) => Self::Full(item),
            PutError::ShutDown(item) => Self::Disconnected(item),
            PutError::Encode(item, e) => Self::Encode(item, e),
            PutError::OutOfMemory(item, e) => Self::OutOfMemory(item, e),
            PutError::Damaged(item, e) => Self::Damaged(item, e),
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(_) => f.write_str("the channel has no receiver any more"),
            Self::Full(_) => f.write_str("the channel is full"),
            Self::Encode(_, e) => e.fmt(f),
            Self::OutOfMemory(_, e) => e.fmt(f),
            Self::Damaged(_, e) => e.fmt(f),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendError({self})")
    }
}

impl<T> Error for SendError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disconnected(_) | Self::Full(_) => None,
            Self::Encode(_, e) => Some(e),
            Self::OutOfMemory(_, e) => Some(e),
            Self::Damaged(_, e) => Some(e),
        }
    }
}

/// Why nothing was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// There are no senders left (all were dropped, or their processes died), and everything that they sent was
    /// received.
    Disconnected,
    /// Nothing is there, or came for as long as the caller would wait.
    Empty,
    /// A message was received that is no item of this channel. Those behind it follow.
    Decode(DecodeError),
    /// This process has no memory for the next item, or no address space to map it. The item stays.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl RecvError {
    /// Whether no sender is left, and nothing that they sent.
    pub fn is_disconnected(&self) -> bool {
        *self == Self::Disconnected
    }

    /// Whether nothing was there.
    pub fn is_empty(&self) -> bool {
        *self == Self::Empty
    }
}

impl From<GetError> for RecvError {
    fn from(e: GetError) -> Self {
        match e {
            GetError::Empty => Self::Empty,
            GetError::ShutDown => Self::Disconnected,
            GetError::Decode(e) => Self::Decode(e),
            GetError::OutOfMemory(e) => Self::OutOfMemory(e),
            GetError::Damaged(e) => Self::Damaged(e),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the channel is empty and has no sender any more"),
            Self::Empty => f.write_str("the channel is empty"),
            Self::Decode(e) => e.fmt(f),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
        }
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disconnected | Self::Empty => None,
            Self::Decode(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
        }
    }
}
