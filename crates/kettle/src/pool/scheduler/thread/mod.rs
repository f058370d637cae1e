//! Workers that are threads, which take tasks from the jobs themselves.
//!
//! | part | purpose |
//! |---|---|
//! | [`LocalQueue`] | the tasks that a worker has claimed, and that others can steal |
//! | [`Timeouts`] | running tasks with a time limit, and the watchdog's wait for them |
//!
//! The scheduler's `README.md` describes where a task can be, and under which lock it moves.

mod local_queue;
mod timeouts;

pub use local_queue::{Claim, Context, LocalQueue, LocalQueues};
pub use timeouts::{TimeLimit, Timeouts};
