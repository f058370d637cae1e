//! What can go wrong with a pool, in pieces that fit the operation.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Unsendable;
use crate::error::{EncodeError, OutOfMemory, SessionDamaged};

/// Why a task has no result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    Panicked(Panic),
    /// Its worker died while it ran. Tasks that had not begun ran elsewhere, and the pool has a new worker.
    WorkerDied(WorkerDied),
    /// It took longer than it may, and was ended.
    TimedOut {
        /// The function.
        task: String,
        /// How long it might take.
        timeout: Duration,
    },
    /// It was cancelled, or its pool was terminated.
    Cancelled {
        /// The function.
        task: String,
    },
    /// It was never begun.
    Refused(SubmitError),
    /// Arguments or result did not survive the way: the text says which, and why.
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

/// A panic in a worker.
#[derive(Clone, Serialize, Deserialize)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// Where: `file:line:column`. `None` if the task has set a panic hook of its own.
    pub location: Option<String>,
    pub(super) backtrace: String,
}

impl Panic {
    /// The message of the panic, which is the field of that name too.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The calls that led to it, as far as the program's symbols tell; empty if the task has set a panic hook of its own.
    pub fn backtrace(&self) -> &str {
        &self.backtrace
    }
}

impl std::error::Error for Panic {}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.location.as_ref().map_or(Ok(()), |location| write!(f, " (at {location})"))
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// The worker of a task died: it was killed, crashed, aborted, or called `exit`.
#[derive(Clone, Debug)]
pub struct WorkerDied {
    /// The task's function.
    pub task: String,
    /// The number of the worker's process.
    pub pid: u32,
    /// How it ended; `None` if that cannot be found out.
    pub status: Option<ExitStatus>,
    /// The pool ended it itself, since it had taken too much memory.
    pub too_big: bool,
}

impl WorkerDied {
    /// The signal that ended it, if one did.
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

/// Why a task was not taken in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubmitError {
    /// The pool takes no more tasks: it was closed or terminated.
    Closed,
    /// The arguments cannot be turned into bytes.
    Encode(EncodeError),
    /// There is no shared memory.
    OutOfMemory(OutOfMemory),
    /// The pool has no workers and gets none.
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

/// Why a pool has no workers. It stays so.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Broken {
    /// The initializer panicked.
    Initializer(Panic),
    /// Several workers in a row died before they were ready, the last one like this.
    WorkersDie {
        /// The number of its process.
        pid: u32,
        /// How it ended.
        status: Option<ExitStatus>,
    },
    /// No process can be started: the text says why.
    NoProcess(String),
    /// A result was there that this process had no memory for, or no address space to map.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
    /// A thread panicked while it worked for the pool; what it had received may be lost.
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
