//! Workers that are processes: sending them tasks, receiving outcomes, ending them. The pool's `README.md` describes
//! the protocol.
//!
//! | part | purpose |
//! |---|---|
//! | [`Desk`] | the shared memory between the supervisor and one worker |
//! | [`Supervisor`] | the parent's side: which worker has which chunks, which have died, and the consequences |
//! | [`lead`] | the loop of the thread that works for all that wait: rounds, and sleeps in between |
//! | [`Rounds`] | the rounds of a pool, in which code of the program may run that waits for this pool |
//! | [`StartFailures`] | workers that end before they are ready |
//! | [`Worker`] | the child's side: take, begin, report |

mod desk;
mod leading;
mod letters;
mod limits;
mod post;
mod rounds;
mod seat;
mod start_failures;
mod steps;
mod supervisor;
mod watch;
mod words;
mod worker;

pub use desk::Desk;
pub use leading::{Round, lead};
pub use letters::{INLINE_MAX, Load};
pub use limits::{Conditions, Limits, Tally};
pub use post::{Event, Post};
pub use rounds::{Bodies, InHand, Inside, Rounds};
pub use seat::{Fate, SeatId};
pub use start_failures::StartFailures;
pub use supervisor::Supervisor;
pub use watch::{Pause, Quiet, Rest, Watch};
pub use words::Word;
pub use worker::{Assignment, Chunk, LastReport, Worker};
