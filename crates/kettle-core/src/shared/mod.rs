//! Primitives *placed* in memory: on the heap for threads, in the arena for processes.
//!
//! The types in [`sync`] and [`queue`] are independent of where they are stored. A [`Placement`] stores them, and
//! identifies callers and dead owners on their behalf.

mod arena_store;
mod bytes;
pub mod cell;
mod census;
mod heap_store;
mod kind;
mod parties;
mod pipe;
mod processes;

use core::ops::Deref;
use std::sync::Arc;

use crate::arena::{self, ArenaError, Body, Handle, Off};
use crate::queue::{self, Place, Store};
use crate::sync::{self, Home};
use crate::wait::EventCount;

pub use arena_store::{ArenaStore, place_of};
pub use bytes::{Bytes, Word};
pub use heap_store::HeapStore;
pub use pipe::{
    Channel, IN_RECORD, Lanes, PipeEnd, PipeError, Posted, RECORD_HEADER, ReceiveError, Received, SendError, pipe,
};
pub use processes::Processes;

/// A kind of memory to place primitives in.
pub trait Placement: Copy + Send + Sync + 'static {
    /// The home of primitives placed there.
    type Home: Home;
    /// The source of memory for queues placed there.
    type Store: Store<Home = Self::Home>;
    /// A counted reference to a placed primitive.
    type Ref<B: Content>: Deref<Target = B> + Clone + Send + Sync;

    /// Places `body`.
    ///
    /// # Errors
    /// If there is no room.
    fn place<B: Content>(body: B) -> Result<Self::Ref<B>, ArenaError>;

    /// The address of a placed primitive.
    fn place_of<B: Content>(body: &Self::Ref<B>) -> Place;
}

/// A primitive that can be placed anywhere.
pub trait Content: Body {
    /// Frees the memory that it owns on the heap; its memory in the arena is freed by [`Body::teardown`].
    fn teardown_on_heap(&self) {}
}

/// In the arena, for the processes of the session.
#[derive(Clone, Copy, Debug)]
pub struct InArena;

impl Placement for InArena {
    type Home = Processes;
    type Store = ArenaStore;
    type Ref<B: Content> = Handle<B>;

    fn place<B: Content>(body: B) -> Result<Handle<B>, ArenaError> {
        Handle::new(|| body)
    }

    fn place_of<B: Content>(body: &Handle<B>) -> Place {
        place_of(body)
    }
}

/// On the heap, for the threads of this process.
#[derive(Clone, Copy, Debug)]
pub struct OnHeap;

impl Placement for OnHeap {
    type Home = sync::Heap;
    type Store = HeapStore;
    type Ref<B: Content> = HeapRef<B>;

    fn place<B: Content>(body: B) -> Result<HeapRef<B>, ArenaError> {
        Ok(HeapRef(Arc::new(Owned(body))))
    }

    fn place_of<B: Content>(body: &HeapRef<B>) -> Place {
        let address = core::ptr::from_ref::<B>(body).addr() as u64;
        Place::new(address).unwrap_or(Place::MIN)
    }
}

/// A counted reference to a primitive on the heap.
#[derive(Debug)]
pub struct HeapRef<B: Content>(Arc<Owned<B>>);

#[derive(Debug)]
struct Owned<B: Content>(B);

impl<B: Content> Clone for HeapRef<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Content> Deref for HeapRef<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0.0
    }
}

impl<B: Content> Drop for Owned<B> {
    fn drop(&mut self) {
        self.0.teardown_on_heap();
    }
}

macro_rules! words_only {
    ($($body:ty => $kind:ident),* $(,)?) => {
        $(
            // SAFETY: `repr(C)`, consists of atomics only (so any bit pattern is valid), no pointers, a kind of its
            // own. Words that another process may have left in it lead to wrong answers at worst, never to invalid
            // memory accesses.
            unsafe impl Body for $body {
                const KIND: u32 = kind::$kind;
            }
            impl Content for $body {}
        )*
    };
}

words_only! {
    sync::Lock => LOCK,
    sync::ReentrantLock => REENTRANT_LOCK,
    sync::Semaphore => SEMAPHORE,
    sync::OwnedPermits => OWNED_PERMITS,
    sync::Event => EVENT,
    sync::Condition => CONDITION,
    sync::RwLock => RW_LOCK,
    Bytes => BYTES,
    Lanes => LANES,
    EventCount => EVENT_COUNT,
}

// SAFETY: `repr(C)`, consists of atomics only, a kind of its own. It refers to the list of its parties by an offset,
// which is validated where it is read.
unsafe impl Body for sync::Barrier {
    const KIND: u32 = kind::BARRIER;

    fn set_up(&self, off: Off) -> Result<(), ArenaError> {
        parties::make(self, off)
    }

    fn teardown(&self) {
        parties::free(self);
    }
}

impl Content for sync::Barrier {}

// SAFETY: `repr(C)`, consists of atomics only. It refers to chunks and blocks by offset. Whatever the bytes, offsets,
// lengths and positions are validated where they are read, and followed only inside the arena: see queue/README.md,
// "What is validated".
unsafe impl Body for queue::Queue {
    const KIND: u32 = kind::QUEUE;

    fn teardown(&self) {
        // SAFETY: called once, when the queue is no longer in use; its memory came from the arena.
        unsafe { self.teardown::<ArenaStore>() };
    }
}

impl Content for queue::Queue {
    fn teardown_on_heap(&self) {
        // SAFETY: called when the last reference is dropped; its memory came from the heap.
        unsafe { self.teardown::<HeapStore>() };
    }
}

/// Tells the arena which objects are reachable from primitives. Must be called once, before anything is placed; further
/// calls have no effect.
pub fn init() {
    arena::set_census(&census::BodyCensus);
}
