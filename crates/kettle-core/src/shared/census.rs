//! What queues reach, for a reclaim after deaths.

use super::{ArenaStore, kind};
use crate::arena::{self, Body, Census, Fate, Found, PAYLOAD, Waiting};
use crate::queue::Queue;

// The arena looks for queues among its small objects.
const _: () = assert!(size_of::<Queue>() <= 1024);

/// A chunk or a payload without a living holder is garbage unless a living queue holds it between head and tail; a sheet
/// of consumers, unless a living queue links it.
#[derive(Debug)]
pub(super) struct QueueCensus;

impl Census for QueueCensus {
    fn fate(&self, object: &Found) -> Fate {
        let Some(queue) = arena::living::<Queue>(object.home) else { return Fate::Garbage };
        // Both answers of "no longer" stay true: positions and indices only move forward, and what a dead putter had
        // prepared beyond the tail is never committed by somebody else.
        let reached = match object.kind {
            PAYLOAD => queue.holds_position(object.position as u32),
            // SAFETY: a census runs under the allocator's lock, so nothing is allocated meanwhile; a chunk of this queue
            // stands there.
            kind::CHUNK => unsafe { queue.holds_chunk::<ArenaStore>(object.off.place(), object.position as u32) },
            // SAFETY: as above, for a sheet of this queue's consumers.
            kind::CONSUMERS => unsafe { queue.holds_sheet::<ArenaStore>(object.off.place()) },
            _ => false,
        };
        if reached { Fate::Reachable } else { Fate::Garbage }
    }

    fn waiting(&self, object: &Found) -> Option<Waiting> {
        if object.kind != Queue::KIND {
            return None;
        }
        // SAFETY: a live object of this kind is a queue, which stays while the allocator's lock is held.
        let queue = unsafe { object.data.cast::<Queue>().as_ref() };
        Some(Waiting { messages: queue.len().into(), bytes: queue.bytes() })
    }

    fn teardown(&self, object: &Found) {
        if object.kind == Queue::KIND {
            // SAFETY: the reclaim made itself the only holder of a queue that nobody can use any more; a body of this
            // kind stands there.
            unsafe { object.data.cast::<Queue>().as_ref().teardown::<ArenaStore>() };
        }
    }
}
