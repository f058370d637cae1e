//! Channels between threads: as those between [processes](mod@crate::channel), of values of any type.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kettle_core::wait::Line;

pub use crate::channel::{RecvError, SendError};

use super::queue::Queue;

/// The ends of a new channel without a bound: `send` never waits.
///
/// ```
/// use kettle::threads::{RecvError, channel};
///
/// let Ok((sender, receiver)) = channel();
/// std::thread::spawn(move || sender.send(Box::new(5)));
/// assert_eq!(receiver.recv(), Ok(Box::new(5)));
/// // The thread has ended, and its sender with it.
/// assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
/// ```
///
/// # Errors
/// Never.
pub fn channel<T>() -> Result<(Sender<T>, Receiver<T>), Infallible> {
    let Ok(queue) = Queue::new();
    Ok(ends(queue))
}

/// The ends of a new channel of at most `capacity` items, beyond which `send` waits.
///
/// ```
/// use kettle::threads::{SendError, bounded_channel};
///
/// let Ok((sender, receiver)) = bounded_channel(1);
/// sender.send(1)?;
/// assert!(matches!(sender.try_send(2), Err(SendError::Full(2))));
/// drop(receiver);
/// assert!(matches!(sender.send(2), Err(SendError::Disconnected(2))));
/// # Ok::<(), SendError<i32>>(())
/// ```
///
/// # Errors
/// Never.
///
/// # Panics
/// If `capacity` is 0: a channel has room for one item at least.
pub fn bounded_channel<T>(capacity: u32) -> Result<(Sender<T>, Receiver<T>), Infallible> {
    assert!(capacity > 0, "a channel has room for one item at least");
    let Ok(queue) = Queue::bounded(capacity);
    Ok(ends(queue))
}

fn ends<T>(queue: Queue<T>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { queue, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    queue: Queue<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// An end of a [`channel`] that sends. A clone is another one.
pub struct Sender<T>(Arc<Shared<T>>);

/// An end of a [`channel`] that receives. A clone is another one: each item goes to one of them.
///
/// ```
/// let Ok((sender, receiver)) = kettle::threads::channel();
/// std::thread::scope(|scope| {
///     scope.spawn(move || (1..5).try_for_each(|n| sender.send(n)));
///     scope.spawn(move || {
///         let mut sum = 0;
///         for Ok(n) in receiver {
///             sum += n;
///         }
///         assert_eq!(sum, 10);
///     });
/// });
/// ```
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Sends an item, waiting for room if the channel is bounded.
    ///
    /// ```
    /// let Ok((sender, receiver)) = kettle::threads::channel();
    /// sender.send(1)?;
    /// assert_eq!(receiver.recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        Ok(self.0.queue.put(item)?)
    }

    /// Sends an item if there is room for it now.
    ///
    /// ```
    /// let Ok((sender, _receiver)) = kettle::threads::bounded_channel(1);
    /// sender.try_send(1)?;
    /// assert_eq!(sender.try_send(2), Err(kettle::SendError::Full(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        Ok(self.0.queue.try_put(item)?)
    }

    /// Sends an item, and waits for room for at most `timeout`.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<(), SendError<T>> {
        Ok(self.0.queue.put_timeout(item, timeout)?)
    }

    /// Sends an item, waiting for room without blocking the thread. Dropped before it is ready, the future has sent
    /// nothing.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    #[cfg(feature = "tokio")]
    pub async fn send_async(&self, item: T) -> Result<(), SendError<T>> {
        Ok(self.0.queue.put_async(item).await?)
    }

    /// Returns whether there are no receivers left.
    pub fn is_disconnected(&self) -> bool {
        self.0.receivers.load(Ordering::Acquire) == 0
    }

    /// For a [`Select`](crate::Select).
    pub(crate) fn room(&self) -> &Line {
        self.0.queue.room()
    }

    /// Whether a `send` would wait.
    ///
    /// ```
    /// let Ok((sender, _receiver)) = kettle::threads::bounded_channel(1);
    /// sender.send(1)?;
    /// assert!(sender.is_full());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_full(&self) -> bool {
        self.0.queue.is_full()
    }
}

impl<T> Receiver<T> {
    /// Receives the next item, waiting for it.
    ///
    /// ```
    /// let Ok((sender, receiver)) = kettle::threads::channel();
    /// sender.send(1)?;
    /// drop(sender);
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert_eq!(receiver.recv(), Err(kettle::RecvError::Disconnected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If there are no senders and no items left.
    pub fn recv(&self) -> Result<T, RecvError> {
        Ok(self.0.queue.get()?)
    }

    /// Receives the next item if it is there now.
    ///
    /// ```
    /// let Ok((_sender, receiver)) = kettle::threads::channel::<u8>();
    /// assert_eq!(receiver.try_recv(), Err(kettle::RecvError::Empty));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn try_recv(&self) -> Result<T, RecvError> {
        Ok(self.0.queue.try_get()?)
    }

    /// Receives the next item, and waits for it for at most `timeout`.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        Ok(self.0.queue.get_timeout(timeout)?)
    }

    /// Receives the next item, waiting for it without blocking the thread. An item is received only when the future
    /// returns it: dropped before, it has received nothing.
    ///
    /// # Errors
    /// If there are no senders and no items left.
    #[cfg(feature = "tokio")]
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        Ok(self.0.queue.get_async().await?)
    }

    /// Receives items, and waits for each, until there are no senders left.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives the items that are there.
    ///
    /// ```
    /// let Ok((sender, receiver)) = kettle::threads::channel();
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// assert_eq!(receiver.try_iter().count(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// Returns whether there are no senders left. There may still be items.
    pub fn is_disconnected(&self) -> bool {
        self.0.senders.load(Ordering::Acquire) == 0
    }

    /// For [`wait`](crate::wait()).
    pub(crate) fn queue(&self) -> &Queue<T> {
        &self.0.queue
    }
}

/// What both kinds of ends have in common. After the last one of a kind, `$over` happens to the queue.
macro_rules! ends {
    ($($name:ident, $count:ident, $over:ident);+) => {$(
        impl<T> $name<T> {
            /// How many items are inside.
            pub fn len(&self) -> usize {
                self.0.queue.len()
            }

            /// Whether no item is inside.
            pub fn is_empty(&self) -> bool {
                self.0.queue.is_empty()
            }

            /// How many items there is room for; `None` if there is no bound.
            pub fn capacity(&self) -> Option<u32> {
                self.0.queue.maxsize()
            }
        }

        impl<T> Clone for $name<T> {
            /// Another end of this kind.
            fn clone(&self) -> Self {
                self.0.$count.fetch_add(1, Ordering::Relaxed);
                Self(Arc::clone(&self.0))
            }
        }

        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                if self.0.$count.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.0.queue.$over();
                }
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut f = f.debug_struct(stringify!($name));
                f.field("len", &self.len()).field("capacity", &self.capacity()).finish_non_exhaustive()
            }
        }
    )+};
}

ends! {
    Sender, senders, shutdown;
    Receiver, receivers, shutdown_now
}

/// Items as they come: see [`Receiver::iter`].
#[derive(Debug)]
#[must_use = "an iterator receives nothing until it is asked"]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// The items that are there: see [`Receiver::try_iter`].
#[derive(Debug)]
#[must_use = "an iterator receives nothing until it is asked"]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// Items as they come, from a receiver of its own.
#[derive(Debug)]
#[must_use = "an iterator receives nothing until it is asked"]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = Result<T, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.recv().ok().map(Ok)
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = Result<T, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.try_recv().ok().map(Ok)
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = Result<T, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.recv().ok().map(Ok)
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, Infallible>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = Result<T, Infallible>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
