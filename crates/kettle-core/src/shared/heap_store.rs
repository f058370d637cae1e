//! Queue memory on the heap.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::queue::{Exhausted, Place, Room, Store, Trouble};
use crate::sync::Heap;

/// Chunks and blocks on the heap; a place is an address.
#[derive(Clone, Copy, Debug)]
pub struct HeapStore;

/// Each chunk is preceded by its length, from which its layout is derived when it is freed.
const PREFIX: usize = 64;

fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.checked_add(PREFIX)?, PREFIX).ok()
}

fn place<T>(p: *mut T) -> Option<Place> {
    Place::new(p.expose_provenance() as u64)
}

fn address<T>(place: Place) -> *mut T {
    core::ptr::with_exposed_provenance_mut(place.get() as usize)
}

// SAFETY: the allocator returns memory for exclusive use, aligned to 64 bytes and PREFIX longer than requested; a
// published block is a boxed box, which `claim` turns back into a box.
unsafe impl Store for HeapStore {
    type Home = Heap;
    type Block = Box<[u8]>;
    type Found = *mut Box<[u8]>;

    fn chunk(len: usize, _queue: Place, _index: u32) -> Result<Place, Trouble> {
        let out = || Trouble::Exhausted(Exhausted::Memory(format!("no memory for {len} bytes of a queue")));
        let layout = layout(len).ok_or_else(out)?;
        // SAFETY: the layout is not empty; the prefix is inside the allocation and aligned for a usize.
        let data = unsafe {
            let start = alloc_zeroed(layout);
            if start.is_null() {
                return Err(out());
            }
            start.cast::<usize>().write(len);
            start.add(PREFIX)
        };
        place(data).ok_or_else(out)
    }

    fn sheet(len: usize, chunk: Place) -> Result<Place, Trouble> {
        Self::chunk(len, chunk, 0)
    }

    unsafe fn disown_sheet(_: Place) {}

    fn sheet_at(place: Place, _len: usize) -> Result<*mut u8, Trouble> {
        Ok(address(place))
    }

    unsafe fn claim_chunk(_: Place) -> Result<(), Trouble> {
        Ok(())
    }

    unsafe fn free_chunk(place: Place) {
        let data: *mut u8 = address(place);
        // SAFETY: allocated by `chunk`, which wrote the length before it; the caller promises that it is no longer in
        // use.
        unsafe {
            let start = data.sub(PREFIX);
            if let Some(layout) = layout(start.cast::<usize>().read()) {
                dealloc(start, layout);
            }
        }
    }

    fn at(place: Place) -> Result<Room, Trouble> {
        let at: *mut u8 = address(place);
        // SAFETY: allocated by `chunk`, which wrote the length before it; no other process writes to this memory.
        Ok(Room { at, len: unsafe { at.sub(PREFIX).cast::<usize>().read() } })
    }

    fn publish(block: Box<[u8]>, _queue: Place, _position: u32) -> Place {
        // A box is never null.
        place(Box::into_raw(Box::new(block))).unwrap_or(Place::MIN)
    }

    fn find(place: Place, _position: u32) -> Result<*mut Box<[u8]>, Trouble> {
        Ok(address(place))
    }

    unsafe fn claim(found: *mut Box<[u8]>) -> Box<[u8]> {
        // SAFETY: created by `publish`, and the caller has the right to take it.
        *unsafe { Box::from_raw(found) }
    }

    fn len(block: &Box<[u8]>) -> usize {
        block.len()
    }
}
