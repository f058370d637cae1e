//! Which objects are reachable from queues and barriers, for a reclaim after deaths.

use super::{ArenaStore, kind, parties};
use crate::arena::{self, Body, Census, Fate, Found, NAMES, PAYLOAD, Waiting};
use crate::queue::Queue;
use crate::sync::Barrier;

// The arena searches for queues among its small objects.
const _: () = assert!(size_of::<Queue>() <= 1024);

/// A chunk or a payload without a live holder is garbage, unless a live queue has it between head and tail; likewise a
/// sheet of consumers, unless a live queue links it, and a list of parties, unless it belongs to a live barrier.
#[derive(Debug)]
pub(super) struct BodyCensus;

impl Census for BodyCensus {
    fn fate(&self, object: &Found) -> Fate {
        if object.kind == kind::PARTIES {
            return match arena::living::<Barrier>(object.home) {
                Ok(Some(barrier)) if barrier.further() == object.off.to_bits() => Fate::Reachable,
                Ok(_) => Fate::Garbage,
                // An object that cannot be inspected is not garbage.
                Err(_) => Fate::Reachable,
            };
        }
        let queue = match arena::living::<Queue>(object.home) {
            Ok(Some(queue)) => queue,
            Ok(None) => return Fate::Garbage,
            // An object that cannot be inspected is not garbage.
            Err(_) => return Fate::Reachable,
        };
        // Both ways of *no longer* are final: positions and indexes only advance, and what a dead putter had prepared
        // beyond the tail is never committed by another process.
        let reached = match object.kind {
            PAYLOAD | NAMES => queue.holds_position(object.position as u32),
            // A reclaim runs under the allocator's lock, so nothing is allocated in the meantime.
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
        // SAFETY: a live object of this kind and length is a queue, and stays while the allocator's lock is held.
        let queue = unsafe { object.data.cast::<Queue>().as_ref() };
        Some(Waiting { messages: queue.len().into(), bytes: queue.bytes() })
    }

    fn teardown(&self, object: &Found) {
        if object.kind == Queue::KIND && object.len >= size_of::<Queue>() {
            // SAFETY: the reclaim has made itself the only holder of a queue that is no longer in use; an object of
            // this kind and length is a queue.
            unsafe { object.data.cast::<Queue>().as_ref().teardown::<ArenaStore>() };
        }
        if object.kind == Barrier::KIND && object.len >= size_of::<Barrier>() {
            // SAFETY: as above, for a barrier.
            parties::free(unsafe { object.data.cast::<Barrier>().as_ref() });
        }
    }
}
