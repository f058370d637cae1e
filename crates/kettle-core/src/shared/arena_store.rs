//! Queue memory in the arena.

use super::{kind, processes::Processes};
use crate::arena::{self, ArenaError, Block, Off, Participant, Raw};
use crate::arena::{Body, Handle};
use crate::damage::What;
use crate::queue::{CHUNK_ZEROED, Exhausted, Place, Room, Store, Trouble};

/// Chunks and blocks in the arena. The process that put one there is its holder, until another process takes it out;
/// once its holder is dead, it lives as long as its queue reaches it.
#[derive(Clone, Copy, Debug)]
pub struct ArenaStore;

fn trouble(e: ArenaError) -> Trouble {
    match e {
        ArenaError::Damaged(_) => Trouble::Damaged,
        ArenaError::DescriptorLost(lost) => Trouble::Exhausted(Exhausted::DescriptorLost(lost)),
        e => Trouble::Exhausted(Exhausted::Memory(e.to_string())),
    }
}

/// The chunk or sheet of consumers at a place.
fn held(place: Place) -> Result<Raw, Trouble> {
    let raw = Raw::at(Off::from_place(place)).map_err(trouble)?;
    if !matches!(raw.kind(), kind::CHUNK | kind::CONSUMERS) || !raw.is_live() {
        return Err(ArenaStore::damaged(What::Chunk, place.get(), u64::from(raw.kind())));
    }
    Ok(raw)
}

// SAFETY: the arena allocates memory for exclusive use, aligned to 64 bytes, of the requested length; places are
// validated before they are followed; `publish` returns the block's offset, which `find` turns back into the block.
unsafe impl Store for ArenaStore {
    type Home = Processes;
    type Block = Block;
    type Found = (Raw, Participant);

    fn chunk(len: usize, queue: Place, index: u32) -> Result<Place, Trouble> {
        let chunk = arena::allocate(kind::CHUNK, len).map_err(trouble)?;
        chunk.set_home(queue.get(), u64::from(index));
        // SAFETY: fresh memory, longer than that. A reclaim may look at it as soon as it is published.
        unsafe { chunk.data().write_bytes(0, CHUNK_ZEROED) };
        chunk.publish();
        Ok(chunk.off().place())
    }

    fn sheet(len: usize, chunk: Place) -> Result<Place, Trouble> {
        let queue = held(chunk)?.home().0;
        let sheet = arena::allocate(kind::CONSUMERS, len).map_err(trouble)?;
        sheet.set_home(queue, 0);
        sheet.publish();
        Ok(sheet.off().place())
    }

    unsafe fn disown_sheet(place: Place) {
        // On failure the session is marked, and nothing is freed any more.
        let _ = held(place).and_then(|sheet| sheet.disown().map_err(trouble));
    }

    fn sheet_at(place: Place, len: usize) -> Result<*mut u8, Trouble> {
        let sheet = held(place)?;
        if sheet.kind() != kind::CONSUMERS || sheet.len() < len {
            return Err(Self::damaged(What::Chunk, place.get(), u64::from(sheet.kind())));
        }
        Ok(sheet.data().as_ptr())
    }

    unsafe fn claim_chunk(place: Place) -> Result<(), Trouble> {
        let me = arena::participants::try_me().map_err(trouble)?;
        held(place)?.stamp(Participant::of(me)).map_err(trouble)
    }

    unsafe fn free_chunk(place: Place) {
        if let Ok(chunk) = held(place) {
            // SAFETY: the caller promises that it is no longer in use.
            unsafe { chunk.free() };
        }
    }

    #[inline(always)]
    fn at(place: Place) -> Result<Room, Trouble> {
        let (at, len) = arena::room_at(Off::from_place(place), CHUNK_ZEROED).map_err(trouble)?;
        Ok(Room { at: at.as_ptr(), len })
    }

    fn publish(block: Block, queue: Place, position: u32) -> Place {
        block.set_home(queue.get(), u64::from(position));
        block.into_off().place()
    }

    fn find(place: Place, position: u32) -> Result<(Raw, Participant), Trouble> {
        let raw = Raw::at(Off::from_place(place)).map_err(trouble)?;
        // Recorded when the block was published for this message.
        let is_block = matches!(raw.kind(), arena::PAYLOAD | arena::NAMES);
        if !raw.is_live() || !is_block || raw.home().1 as u32 != position {
            return Err(Self::damaged(What::Block, place.get(), raw.home().1));
        }
        let me = arena::participants::try_me().map_err(trouble)?;
        Ok((raw, Participant::of(me)))
    }

    unsafe fn claim((raw, me): (Raw, Participant)) -> Block {
        // SAFETY: the caller has the right to take it.
        unsafe { Block::claim(raw, me) }
    }

    fn len(block: &Block) -> usize {
        block.len()
    }
}

/// The address of a primitive in the arena.
pub fn place_of<B: Body>(body: &Handle<B>) -> Place {
    body.off().place()
}
