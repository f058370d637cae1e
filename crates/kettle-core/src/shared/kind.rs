//! The kinds of objects in the arena; 0, 1 and 4 are the arena's own.

use crate::arena;

pub(super) const CHUNK: u32 = 2;
pub(super) const CONSUMERS: u32 = 3;
pub(super) const PARTIES: u32 = 5;
pub(super) const LOCK: u32 = 16;
pub(super) const REENTRANT_LOCK: u32 = 17;
pub(super) const SEMAPHORE: u32 = 18;
pub(super) const OWNED_PERMITS: u32 = 19;
pub(super) const EVENT: u32 = 20;
pub(super) const CONDITION: u32 = 21;
pub(super) const BARRIER: u32 = 22;
pub(super) const QUEUE: u32 = 23;
pub(super) const BYTES: u32 = 24;
pub(super) const LANES: u32 = 25;
pub(super) const EVENT_COUNT: u32 = 26;
pub(super) const RW_LOCK: u32 = 27;

const _: () = assert!(CHUNK > arena::PAYLOAD && CONSUMERS < arena::NAMES && arena::NAMES < PARTIES);
