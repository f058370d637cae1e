//! What queues and barriers reach, for a reclaim after deaths.

use super::{ArenaStore, kind, parties};
use crate::arena::{self, Body, Census, Fate, Found, NAMES, PAYLOAD, Waiting};
use crate::queue::Queue;
use crate::sync::Barrier;

// The arena looks for queues among its small objects.
const _: () = assert!(size_of::<Queue>() <= 1024);

/// A chunk or a payload without a living holder is garbage unless a living queue holds it between head and tail; a sheet
/// of consumers, unless a living queue links it; and a list of parties, unless it is a living barrier's.
#[derive(Debug)]
pub(super) struct BodyCensus;

impl Census for BodyCensus {
    fn fate(&self, object: &Found) -> Fate {
        if object.kind == kind::PARTIES {
            return match arena::living::<Barrier>(object.home) {
                Ok(Some(barrier)) if barrier.further() == object.off.to_bits() => Fate::Reachable,
                Ok(_) => Fate::Garbage,
                // What cannot be looked at is not garbage.
                Err(_) => Fate::Reachable,
            };
        }
        let queue = match arena::living::<Queue>(object.home) {
            Ok(Some(queue)) => queue,
            Ok(None) => return Fate::Garbage,
            // What cannot be looked at is not garbage.
            Err(_) => return Fate::Reachable,
        };
        // Both answers of "no longer" stay true: positions and indices only move forward, and what a dead putter had
        // prepared beyond the tail is never committed by somebody else.
        let reached = match object.kind {
            PAYLOAD | NAMES => queue.holds_position(object.position as u32),
            // A census runs under the allocator's lock, so nothing is allocated meanwhile.
            kind::CHUNK => queue.holds_chunk::<ArenaStore>(object.off.place(), object.position as u32),
            kind::CONSUMERS => queue.holds_sheet::<ArenaStore>(object.off.place()),
            _ => false,
        };
        if reached { Fate::Reachable } else { Fate::Garbage }
    }

    fn waiting(&self, object: &Found) -> Option<Waiting> {
        if object.kind != Queue::KIND || object.len < size_of::<Queue>() {
            return None;
        }
        // SAFETY: a live object of this kind is a queue, is as long as one, and stays while the allocator's lock is held.
        let queue = unsafe { object.data.cast::<Queue>().as_ref() };
        Some(Waiting { messages: queue.len().into(), bytes: queue.bytes() })
    }

    fn teardown(&self, object: &Found) {
        if object.kind == Queue::KIND && object.len >= size_of::<Queue>() {
            // SAFETY: the reclaim made itself the only holder of a queue that nobody can use any more; a body of this
            // kind stands there, and is as long.
            unsafe { object.data.cast::<Queue>().as_ref().teardown::<ArenaStore>() };
        }
        if object.kind == Barrier::KIND && object.len >= size_of::<Barrier>() {
            // SAFETY: as above, of a barrier.
            parties::free(unsafe { object.data.cast::<Barrier>().as_ref() });
        }
    }
}
