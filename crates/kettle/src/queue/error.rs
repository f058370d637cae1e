//! The errors of a queue.

use std::fmt;
use std::process;

use crate::codec::Unsendable;
use crate::error::{DecodeError, EncodeError, OutOfMemory, SessionDamaged};
use crate::queue::message::Refusal;

/// Why an item was not put. The error contains the item.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// The queue is full, or stayed full until the time limit.
    Full(T),
    /// The queue was shut down and accepts no more items.
    ShutDown(T),
    /// The item cannot be encoded.
    Encode(T, EncodeError),
    /// There is no memory for it.
    OutOfMemory(T, OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(T, SessionDamaged),
}

impl<T> PutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item)
            | Self::ShutDown(item)
            | Self::Encode(item, _)
            | Self::OutOfMemory(item, _)
            | Self::Damaged(item, _) => item,
        }
    }

    pub(crate) fn unsendable(item: T, why: Unsendable) -> Self {
        match why {
            Unsendable::Encode(e) => Self::Encode(item, e),
            Unsendable::OutOfMemory(e) => Self::OutOfMemory(item, e),
        }
    }

    pub(crate) fn refused(item: T, why: Refusal) -> Self {
        match why {
            Refusal::Full => Self::Full(item),
            Refusal::ShutDown => Self::ShutDown(item),
            Refusal::OutOfMemory(e) => Self::OutOfMemory(item, e),
            Refusal::Damaged => Self::Damaged(item, SessionDamaged::found()),
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::ShutDown(_) => f.write_str("ShutDown(..)"),
            Self::Encode(_, e) => f.debug_tuple("Encode").field(&format_args!("..")).field(e).finish(),
            Self::OutOfMemory(_, e) => f.debug_tuple("OutOfMemory").field(&format_args!("..")).field(e).finish(),
            Self::Damaged(_, e) => f.debug_tuple("Damaged").field(&format_args!("..")).field(e).finish(),
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the queue is full"),
            Self::ShutDown(_) => f.write_str("the queue was shut down"),
            Self::Encode(_, e) => e.fmt(f),
            Self::OutOfMemory(_, e) => e.fmt(f),
            Self::Damaged(_, e) => e.fmt(f),
        }
    }
}

impl<T> std::error::Error for PutError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(_, e) => Some(e),
            Self::OutOfMemory(_, e) => Some(e),
            Self::Damaged(_, e) => Some(e),
            _ => None,
        }
    }
}

/// Why no item was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// The queue is empty, or stayed empty until the time limit.
    Empty,
    /// The queue was shut down, and all its items have been taken.
    ShutDown,
    /// A message was taken that is not an item of this queue.
    Decode(DecodeError),
    /// There is an item, and this process has no memory for it, or no address space to map it; or there is no memory to
    /// note what one more process takes from a [`JoinableQueue`](crate::JoinableQueue). The item stays.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the queue is empty"),
            Self::ShutDown => f.write_str("the queue was shut down"),
            Self::Decode(e) => e.fmt(f),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for GetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}

impl From<kettle_core::queue::GetError> for GetError {
    fn from(e: kettle_core::queue::GetError) -> Self {
        match e {
            kettle_core::queue::GetError::ShutDown => Self::ShutDown,
            kettle_core::queue::GetError::Damaged => Self::Damaged(SessionDamaged::found()),
            kettle_core::queue::GetError::Empty | kettle_core::queue::GetError::Interrupted => Self::Empty,
            kettle_core::queue::GetError::Exhausted(e) => Self::OutOfMemory(e.into()),
        }
    }
}

/// Why the items of a [`JoinableQueue`](crate::JoinableQueue) are not all done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// Some are still being processed.
    TimedOut,
    /// A process died with items that it had taken and not finished; or, in a queue between threads, threads panicked
    /// with items in a [`Taken`](super::Taken). The items count as done from now on.
    ConsumerDied {
        /// The process, which is this one if threads panicked; `None` if its number is no longer known.
        pid: Option<u32>,
        /// The number of its unfinished items.
        unfinished: u32,
    },
    /// This process has no address space to map what others noted.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("some items are not done yet"),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
            Self::ConsumerDied { pid, unfinished } => {
                match pid {
                    // The reader is alive, so a thread panicked.
                    Some(pid) if *pid == process::id() => f.write_str("threads of this process panicked")?,
                    Some(pid) => write!(f, "process {pid} died")?,
                    None => f.write_str("a process died")?,
                }
                write!(f, " with {unfinished} unfinished item(s) of this queue; put them again if they matter")
            }
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}

/// More items were marked as done than were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

impl fmt::Display for TooManyDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done() was called more often than items were put")
    }
}

impl std::error::Error for TooManyDone {}
