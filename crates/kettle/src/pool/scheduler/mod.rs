//! What a pool is made of, whatever language its tasks are written in and whatever runs them.
//!
//! | part | what it is |
//! |---|---|
//! | [`PendingTasks`] | which tasks of a job are still to be sent, in chunks of which length |
//! | [`Completion`] | what threads wait for |
//! | [`Lead`] | of all threads that wait for results, one does the work for all |
//! | [`Lifecycle`] | whether a pool takes tasks, does them, or is over |
//! | [`Counts`] | what became of its tasks |
//! | [`Locking`] | how a thread waits for a lock |
//! | [`process`] | workers that are processes |
//! | [`thread`] | workers that are threads |
//!
//! Nothing here knows what a task means: a front gives tasks in and gets outcomes out.

mod completion;
mod leader;
mod lifecycle;
mod locking;
mod pending;
pub mod process;
mod statistics;
pub mod thread;

pub use completion::Completion;
pub use leader::{HeldLead, Lead};
pub use lifecycle::Lifecycle;
pub use locking::{Blocking, Locking};
pub use pending::{Chunking, PendingTasks, Span};
pub use statistics::{Counts, Statistics};
