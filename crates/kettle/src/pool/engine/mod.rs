//! What a pool is made of, whatever language its tasks are written in.
//!
//! | part | what it is |
//! |---|---|
//! | [`Desk`] | the shared memory between the supervisor and one worker |
//! | [`Supervisor`] | the parent's side: who has what in hand, who died, what comes of it |
//! | [`Worker`] | the child's side: take, begin, report |
//! | [`Agenda`] | which tasks of a job are still to be sent, in chunks of which length |
//! | [`Lead`] | of all threads that wait for results, one does the work for all |
//!
//! Nothing here knows what a task means: a front gives messages in and gets messages out.

mod agenda;
mod desk;
mod lead;
mod letters;
mod post;
mod seat;
mod steps;
mod supervisor;
mod watch;
mod words;
mod worker;

pub use agenda::{Agenda, Chunking, Span};
pub use desk::Desk;
pub use lead::{HeldLead, Lead, Waiter};
pub use letters::{INLINE_MAX, Load};
pub use post::{Event, Post};
pub use seat::{Fate, SeatId};
pub use supervisor::{Limits, Supervisor, Tally};
pub use watch::{Quiet, Watch};
pub use words::Word;
pub use worker::{Assignment, Chunk, Worker};
