//! Channels between processes: queues with two kinds of ends, which notice when the other kind is gone.
//!
//! The ends go where handles go: into arguments of tasks, and into messages. Each may be cloned. When the last
//! [`Sender`] of a channel is dropped, or the last process that had one *dies*, receivers get what is still inside and
//! then [`RecvError::Disconnected`]. When the last [`Receiver`] is gone, senders get [`SendError::Disconnected`], with
//! the item.
//!
//! ```standalone_crate
//! use kettle::{Receiver, Sender, channel};
//!
//! kettle::task! {
//!     fn count(to: u32, numbers: Sender<u32>) {
//!         for n in 0..to {
//!             numbers.send(n).expect("the parent listens");
//!         }
//!     }
//!
//!     fn sum(numbers: Receiver<u32>) -> u32 {
//!         numbers.iter().map(|n| n.expect("a number")).sum()
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     kettle::init();
//!     let (sender, receiver) = channel()?;
//!     count::start(10, sender.clone())?;
//!     count::start(5, sender)?; // no sender is left here
//!     assert_eq!(sum::start(receiver)?.join()?, 45 + 10);
//!     Ok(())
//! }
//! ```
//!
//! An end that this process keeps also counts: drop it if only others are to send. A drop is noticed at once. The death
//! of a process is noticed within tens of milliseconds by an operation that waits, within a second by one that has
//! waited for long, and by sends that do not wait after ten milliseconds.
//!
//! An end inside an item of its own channel keeps that channel connected.

mod end;
mod error;
mod half;
mod receiver;
mod sender;

pub use error::{RecvError, SendError};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use sender::Sender;

use crate::error::OutOfMemory;
use crate::queue::Queue;
use end::End;

/// The ends of a new channel without a bound: `send` never waits. See [`mod@channel`](self).
///
/// ```
/// use kettle::{RecvError, channel};
///
/// let (sender, receiver) = channel()?;
/// sender.send("one".to_string())?;
/// drop(sender);
/// assert_eq!(receiver.recv()?, "one");
/// assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there is no shared memory to be had.
pub fn channel<T>() -> Result<(Sender<T>, Receiver<T>), OutOfMemory> {
    ends(Queue::new()?)
}

/// The ends of a new channel of at most `capacity` items, beyond which `send` waits. See [`mod@channel`](self).
///
/// ```
/// use kettle::{SendError, bounded_channel};
///
/// let (sender, receiver) = bounded_channel(1)?;
/// sender.send(1)?;
/// assert!(matches!(sender.try_send(2), Err(SendError::Full(2))));
/// drop(receiver);
/// assert!(matches!(sender.send(2), Err(SendError::Disconnected(2))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there is no shared memory to be had.
///
/// # Panics
/// If `capacity` is 0: a channel has room for one item at least.
pub fn bounded_channel<T>(capacity: u32) -> Result<(Sender<T>, Receiver<T>), OutOfMemory> {
    assert!(capacity > 0, "a channel has room for one item at least");
    ends(Queue::bounded(capacity)?)
}

fn ends<T>(queue: Queue<T>) -> Result<(Sender<T>, Receiver<T>), OutOfMemory> {
    let (to_send, to_receive) = End::pair()?;
    Ok((Sender::new(queue.clone(), to_send), Receiver::new(queue, to_receive)))
}
