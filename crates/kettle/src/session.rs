//! The session: a program and all that it started by this library, and the memory that they share.
//!
//! It begins with the first thing that is shared, and ends, with all its memory, when its last process does.
//!
//! ```
//! let queue = kettle::Queue::new()?;
//! queue.put(vec![1u8; 100_000])?;
//! let statistics = kettle::session::statistics()?;
//! assert!(statistics.allocated_bytes >= 100_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::os::fd::RawFd;
use std::sync::Once;

use kettle_core::arena::Session;
use kettle_core::shared;
use kettle_core::sys::descriptor;

pub use kettle_core::arena::{InQueues, Reclaimed, Statistics, Waiting};

use crate::error::OutOfMemory;

/// Before anything is placed in the arena: begins the session of this process, if it does not belong to one.
pub(crate) fn join() -> Result<Session, OutOfMemory> {
    static READY: Once = Once::new();
    // The census must be known before anything is placed.
    READY.call_once(shared::init);
    Ok(Session::get()?)
}

/// Limits the shared memory of the whole session, in bytes; `None`: only what the system has. Beyond the limit, what
/// needs memory says [`OutOfMemory`]; what is in use stays so.
///
/// At the beginning the limit is what the environment variable `KETTLE_ARENA_LIMIT` says: a number of bytes, with K, M,
/// G or T after it, or `none`. Without it, it is half of the memory of the machine, or of the control group (container)
/// with the least. Whatever the limit, a twentieth of the memory, and at least 64 MiB (but no more than a quarter), is
/// left to other programs; swap is not counted.
///
/// What is in an unbounded queue is bounded by this limit and nothing else: nothing else notices a getter that never
/// comes.
///
/// # Errors
/// When no session can be begun.
pub fn set_limit(bytes: Option<u64>) -> Result<(), OutOfMemory> {
    join()?.set_limit(bytes);
    Ok(())
}

/// Frees what processes that were killed had left behind, and gives memory that nothing uses back to the system. Both
/// also happen by themselves, the one before more memory is asked of the system, the other when much more is free than
/// is worth keeping to be used again.
///
/// # Errors
/// When shared memory cannot be had at all.
pub fn reclaim() -> Result<Reclaimed, OutOfMemory> {
    Ok(join()?.reclaim()?)
}

/// The numbers of the descriptors that this library keeps in this process now, in ascending order: what a program
/// leaves open that closes all others, as daemons do. None if nothing of the library was used yet.
///
/// ```
/// let queue = kettle::Queue::new()?;
/// # queue.put(1)?;
/// assert!(!kettle::descriptors().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Without them no file of the program's is touched, but what would need them is an error that says so
/// ([`DescriptorLost`](crate::DescriptorLost)).
pub fn descriptors() -> Vec<RawFd> {
    descriptor::kept()
}

/// How much memory there is, how much of it is in use, and how many processes take part.
///
/// # Errors
/// When shared memory cannot be had at all.
pub fn statistics() -> Result<Statistics, OutOfMemory> {
    Ok(join()?.statistics()?)
}
