//! Pools of processes, which do Python's tasks over the scheduler of `kettle::pool`, and of threads, which share its jobs.
//!
//! | module | what it is |
//! |---|---|
//! | `job` | what was asked for at once: a call, a map, an imap; its items and its results |
//! | `ledger` | what a crew of either kind knows: its jobs, and how far its own life has come |
//! | `locking` | how its locks are taken |
//! | `crew` | what crews of both kinds do with their jobs |
//! | `threads` | a crew of threads, which take tasks from the jobs themselves |
//! | `processes` | a crew of processes: the parent's side, and the child's |
//! | `tasks` | how calls, chunks and outcomes stand in messages between the two |
//! | `arguments` | of a call |

mod arguments;
mod crew;
mod job;
mod ledger;
mod locking;
mod processes;
mod tasks;
mod threads;

pub(crate) use crew::CrewHandle;
pub(crate) use job::PoolJob;
pub(crate) use processes::{Desk, PoolCrew, Worker};
pub(crate) use threads::ThreadCrew;
