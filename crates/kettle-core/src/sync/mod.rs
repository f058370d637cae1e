//! Locks and their kin: words only, which do not know where they live.
//!
//! Each type here is one `#[repr(C)]` block of atomics without pointers. Its methods are generic over a [`Home`], which
//! says what the place where it lives can tell: who is asking, and whether somebody named in a word still lives. On
//! the heap the same bodies serve threads, in the arena processes; `shared` does the placing. [`Guarded`] and
//! [`ReentrantGuarded`] are these locks around a value, which is for the heap alone.
//!
//! Every wait takes a [`Patience`](crate::wait::Patience), ends with it, and looks after each nap whether the one it
//! waits for is dead.

mod barrier;
mod condition;
mod event;
mod guarded;
mod lock;
mod nodes;
mod permits;
mod reentrant;
mod semaphore;

pub use barrier::{Arrival, Barrier, BarrierError, LastToCome, Turn};
pub use condition::{Condition, EnrolError, Waiter};
pub use event::Event;
pub use guarded::{Guarded, Hold, ReentrantGuarded, ReentrantHold};
pub use lock::{Acquired, Held, Holder, Lock, LockError, NotHeld, OnOwnerDeath, ResetError};
pub use nodes::{Fixed, Growing, Node, Nodes};
pub use permits::{OwnedPermits, PermitNotHeld};
pub use reentrant::{NotOwner, ReentrantLock};
pub use semaphore::{ReleasedTooOften, Semaphore};

use crate::atomics::AtomicU64;
use crate::sys::Owner;
use crate::sys::futex::Scope;

/// What a place can tell to the words that live there.
pub trait Home {
    /// Who may sleep on words that live here.
    const SCOPE: Scope;

    /// The thread that asks.
    ///
    /// # Panics
    /// If it has no name here: [`try_me`](Self::try_me) says so instead.
    fn me() -> Owner;

    /// The thread that asks. None: it has no name here, so it holds nothing, and can take nothing that names its holder.
    #[inline]
    fn try_me() -> Option<Owner> {
        Some(Self::me())
    }

    /// Its number in that name, sooner.
    #[inline]
    fn my_thread() -> u32 {
        Self::me().thread()
    }

    /// Whether `owner` is gone for good. False when in doubt.
    fn is_dead(owner: Owner) -> bool;

    /// Whether a word that lives here may name `owner`; another one was written by mistake.
    #[inline]
    fn can_be(_: Owner) -> bool {
        true
    }

    /// Whether the process of `owner` goes on without that thread. False when in doubt.
    fn has_lost(_: Owner) -> bool {
        false
    }

    /// The words at `place`, which a body that lives here has besides its own.
    ///
    /// # Errors
    /// When there are none, or they cannot be had.
    fn words(_place: u64) -> Result<&'static [AtomicU64], NoWords> {
        Err(NoWords::Damaged)
    }
}

/// Why words cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWords {
    /// This process cannot map them. The text says why.
    Unmapped(String),
    /// They are not where a word says; the session is marked.
    Damaged,
}

/// This process's own memory: its threads share it, and whoever could be dead is dead together with it. What the
/// thread that forks holds here, it holds in the child as well.
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
