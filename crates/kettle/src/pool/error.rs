//! The errors of a pool, one type for each kind of operation.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::codec::Unsendable;
use crate::error::{EncodeError, OutOfMemory, SessionDamaged};
use crate::panic::Panic;

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    Panicked(Panic),
    /// Its worker died while it ran. Tasks that had not begun ran elsewhere, and the pool has a new worker.
    WorkerDied(WorkerDied),
    /// It exceeded its time limit and was ended.
    TimedOut {
        /// The function.
        task: String,
        /// The time limit.
        timeout: Duration,
    },
    /// It was cancelled, or its pool was terminated.
    Cancelled {
        /// The function.
        task: String,
    },
    /// It was never begun.
    Refused(SubmitError),
    /// The arguments or the result could not be transferred, for the reason given.
    Lost(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the task panicked: {panic}"),
            Self::WorkerDied(death) => death.fmt(f),
            Self::TimedOut { task, timeout } => write!(f, "the task {task} took longer than {timeout:?}"),
            Self::Cancelled { task } => write!(f, "the task {task} was cancelled"),
            Self::Refused(e) => e.fmt(f),
            Self::Lost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked(e) => Some(e),
            Self::WorkerDied(e) => Some(e),
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

/// The worker of a task died: it was killed, crashed, aborted, or called `exit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerDied {
    /// The task's function.
    pub task: String,
    /// The process id of the worker.
    pub pid: u32,
    /// How it ended; `None` if unknown.
    pub status: Option<ExitStatus>,
    /// Whether the pool ended it because it used too much memory.
    pub too_big: bool,
}

impl WorkerDied {
    /// Returns the signal that ended it, if any.
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }
}

impl fmt::Display for WorkerDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, pid, status, too_big } = self;
        if *too_big {
            return write!(f, "the task {task} was ended with its worker (pid {pid}), which took too much memory");
        }
        write!(f, "the worker of the task {task} (pid {pid}) died")?;
        status.map_or(Ok(()), |status| write!(f, ": {status}"))
    }
}

impl std::error::Error for WorkerDied {}

/// Why a task was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// The pool accepts no more tasks: it was closed or terminated.
    Closed,
    /// The arguments cannot be encoded.
    Encode(EncodeError),
    /// There is not enough shared memory.
    OutOfMemory(OutOfMemory),
    /// The pool has no workers and starts no further ones.
    Broken(Broken),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the pool was closed"),
            Self::Encode(e) => write!(f, "the arguments: {e}"),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}

impl std::error::Error for SubmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Broken(e) => Some(e),
            _ => None,
        }
    }
}

impl From<Unsendable> for SubmitError {
    fn from(e: Unsendable) -> Self {
        match e {
            Unsendable::Encode(e) => Self::Encode(e),
            Unsendable::OutOfMemory(e) => Self::OutOfMemory(e),
        }
    }
}

/// Why a pool has no workers. This state is permanent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The initializer panicked.
    Initializer(Panic),
    /// Several workers in a row died before they were ready. The fields describe the last one.
    WorkersDie {
        /// Its process id.
        pid: u32,
        /// How it ended.
        status: Option<ExitStatus>,
    },
    /// No process can be started, for the reason given.
    NoProcess(String),
    /// A result arrived that this process had no memory for, or no address space to map.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
    /// A thread panicked while it led the pool; results that it had received may be lost.
    Panicked,
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Initializer(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initializer(panic) => write!(f, "the pool's initializer panicked: {panic}"),
            Self::WorkersDie { pid, status } => {
                write!(f, "the pool's workers die before they are ready (the last one was pid {pid})")?;
                status.map_or(Ok(()), |status| write!(f, ": {status}"))
            }
            Self::NoProcess(why) => write!(f, "the pool has no workers: {why}"),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
            Self::Panicked => f.write_str("a thread panicked while it worked for the pool"),
        }
    }
}
