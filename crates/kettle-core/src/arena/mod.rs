//! Memory shared by the processes of a session, and who takes part in it.
//!
//! A *session* is a root process and all that it started. Its arena is one anonymous file in memory, made when it is
//! first needed, longer when more is needed, and gone with the last process: there is no name to collide, nothing to
//! track, nothing to leak.
//!
//! | read | about |
//! |---|---|
//! | [`Session`] | the session of this process: limits, statistics |
//! | `segment`, `header` | the file, and the ranges of it that are mapped |
//! | `reopen`, `relocate` | another descriptor of the file, where the program closed ours |
//! | [`participants`] | who is here, and who has died |
//! | `pages`, `bins`, `alloc`, `slab`, `stock`, `grow`, `lock` | allocation, correct at whatever instruction somebody dies |
//! | `waiting` | how much of it waits in queues |
//! | `object` | what each allocation begins with, and what keeps it alive |
//! | [`Handle`], [`Token`] | typed references, and their names for sending |
//! | [`Names`] | what keeps alive what a message names |
//! | [`Block`], [`Lease`] | bytes that pass from process to process |
//! | [`waiters`] | who has waited for long, and for whom |
//! | [`before_fork`] | what happens to all that in a forked child |
//! | [`Census`], [`Session::reclaim`] | tidying up after the dead |
//!
//! *What is the truth and what is a hint.* The page maps, the state words of objects and their holders are the truth;
//! each change is committed by one store or compare-exchange, and a process that dies before or after it leaves
//! something that can be read. Lists, bins, counts and caches are hints, and are made anew from the truth.

mod alloc;
mod bins;
mod block;
mod check;
mod error;
mod fork;
mod grow;
mod handle;
mod header;
mod holders;
mod identity;
mod limit;
mod local;
mod lock;
mod names;
mod object;
mod offset;
mod pages;
pub mod participants;
mod reach;
mod recover;
mod registry;
mod relocate;
mod reopen;
mod segment;
mod session;
mod slab;
mod stock;
pub mod waiters;
mod waiting;

pub use block::{Block, Lease, PAYLOAD};
pub use error::{ArenaError, Shortage, TokenError};
pub use fork::{after_fork_child, after_fork_parent, before_fork};
pub(crate) use handle::living;
pub use handle::{Body, Handle, Token, Way};
pub use names::{NAMES, Names};
pub(crate) use object::room_at;
pub use object::{Raw, allocate};
pub use offset::Off;
pub use participants::{Participant, Ticket};
pub use recover::{Census, Fate, Found, Reclaimed, set_census};
pub use session::{Session, Statistics};
pub use waiting::{InQueues, Waiting};

/// Ends this process's part in the session: its row is free, and what only it held may be reclaimed by others.
///
/// # Safety
/// No thread of this process uses anything in the arena from now on, except to drop it.
pub unsafe fn leave() {
    let mut registry = registry::lock_unregistered();
    registry.clear();
    if let Some(me) = identity::registered() {
        identity::forget();
        participants::vacate(me);
    }
}

/// Has this process [`leave`] when it ends by returning from `main` or by `exit`, if it is alone by then and holds
/// nothing. Otherwise its end tells the others: destructors that come later still may use what they hold. A
/// [`Block`] does not count; it is not kept beyond the end of `main`.
///
/// To be called once, before anything is placed; further calls do nothing. Forked children inherit it.
pub fn leave_at_exit() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Without it (no memory for a pointer) the others find out by themselves, as they do about whoever is killed.
    ONCE.call_once(|| drop(crate::sys::child::at_exit(at_exit)));
}

extern "C" fn at_exit() {
    // The process ends all the same if this fails.
    let _ = std::panic::catch_unwind(leave_if_done);
}

/// As [`leave`], if this is the only thread of its process and nothing is held here any more; says whether the process
/// takes no part now.
pub fn leave_if_done() -> bool {
    // Most processes that come here were never in a session; asking after threads would cost more than they did.
    if segment::header_if_any().is_none() {
        return true;
    }
    let is_done = registry::lock_unregistered().is_empty() && crate::sys::process::thread_count() == Some(1);
    if is_done {
        // SAFETY: no handle and no lease is left, nor another thread that could be about to make one. Should this one
        // make one later, it registers anew.
        unsafe { leave() };
    }
    is_done
}
