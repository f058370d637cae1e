//! Allocation, correct across deaths at any instruction.

pub(super) mod alloc;
mod bins;
pub(super) mod check;
mod grow;
mod lock;
pub(super) mod rebuild;
pub(super) mod slab;
