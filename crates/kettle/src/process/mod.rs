//! Processes: start them, watch them, learn what became of them.
//!
//! ```text
//! start:   reserve a place in the session ─► write the start message into the child's mailbox ─► posix_spawn of this
//!          very program, with the session's memory and the read end of a life pipe as inherited descriptors
//! child:   before main ─► tie its life to the pipe ─► join the session ─► take the place
//!          ─► read the start message ─► run the task ─► write the outcome into the mailbox ─► exit
//! parent:  the child's pidfd is readable ─► reap ─► read the outcome, if there is one
//! ```
//!
//! The mailbox is a queue in shared memory; there is no thread in between, and no limit to what a task returns.

mod builder;
mod entry;
mod environment;
mod error;
mod handle;
mod limits;
mod stdio;
mod supervisor;
mod task;

pub use builder::Builder;
pub(crate) use entry::take_inherited;
pub use entry::{Current, current, init};
pub use error::{JoinError, StartError};
pub use handle::Process;
pub use limits::Limit;
pub use stdio::Stdio;
pub(crate) use supervisor::SIGKILL;
pub use supervisor::active_children;
#[doc(hidden)]
pub use task::{Answer, Arguments, Entry, Harness, Setup, must_be_sendable};
