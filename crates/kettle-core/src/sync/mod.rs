//! Locks and related primitives: plain words, independent of where they are stored.
//!
//! Each type is one `#[repr(C)]` block of atomics without pointers. Its methods are generic over a [`Home`], which
//! stands for the memory that the block is stored in: it identifies the caller, and knows whether the owner named in a
//! word is still alive. The same code thus serves threads on the heap and processes in the arena; `shared` places the
//! blocks. [`Guarded`], [`ReentrantGuarded`] and [`RwGuarded`] wrap such a lock around a value, on the heap only.
//!
//! Every wait is bounded by a [`Patience`](crate::wait::Patience), and checks after each slice whether the owner it
//! waits for is dead.

mod barrier;
mod condition;
mod event;
mod guarded;
mod lock;
mod nodes;
mod permits;
mod readers;
mod reentrant;
mod rw_guarded;
mod rwlock;
mod semaphore;

pub use barrier::{Arrival, Barrier, BarrierError, LastToCome, Turn};
pub use condition::{Condition, EnrolError, Waiter};
pub use event::Event;
pub use guarded::{Guarded, Hold, PartHold, ReentrantGuarded, ReentrantHold};
pub use lock::{Acquired, Held, Holder, Lock, LockError, NotHeld, OnOwnerDeath, ResetError};
pub use nodes::{Fixed, Growing, Node, Nodes};
pub use permits::{OwnedPermits, PermitNotHeld};
pub use readers::{Counted, Noted, Reader, Readers};
pub use reentrant::{NotOwner, ReentrantLock};
pub use rw_guarded::{ReadHold, RwGuarded, RwPassed, WriteHold};
pub use rwlock::{Passed, RwLock};
pub use semaphore::{ReleasedTooOften, Semaphore};

use crate::atomics::AtomicU64;
use crate::sys::Owner;
use crate::sys::futex::Scope;

/// What the algorithms need to know about the memory that their words are stored in.
pub trait Home {
    /// Which threads may sleep on words stored here.
    const SCOPE: Scope;

    /// The calling thread.
    ///
    /// # Panics
    /// If the thread has no name here; [`try_me`](Self::try_me) returns None instead.
    fn me() -> Owner;

    /// The calling thread. None: it has no name here, so it holds nothing and cannot take anything that names its
    /// holder.
    #[inline]
    fn try_me() -> Option<Owner> {
        Some(Self::me())
    }

    /// The thread number in that name, which is cheaper to get.
    #[inline]
    fn my_thread() -> u32 {
        Self::me().thread()
    }

    /// Whether `owner` is gone for good; false if in doubt.
    fn is_dead(owner: Owner) -> bool;

    /// Whether a word stored here can name `owner`. Any other value was written by mistake.
    #[inline]
    fn can_be(_: Owner) -> bool {
        true
    }

    /// Whether the process of `owner` lives on without that thread; false if in doubt.
    fn has_lost(_: Owner) -> bool {
        false
    }

    /// The words at `place`, where a primitive keeps what does not fit into its own block.
    ///
    /// # Errors
    /// If there are none, or they cannot be mapped.
    fn words(_place: u64) -> Result<&'static [AtomicU64], NoWords> {
        Err(NoWords::Damaged)
    }
}

/// Why a primitive's further words are unavailable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWords {
    /// This process cannot map them, for the reason given.
    Unmapped(String),
    /// They are not where a word says they are; the session is marked.
    Damaged,
}

/// This process's own memory, shared by its threads. No owner here can die alone, since a process's threads die
/// together. What the forking thread holds here, it also holds in the child.
#[derive(Clone, Copy, Debug)]
pub struct Heap;

impl Home for Heap {
    const SCOPE: Scope = Scope::Private;

    #[inline]
    fn me() -> Owner {
        Owner::new(0, 0, crate::sys::thread::number())
    }

    fn is_dead(_: Owner) -> bool {
        false
    }
}
