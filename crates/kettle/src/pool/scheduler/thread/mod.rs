//! Workers that are threads: they take tasks from the jobs by themselves.
//!
//! | part | what it is |
//! |---|---|
//! | [`LocalQueue`] | the tasks that a worker has claimed, and what others may take of them |
//! | [`Timeouts`] | tasks that may take only so long, and the thread that watches them |
//!
//! `README.md` beside these sources says who may have a task when, and under which lock it moves.

mod local_queue;
mod timeouts;

pub use local_queue::{Claim, Context, LocalQueue, LocalQueues};
pub use timeouts::{TimeLimit, Timeouts};
