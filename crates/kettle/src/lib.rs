//! tour
#![forbid(unsafe_code)]

mod array;
mod bytes;
mod codec;
mod error;
mod pipe;
mod plain;
pub mod process;
mod queue;
#[cfg(feature = "tokio")]
mod reactor;
mod session;
pub mod sync;
mod value;
mod wait;
pub use array::{Array, SharedBytes};
pub use bytes::Bytes;
pub use error::{AcquireError, DecodeError, EncodeError, HeldByTheLiving, OutOfMemory, OwnerDied};
pub use pipe::{Connection, PipeError, PipeStatistics, Receiver, RecvError, SendError, Sender, one_way_pipe, pipe};
pub use plain::{Number, Plain};
pub use process::{Builder, Process, StartError, init};
pub use queue::{GetError, JoinError, JoinableQueue, PutError, Queue, QueueStatistics, SimpleQueue, TooManyDone};
pub use sync::{Barrier, BoundedSemaphore, Condition, Event, Lock, LockGuard, OnOwnerDeath, RLock, Semaphore};
pub use value::Value;
pub use wait::{Readable, Waitable, wait};

/// For the macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::process::{Entry, Harness};
    pub use inventory;
}
