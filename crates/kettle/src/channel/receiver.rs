//! The ends that receive.

use std::fmt;
use std::time::Duration;

use kettle_core::wait::{Deadline, Patience};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::End;
use super::error::RecvError;
use super::half::Half;
use super::sender::SLICE;
use crate::queue::{GetError, Queue};

/// An end of a [`channel`](crate::channel()) that receives. A clone is another one: each item goes to one of them.
///
/// In a `for` loop, it yields items until there are no senders left:
///
/// ```
/// let (sender, receiver) = kettle::channel()?;
/// for word in ["some", "words"] {
///     sender.send(word.to_string())?;
/// }
/// drop(sender);
/// let mut text = String::new();
/// for word in &receiver {
///     text += &word?;
/// }
/// assert_eq!(text, "somewords");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Receiver<T> {
    half: Half<T>,
}

impl<T> Receiver<T> {
    pub(super) fn new(queue: Queue<T>, end: End) -> Self {
        Self { half: Half::new(queue, end) }
    }

    /// Looks whether there are senders. If there are none, all receivers are told once they have what is inside.
    fn look(&self) -> bool {
        let is_gone = self.half.is_alone();
        if is_gone {
            self.half.queue().shutdown();
        }
        is_gone
    }

    /// Returns whether there are no senders left. There may still be items.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel::<u8>()?;
    /// assert!(!receiver.is_disconnected());
    /// drop(sender);
    /// assert!(receiver.is_disconnected());
    /// # Ok::<(), kettle::OutOfMemory>(())
    /// ```
    pub fn is_disconnected(&self) -> bool {
        self.half.queue().is_shut_down() || self.look()
    }

    /// How many items are inside.
    pub fn len(&self) -> usize {
        self.half.queue().len()
    }

    /// Whether no item is inside.
    pub fn is_empty(&self) -> bool {
        self.half.queue().is_empty()
    }

    /// How many items there is room for; `None` if there is no bound.
    pub fn capacity(&self) -> Option<u32> {
        self.half.queue().maxsize()
    }

    /// For [`wait`](crate::wait()).
    pub(crate) fn queue(&self) -> &Queue<T> {
        self.half.queue()
    }

    /// Whether an item can be received now, or never again.
    pub(crate) fn is_ready(&self) -> bool {
        !self.half.queue().is_empty() || self.is_disconnected()
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    fn recv_with(&self, deadline: Deadline) -> Result<T, RecvError> {
        let stop = || self.look();
        loop {
            match self.half.queue().get_with(&Patience::until(deadline).interrupted_by(SLICE, &stop)) {
                // Between its last look and their end senders may have sent.
                Err(GetError::Empty) if self.is_disconnected() => match self.half.queue().try_get() {
                    Err(GetError::Empty) => {}
                    result => return Ok(result?),
                },
                result => return Ok(result?),
            }
        }
    }

    /// Receives the next item, waiting for it.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel()?;
    /// sender.send(1)?;
    /// drop(sender);
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert_eq!(receiver.recv(), Err(kettle::RecvError::Disconnected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_with(Deadline::NEVER)
    }

    /// Receives the next item if it is there now.
    ///
    /// ```
    /// let (_sender, receiver) = kettle::channel::<u8>()?;
    /// assert_eq!(receiver.try_recv(), Err(kettle::RecvError::Empty));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn try_recv(&self) -> Result<T, RecvError> {
        self.recv_with(Deadline::NOW)
    }

    /// Receives the next item, and waits for it for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (_sender, receiver) = kettle::channel::<u8>()?;
    /// assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(kettle::RecvError::Empty));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_with(Deadline::after(timeout))
    }

    /// Receives the next item, waiting for it without blocking the thread. An item is received only when the future
    /// returns it: dropped before, it has received nothing.
    ///
    /// # Errors
    /// See [`RecvError`].
    #[cfg(feature = "tokio")]
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        let look = || {
            self.look();
        };
        Ok(self.half.queue().get_async_looking(&look).await?)
    }

    /// Receives items, waiting for each, until there is no sender any more. An item that cannot be rebuilt is an error
    /// in its place; those behind it follow.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel()?;
    /// sender.send(1)?;
    /// drop(sender);
    /// assert_eq!(receiver.iter().collect::<Result<Vec<_>, _>>()?, [1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives the items that are there.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel()?;
    /// sender.send(1)?;
    /// sender.send(2)?;
    /// assert_eq!(receiver.try_iter().collect::<Result<Vec<_>, _>>()?, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

/// What a step of an iterator gives.
fn step<T>(received: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
    match received {
        Err(RecvError::Disconnected | RecvError::Empty) => None,
        result => Some(result),
    }
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

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        step(self.0.recv())
    }
}

impl<T: DeserializeOwned> Iterator for TryIter<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        step(self.0.try_recv())
    }
}

impl<T: DeserializeOwned> Iterator for IntoIter<T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        step(self.0.recv())
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: DeserializeOwned> IntoIterator for Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<T> Clone for Receiver<T> {
    /// Another receiver: each item goes to one of them.
    fn clone(&self) -> Self {
        Self { half: self.half.clone() }
    }
}

impl<T> Drop for Receiver<T> {
    /// After the last one, senders are told, and what is inside is dropped.
    fn drop(&mut self) {
        if self.half.leave() {
            self.half.queue().shutdown_now();
        }
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.half.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { half: Half::deserialize(deserializer)? })
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("len", &self.len()).field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}
