//! The parts of a pool that depend neither on the language of its tasks nor on the kind of its workers.
//!
//! | part | purpose |
//! |---|---|
//! | [`PendingTasks`] | the tasks of a job that are still to be sent, and the length of their chunks |
//! | [`JobTasks`] | the tasks of a job: those that are pending, and the number of those without an outcome |
//! | [`Outcomes`] | the outcomes of a job, in the order in which they are taken |
//! | [`Completion`] | an event that threads wait for |
//! | [`Lead`] | the choice of one thread that works on behalf of all that wait for results |
//! | [`Lifecycle`] | whether a pool accepts tasks, runs them, or is over |
//! | [`Counts`] | the outcomes of its tasks, counted |
//! | [`Locking`] | how a thread waits for a lock |
//! | [`process`] | workers that are processes |
//! | [`thread`] | workers that are threads |
//!
//! Nothing here knows what a task means: a front submits tasks and receives outcomes.

mod completion;
mod job;
mod leader;
mod lifecycle;
mod locking;
mod outcomes;
mod pending;
pub mod process;
mod statistics;
pub mod thread;

pub use completion::Completion;
pub use job::{JobTasks, Want};
pub use leader::{HeldLead, Lead};
pub use lifecycle::Lifecycle;
pub use locking::{Blocking, Locking};
pub use outcomes::{Order, Outcomes};
pub use pending::{Chunking, PendingTasks, Span};
pub use statistics::{Counts, Statistics};
