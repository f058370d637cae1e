//! Process pools: Python's tasks over the engine of `kettle::pool`.
//!
//! | module | what it is |
//! |---|---|
//! | `desk` | what a worker needs to come to its desk |
//! | `tasks` | how calls, chunks and outcomes stand in messages |
//! | `worker` | the child's loop |
//! | `job` | what was asked for at once: a call, a map, an imap; and its results |
//! | `crew` | the parent's side: sends, receives, completes, for all threads that wait |

mod crew;
mod desk;
mod job;
mod results;
mod tasks;
mod worker;

pub(crate) use crew::Crew;
pub(crate) use desk::Desk;
pub(crate) use job::Job;
pub(crate) use worker::Worker;
