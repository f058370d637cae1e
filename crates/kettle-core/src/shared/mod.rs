//! A primitive *placed*: on the heap for threads, in the arena for processes.
//!
//! The bodies in [`sync`] and [`queue`] know nothing of where they live. A [`Placement`]
//! gives them a place, and says what that place can tell: who is asking, and who is dead.

mod arena_store;
mod bytes;
pub mod cell;
mod census;
mod heap_store;
mod parties;
mod pipe;

use core::ops::Deref;
use std::sync::Arc;

use crate::arena::{self, ArenaError, Body, Handle, Off};
use crate::atomics::AtomicU64;
use crate::damage::{self, What};
use crate::queue::{self, Place, Store};
use crate::sync::{self, Home, NoWords};
use crate::sys::futex::Scope;
use crate::sys::{Owner, process};
use crate::wait::EventCount;

pub use arena_store::ArenaStore;
pub use bytes::{Bytes, Word};
pub use heap_store::HeapStore;
pub use pipe::{
    Channel, IN_RECORD, Lanes, PipeEnd, PipeError, Posted, RECORD_HEADER, ReceiveError, Received, SendError, pipe,
};

/// The arena as a home: the processes of a session share it, and any of them may die.
#[derive(Clone, Copy, Debug)]
pub struct Processes;

impl Home for Processes {
    const SCOPE: Scope = Scope::Shared;

    #[inline]
    fn me() -> Owner {
        arena::participants::me()
    }

    #[inline]
    fn try_me() -> Option<Owner> {
        arena::participants::me_if_any()
    }

    #[inline]
    fn my_thread() -> u32 {
        process::thread_id()
    }

    fn is_dead(owner: Owner) -> bool {
        if owner.slot() == 0 {
            // Whoever writes its name here has a row.
            if !owner.is_nobody() {
                damage::mark(Self::SCOPE, What::Owner, 0, owner.to_bits());
            }
            return false;
        }
        arena::participants::is_dead(owner)
    }

    fn can_be(owner: Owner) -> bool {
        owner.slot() != 0
    }

    fn has_lost(owner: Owner) -> bool {
        arena::participants::has_lost_thread(owner)
    }

    fn words(place: u64) -> Result<&'static [AtomicU64], NoWords> {
        parties::list(place)
    }
}

/// A kind of place.
pub trait Placement: Copy + Send + Sync + 'static {
    /// What the place can tell.
    type Home: Home;
    /// Where a queue there gets its memory.
    type Store: Store<Home = Self::Home>;
    /// A counted reference to a body there.
    type Ref<B: Content>: Deref<Target = B> + Clone + Send + Sync;

    /// Places `body`.
    ///
    /// # Errors
    /// When there is no room.
    fn place<B: Content>(body: B) -> Result<Self::Ref<B>, ArenaError>;

    /// The name of the place where a body is.
    fn place_of<B: Content>(body: &Self::Ref<B>) -> Place;
}

/// What can be placed anywhere.
pub trait Content: Body {
    /// Frees what it alone keeps on the heap; what it keeps in the arena is [`Body::teardown`]'s.
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

/// A counted reference to a body on the heap.
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

/// The name of the place in the arena where a body is.
pub fn place_of<B: Body>(body: &Handle<B>) -> Place {
    body.off().place()
}

/// The kinds of what the arena holds; 0, 1 and 4 are the arena's own.
mod kind {
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
}

const _: () = assert!(kind::CHUNK > arena::PAYLOAD && kind::CONSUMERS < arena::NAMES && arena::NAMES < kind::PARTIES);

macro_rules! words_only {
    ($($body:ty => $kind:ident),* $(,)?) => {
        $(
            // SAFETY: `repr(C)`, nothing but atomics (so any bit pattern is a value), no pointers, a kind of its own.
            // Words that another process may have left in it lead to wrong answers at worst, never to memory.
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
    Bytes => BYTES,
    Lanes => LANES,
    EventCount => EVENT_COUNT,
}

// SAFETY: `repr(C)` and atomics alone, a kind of its own. It refers to the list of its parties by offset, which is checked
// where it is read.
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

// SAFETY: `repr(C)` and atomics alone. It refers to chunks and blocks by offset; whatever bytes stand there, offsets,
// lengths and positions are checked where they are read, and followed only inside of the arena: see queue/README.md,
// "What is believed".
unsafe impl Body for queue::Queue {
    const KIND: u32 = kind::QUEUE;

    fn teardown(&self) {
        // SAFETY: called once, when nobody can use the queue any more; its memory came from the arena.
        unsafe { self.teardown::<ArenaStore>() };
    }
}

impl Content for queue::Queue {
    fn teardown_on_heap(&self) {
        // SAFETY: called by the drop of the last reference; its memory came from the heap.
        unsafe { self.teardown::<HeapStore>() };
    }
}

/// Tells the arena what bodies reach. To be called once, before anything is placed; further calls do nothing.
pub fn init() {
    arena::set_census(&census::BodyCensus);
}
