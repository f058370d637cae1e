//! What an event loop is made of, without the language that it runs for: `kettle.asyncio` stands on this.
//!
//! README.md has the states of a loop and the order of a turn. `T` is whatever is to be run: a handle.

mod incoming;
mod listener;
mod outgoing;
mod ready;
mod slots;
mod stream;
mod tenure;
mod timers;

pub use incoming::{Incoming, Room};
pub use listener::{Accepted, accept};
pub use outgoing::Outgoing;
pub use ready::Ready;
pub use slots::{Direction, Gone, Slots};
pub use stream::{Refused, Stream};
pub use tenure::{Offer, Tenure, Wait};
pub use timers::{Time, Timers};

pub use kettle_core::sys::epoll::{Epoll, Events};
pub use kettle_core::wait::{Inbox, Poller};
