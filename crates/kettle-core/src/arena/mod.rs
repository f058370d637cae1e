//! The memory shared by the processes of a session, and the registry of its participants.
//!
//! A *session* is a root process and everything that it started. Its arena is one anonymous file in memory, created
//! when it is first needed, extended on demand, and gone with the last process: there is no name that could collide,
//! nothing to track, nothing to leak.
//!
//! From the bottom up; nothing uses what is further down in this table:
//!
//! | item | content |
//! |---|---|
//! | `layout` | words and bits that all processes agree on, without behaviour |
//! | `segment`, `pages` | the file, the ranges of it that are mapped, and the page maps in them |
//! | [`participants`] | the processes of the session, and which of them have died |
//! | `held` | what this process holds, by offset |
//! | `fork`, `membership` | taking part in the session, and what a forked child does ([`before_fork`]) |
//! | [`waiters`] | threads that have waited for long, and the holders they wait for |
//! | `reopen` | another descriptor of the file, after the program closed ours |
//! | `allocator` | allocation, correct across deaths at any instruction |
//! | `objects`, `reclaim` | what keeps an object alive, and reclaiming what dead processes left behind |
//! | [`Handle`], [`Token`] | typed references, and their names for sending |
//! | [`Names`] | what keeps the objects alive that a message names |
//! | [`Block`], [`Lease`] | bytes that pass from process to process |
//! | [`Census`] | what is reachable from what |
//! | `relocate` | moving a session to another file |
//! | [`Session`] | the session of this process: limits, statistics |
//!
//! *Authoritative state and hints.* The page maps, the state words of objects and their holders are authoritative. Each
//! change to them is committed by one store or compare-exchange, and a process that dies before or after it leaves a
//! consistent state. Lists, bins, counts and caches are hints, and are rebuilt from the authoritative state.

mod allocator;
mod error;
mod fork;
mod held;
pub(crate) mod layout;
mod limit;
mod local_lock;
mod membership;
mod objects;
mod pages;
pub mod participants;
mod reclaim;
mod relocate;
mod reopen;
mod segment;
mod session;
pub mod waiters;

pub use error::{ArenaError, InQueues, Shortage, TokenError, Waiting};
pub use fork::{after_fork_child, after_fork_parent, before_fork, is_about_to_fork};
pub use layout::object_header::NAMES;
pub use layout::offset::Off;
pub use layout::participant::{Participant, Ticket};
pub use membership::{leave, leave_at_exit, leave_if_done};
pub use objects::allocate::allocate;
pub use objects::block::{Block, Lease, PAYLOAD};
pub use objects::census::{Census, Fate, Found, set_census};
pub(crate) use objects::handle::living;
pub use objects::handle::{Body, Handle, Way};
pub use objects::names::Names;
pub use objects::raw::Raw;
pub(crate) use objects::raw::room_at;
pub use objects::token::Token;
pub use reclaim::Reclaimed;
pub use session::{Session, Statistics};
