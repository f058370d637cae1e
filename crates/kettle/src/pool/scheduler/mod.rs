//! What a pool is made of, whatever language its tasks are written in and whatever runs them.
//!
//! | part | what it is |
//! |---|---|
//! | [`PendingTasks`] | which tasks of a job are still to be sent, in chunks of which length |
//! | [`Completion`] | what threads wait for |
//! | [`Lead`] | of all threads that wait for results, one does the work for all |
//! | [`process`] | workers that are processes |
//!
//! Nothing here knows what a task means: a front gives tasks in and gets outcomes out.

mod completion;
mod leader;
mod pending;
pub mod process;

pub use completion::Completion;
pub use leader::{HeldLead, Lead};
pub use pending::{Chunking, PendingTasks, Span};
