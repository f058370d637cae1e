//! tour
#![forbid(unsafe_code)]

mod bytes;
mod codec;
mod error;
pub mod process;
mod queue;
mod session;
pub use bytes::Bytes;
pub use error::{AcquireError, DecodeError, EncodeError, HeldByTheLiving, OutOfMemory, OwnerDied};
pub use process::{Builder, Process, StartError, init};
pub use queue::{GetError, JoinError, JoinableQueue, PutError, Queue, QueueStatistics, SimpleQueue, TooManyDone};

/// For the macros.
#[doc(hidden)]
pub mod __private {
    pub use crate::process::{Entry, Harness};
    pub use inventory;
}
