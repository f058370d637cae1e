//! A queue's memory in the arena.

use super::{Processes, kind};
use crate::arena::{self, ArenaError, Block, Off, Participant, Raw};
use crate::queue::{CHUNK_ZEROED, Exhausted, Place, Store};
use crate::sync::Home;

/// Chunks and blocks in the arena. Each is held by whoever put it there, until somebody takes it out; when that one is
/// dead, it lives while its queue reaches it.
#[derive(Clone, Copy, Debug)]
pub struct ArenaStore;

fn off(place: Place) -> Off {
    // A place that a queue keeps was made of an `Off`.
    Off::from_place(place)
}

fn raw(place: Place) -> Raw {
    // SAFETY: the queue keeps the places of chunks that it owns, and these stay until `free_chunk`.
    match unsafe { Raw::at(off(place)) } {
        Ok(raw) => raw,
        // Only a lack of address space can keep a segment from being mapped; the queue's caller cannot go on.
        Err(e) => panic!("a queue's memory cannot be mapped: {e}"),
    }
}

fn exhausted(e: ArenaError) -> Exhausted {
    match e {
        ArenaError::DescriptorLost(lost) => Exhausted::DescriptorLost(lost),
        e => Exhausted::Memory(e.to_string()),
    }
}

// SAFETY: the arena gives memory of its own, aligned to 64 bytes, as long as asked; `publish` names the block's offset,
// from which `claim` takes it again.
unsafe impl Store for ArenaStore {
    type Home = Processes;
    type Block = Block;

    fn chunk(len: usize, queue: Place, index: u32) -> Result<Place, Exhausted> {
        let chunk = arena::allocate(kind::CHUNK, len).map_err(exhausted)?;
        chunk.set_home(queue.get(), u64::from(index));
        // SAFETY: fresh memory, longer than that. The census may look at it as soon as it is published.
        unsafe { chunk.data().write_bytes(0, CHUNK_ZEROED) };
        chunk.publish();
        Ok(chunk.off().place())
    }

    fn sheet(len: usize, chunk: Place) -> Result<Place, Exhausted> {
        let sheet = arena::allocate(kind::CONSUMERS, len).map_err(exhausted)?;
        sheet.set_home(raw(chunk).home().0, 0);
        sheet.publish();
        Ok(sheet.off().place())
    }

    unsafe fn disown_sheet(place: Place) {
        raw(place).disown();
    }

    unsafe fn claim_chunk(place: Place) {
        raw(place).stamp(Participant::of(Processes::me()));
    }

    unsafe fn free_chunk(place: Place) {
        // SAFETY: the caller promises that nobody uses it.
        unsafe { raw(place).free() };
    }

    fn at(place: Place) -> *mut u8 {
        raw(place).data().as_ptr()
    }

    fn publish(block: Block, queue: Place, position: u32) -> Place {
        block.set_home(queue.get(), u64::from(position));
        block.into_off().place()
    }

    unsafe fn claim(place: Place) -> Block {
        // SAFETY: the caller holds the right to take it.
        match unsafe { Block::take(off(place)) } {
            Ok(block) => block,
            Err(e) => panic!("a message's memory cannot be mapped: {e}"),
        }
    }

    fn len(block: &Block) -> usize {
        block.len()
    }
}
