//! Pools of worker processes.
//!
//! The states of a task, who may move it, and what a death at each leaves behind: see `README.md` beside this file.

#[doc(hidden)]
pub mod engine;
