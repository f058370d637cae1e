//! Locks, queues and an arena in shared memory, whose owners may die at any instruction.
//!
//! Read the modules from the bottom up; each uses only what stands before it.
//!
//! | module | what it is |
//! |---|---|
//! | [`sys`] | facts about the operating system, no opinions |
//! | [`wait`] | the one place that sleeps: a word and a deadline, or a doorbell for an event loop |
//! | [`sync`] | locks, conditions, barriers: words only, which do not know where they live |
//! | [`queue`] | shapes of queues over memory handed to them |
//! | [`arena`] | memory shared by the processes of a session, and who takes part in it |
//! | [`shared`] | a primitive *placed*: on the heap for threads, in the arena for processes |
//! | [`deadlock`] | threads that wait for each other, of whatever process |
//! | [`stats`] | what each primitive tells about itself |
//! | [`damage`] | words in shared memory that cannot be |
//!
//! *Death is an ordinary state.* Whatever can be owned names its owner in the same atomic step that takes it, so
//! that a survivor always knows whom it waits for and can ask whether that one still lives.

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

mod crash;
mod unwind;
pub use crash::crash_point;
#[cfg(loom)]
pub use crash::{Died, arm as arm_crash_point};
#[cfg(all(feature = "crash-points", not(loom)))]
pub use crash::{arm as arm_crash_point, disarm as disarm_crash_point};
