//! What the threads of one process share: locks and queues of values of any type.
//!
//! Nothing is encoded, and no shared memory is needed. The types have the names and the methods of those between
//! processes. So the code of a worker is the same for both, and changing the line that says `use` moves a program from
//! the one to the other:
//!
//! ```
//! use std::thread;
//!
//! use kettle::threads::{Lock, Queue}; // or: use kettle::{Lock, Queue};
//!
//! fn sell(orders: Queue<u32>, left: Lock<u32>) -> u32 {
//!     let mut sold = 0;
//!     for order in orders.iter() {
//!         let order = order.expect("an order");
//!         *left.acquire().expect("no holder died") -= order;
//!         sold += order;
//!     }
//!     sold
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (orders, left) = (Queue::new()?, Lock::new(100)?);
//!     let counter = thread::spawn({
//!         let (orders, left) = (orders.clone(), left.clone());
//!         move || sell(orders, left)
//!     });
//!     orders.put(2)?;
//!     orders.put(3)?;
//!     orders.shutdown();
//!     assert_eq!(counter.join().expect("no panic"), 5);
//!     assert_eq!(*left.acquire()?, 95);
//!     Ok(())
//! }
//! ```
//!
//! As there, all are handles, and a clone is another handle to the same thing; only a [`Mutex`], a [`RwLock`], an
//! [`OnceLock`] and a [`Once`] are in place, as those of the standard library. What may fail between processes and
//! cannot here has [`Infallible`] for its error: `?` passes over it, `let Ok(lock) = Lock::new(0);` needs no `unwrap`,
//! and neither does `for Ok(item) in queue.iter()`.
//!
//! # What they have that the standard library's have not
//!
//! * Threads that [wait for each other's locks](crate::deadlock) are told so, together with those of other processes.
//! * Everything that waits has a form with a time limit and, with the feature `tokio`, one that can be awaited; a lock
//!   may be held across an `.await`. [`wait`](crate::wait()) waits for any of several things.
//! * Queues have any number of consumers and an optional bound; they can be shut down, joined, and ordered. A
//!   [`channel()`] is a queue with separate ends, and any number of receivers.
//! * There are a re-entrant lock, semaphores, and a barrier that breaks instead of waiting for a party that will never
//!   arrive; and the primitives have `statistics()`.
//!
//! # A holder that panics
//!
//! A holder that panics breaks its [`Lock`], because the value may be half changed. Every `acquire` then fails with
//! [`AcquireError::OwnerDied`](crate::AcquireError) until the program has repaired the value and calls
//! [`reset`](Lock::reset). A lock with [`OnOwnerDeath::Recover`] reports the panic only once, to the next holder. The
//! death of a process has the same effect on a lock that it holds, and a barrier breaks likewise when it loses a party.
//! The standard library *poisons* a mutex in this case, and its error gives access to the value. Here the error does
//! not, so that no code continues by `unwrap_or_else(PoisonError::into_inner)` alone. A [`crate::Lock`] between
//! processes does not break on a panic, because its guard works on a copy.

mod barrier;
pub mod channel;
mod condition;
mod event;
mod lock;
mod mutex;
mod once;
pub mod queue;
mod rlock;
mod rwlock;
mod semaphore;
mod value;

use std::convert::Infallible;

pub use crate::sync::OnOwnerDeath;
pub use barrier::Barrier;
pub use channel::{Receiver, RecvError, SendError, Sender, bounded_channel, channel};
pub use condition::Condition;
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard};
pub use once::{Once, OnceLock};
pub use queue::{JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue};
pub use rlock::{RLock, RLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};

impl From<Infallible> for crate::OutOfMemory {
    /// For a function that makes things of either kind.
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
