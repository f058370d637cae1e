//! The errors of a pool of threads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::panic::Panic;
use crate::pool::scheduler::Counts;

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    Panicked(Panic),
    /// It exceeded its time limit. A thread cannot be ended from outside, so the task continues on a thread that no
    /// longer belongs to the pool; its result is dropped.
    TimedOut {
        /// The type of the closure, which names the function that it was written in.
        task: &'static str,
        /// The time limit.
        timeout: Duration,
    },
    /// It was cancelled before it began, or its pool was terminated.
    Cancelled {
        /// The type of the closure.
        task: &'static str,
    },
    /// It was never begun.
    Refused(SubmitError),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the task panicked: {panic}"),
            Self::TimedOut { task, timeout } => {
                write!(f, "the task {task} takes longer than {timeout:?}; a thread cannot be ended, so it goes on")
            }
            Self::Cancelled { task } => write!(f, "the task {task} was cancelled"),
            Self::Refused(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked(e) => Some(e),
            Self::Refused(e) => Some(e),
            _ => None,
        }
    }
}

impl From<SubmitError> for TaskError {
    fn from(e: SubmitError) -> Self {
        Self::Refused(e)
    }
}

/// Returns the counter for a failure.
pub(super) fn count_of<'c>(counts: &'c Counts, failure: &TaskError) -> &'c AtomicU64 {
    match failure {
        TaskError::Panicked(_) => &counts.failed,
        TaskError::TimedOut { .. } => &counts.timed_out,
        TaskError::Cancelled { .. } | TaskError::Refused(_) => &counts.cancelled,
    }
}

/// Why a task was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// The pool accepts no more tasks: it was closed or terminated.
    Closed,
    /// The pool has no workers and starts no further ones.
    Broken(Broken),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the pool was closed"),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}

impl std::error::Error for SubmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(e) => Some(e),
            _ => None,
        }
    }
}

/// Why a pool has no workers. This state is permanent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The initializer panicked with this message.
    Initializer(Arc<str>),
    /// No thread can be started, for the reason given.
    NoThread(Arc<str>),
}

impl std::error::Error for Broken {}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initializer(message) => write!(f, "the pool's initializer panicked: {message}"),
            Self::NoThread(why) => write!(f, "the pool cannot start a thread: {why}"),
        }
    }
}
