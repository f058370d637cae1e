//! Locks, queues and an arena in shared memory that tolerate the death of any owner at any instruction.
//!
//! The modules are listed bottom up; each depends only on those above it in the table.
//!
//! | module | what it is |
//! |---|---|
//! | [`sys`] | thin wrappers over the operating system, without policy |
//! | [`wait`] | the only place that blocks: a futex word with a deadline, or a doorbell for an event loop |
//! | [`sync`] | locks, conditions, barriers: plain words, independent of where they are stored |
//! | [`queue`] | queue algorithms over memory that the caller provides |
//! | [`arena`] | the memory shared by the processes of a session, and the registry of its participants |
//! | [`shared`] | a primitive *placed*: on the heap for threads, in the arena for processes |
//! | [`deadlock`] | detection of cycles of waiting threads, within and across processes |
//! | [`watch`] | reading the session of other processes from outside |
//! | [`stats`] | snapshots of each primitive's counters |
//! | [`damage`] | detection of impossible values in shared memory |
//!
//! *Death is an ordinary state.* The atomic step that acquires something also records its owner, so a survivor always
//! knows which owner it is waiting for and can check whether that owner is still alive.

#![warn(missing_docs)]

#[cfg(not(loom))]
pub mod arena;
pub mod atomics;
pub mod damage;
#[cfg(not(loom))]
pub mod deadlock;
pub mod queue;
#[cfg(not(loom))]
pub mod shared;
pub mod stats;
pub mod sync;
pub mod sys;
pub mod wait;
#[cfg(not(loom))]
pub mod watch;

mod crash;
mod unwind;
pub use crash::crash_point;
#[cfg(loom)]
pub use crash::{Died, arm as arm_crash_point};
#[cfg(all(feature = "crash-points", not(loom)))]
pub use crash::{arm as arm_crash_point, disarm as disarm_crash_point};
