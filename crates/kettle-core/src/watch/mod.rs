//! Reading the session of other processes from outside: who is in it, who holds what, and who waits.
//!
//! The reader is no participant of the session. It opens the file of the arena through `/proc/PID/fd`, which the kernel
//! permits to the same user without the right to trace, and copies what it needs by `pread`. So it takes no lock, wakes
//! nothing, writes nothing, and needs no help from a process that is stopped, busy, or half dead. Parts of the file
//! that were never written stay without memory, which a mapping would give them.
//!
//! *Trust.* Other processes keep writing meanwhile, and may have written anything: every offset, length and link is
//! checked before it is followed, and each search has a limit. What does not fit is counted in
//! [`unread`](Snapshot::unread) and left out. The page maps are walked by code of this module's own: the arena's treats
//! an inconsistent map as damage, while here it may be in the middle of a change.
//!
//! *Consistency.* An object is read until two copies in a row agree, so that no word of it is torn. Different objects
//! are read at different times. The number of a wait, and the generation of an object, tell whether two snapshots show
//! the same one.
//!
//! | item | content |
//! |---|---|
//! | [`Arena`], [`find`] | the file of a session, and where to find it |
//! | `file`, `walk` | copies of its words, and the objects in it |
//! | `processes`, `objects`, `waits` | the tables of the arena as plain values |
//! | [`Snapshot`] | all of them |

mod error;
mod file;
pub mod find;
mod objects;
mod processes;
mod snapshot;
mod waits;
mod walk;

pub use error::WatchError;
pub use objects::{Content, Lock, Object, Queue};
pub use processes::{Process, ProcessState, Thread};
pub use snapshot::{Arena, Memory, Snapshot};
pub use waits::Wait;
