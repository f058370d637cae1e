//! Objects: what keeps each alive, and the typed references to them.

pub(super) mod allocate;
pub(super) mod block;
pub(super) mod census;
pub(super) mod freeing;
pub(super) mod handle;
pub(super) mod holders;
mod holding;
pub(super) mod in_queues;
mod name_list;
pub(super) mod names;
pub(super) mod raw;
pub(super) mod reach;
mod registry;
pub(super) mod token;
pub(super) mod walk;
