//! Workers that are processes: sending them tasks, receiving outcomes, ending them. The pool's `README.md` describes
//! the protocol.
//!
//! | part | purpose |
//! |---|---|
//! | [`Desk`] | the shared memory between the supervisor and one worker |
//! | [`Supervisor`] | the parent's side: which worker has which chunks, which have died, and the consequences |
//! | [`StartFailures`] | workers that end before they are ready |
//! | [`Worker`] | the child's side: take, begin, report |

mod desk;
mod letters;
mod post;
mod seat;
mod start_failures;
mod steps;
mod supervisor;
mod watch;
mod words;
mod worker;

pub use desk::Desk;
pub use letters::{INLINE_MAX, Load};
pub use post::{Event, Post};
pub use seat::{Fate, SeatId};
pub use start_failures::StartFailures;
pub use supervisor::{Conditions, Limits, Supervisor, Tally};
pub use watch::{Quiet, Watch};
pub use words::Word;
pub use worker::{Assignment, Chunk, Worker};
