//! Pools of processes, which do Python's tasks over the engine of `kettle::pool`, and of threads, which share its jobs.
//!
//! | module | what it is |
//! |---|---|
//! | `desk` | what a worker needs to come to its desk |
//! | `tasks` | how calls, chunks and outcomes stand in messages |
//! | `worker` | the child's loop |
//! | `job` | what was asked for at once: a call, a map, an imap; and its results |
//! | `ledger` | what crews of both kinds know of their jobs, and do with them |
//! | `threads` | a crew of threads, which take tasks from the jobs themselves |
//! | `crew` | the parent's side: sends, receives, completes, for all threads that wait |

mod crew;
mod desk;
mod job;
mod ledger;
mod results;
mod tasks;
mod threads;
mod worker;

pub(crate) use crew::Crew;
pub(crate) use desk::Desk;
pub(crate) use job::Job;
pub(crate) use threads::ThreadCrew;
pub(crate) use worker::Worker;
