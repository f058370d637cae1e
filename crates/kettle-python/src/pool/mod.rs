//! Process pools, which run Python tasks on the scheduler of `kettle::pool`, and thread pools, which share their job
//! types.
//!
//! | module | what it is |
//! |---|---|
//! | `job` | a unit of submission: a call, a map or an imap, with its items and its results |
//! | `ledger` | the state that both kinds of pool share: jobs and lifecycle |
//! | `locking` | how the locks are taken |
//! | `crew`, `crew_handle` | what both kinds of pool do with their jobs, and what Python holds of them |
//! | `threads` | a pool of threads, which take tasks from the jobs directly |
//! | `processes` | a pool of processes: the parent's side and the child's side |
//! | `tasks` | how calls, chunks and outcomes are encoded in messages between the two sides |
//! | `arguments` | the arguments of a call |

mod arguments;
mod crew;
mod crew_handle;
mod hooks;
mod job;
mod ledger;
mod locking;
mod processes;
mod tasks;
mod threads;

pub(crate) use crew_handle::CrewHandle;
pub(crate) use job::PoolJob;
pub(crate) use processes::{Desk, PoolCrew, Worker};
pub(crate) use threads::ThreadCrew;
