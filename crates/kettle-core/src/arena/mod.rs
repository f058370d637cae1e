//! The memory shared by the processes of a session, and the registry of its participants.
//!
//! A *session* is a root process and everything that it started. Its arena is one anonymous file in memory, created
//! when it is first needed, extended on demand, and gone with the last process: there is no name that could collide,
//! nothing to track, nothing to leak.
//!
//! | item | content |
//! |---|---|
//! | [`Session`] | the session of this process: limits, statistics |
//! | `segment`, `header` | the file, and the ranges of it that are mapped |
//! | `reopen`, `relocate` | another descriptor of the file, after the program closed ours |
//! | [`participants`] | the processes of the session, and which of them have died |
//! | `pages`, `bins`, `alloc`, `slab`, `stock`, `grow`, `lock` | allocation, correct across deaths at any instruction |
//! | `waiting` | how much of the memory is taken by messages in queues |
//! | `object` | the header of each allocation, and what keeps it alive |
//! | [`Handle`], [`Token`] | typed references, and their names for sending |
//! | [`Names`] | what keeps the objects alive that a message names |
//! | [`Block`], [`Lease`] | bytes that pass from process to process |
//! | [`waiters`] | threads that have waited for long, and the holders they wait for |
//! | [`before_fork`] | what happens to all of this in a forked child |
//! | [`Census`], [`Session::reclaim`] | reclaiming what dead processes left behind |
//!
//! *Authoritative state and hints.* The page maps, the state words of objects and their holders are authoritative. Each
//! change to them is committed by one store or compare-exchange, and a process that dies before or after it leaves a
//! consistent state. Lists, bins, counts and caches are hints, and are rebuilt from the authoritative state.

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

/// Ends this process's participation in the session: its row is freed, and objects that only it held may be reclaimed
/// by others.
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

/// Makes this process [`leave`] when it ends by returning from `main` or by `exit`, if it has a single thread by then
/// and holds nothing. Otherwise other processes notice its end, since destructors that run later may still use what
/// they hold. A [`Block`] does not count; it is not kept beyond the end of `main`.
///
/// Must be called once, before anything is placed; further calls have no effect. Forked children inherit it.
pub fn leave_at_exit() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // If this fails (no memory for a pointer), the others find out by themselves, as they do about killed processes.
    ONCE.call_once(|| drop(crate::sys::child::at_exit(at_exit)));
}

extern "C" fn at_exit() {
    // The process ends even if this fails.
    let _ = std::panic::catch_unwind(leave_if_done);
}

/// As [`leave`], if this is the only thread of its process and nothing is held here any more; returns whether the
/// process does not participate now.
pub fn leave_if_done() -> bool {
    // Most processes that get here never joined a session; counting threads would cost more than everything they did.
    if segment::header_if_any().is_none() {
        return true;
    }
    let is_done = registry::lock_unregistered().is_empty() && crate::sys::process::thread_count() == Some(1);
    if is_done {
        // SAFETY: no handle and no lease is left, and no other thread that could be about to create one. If this thread
        // creates one later, it registers anew.
        unsafe { leave() };
    }
    is_done
}
