//! The ends that send.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kettle_core::wait::{Deadline, Line, Patience};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::End;
use super::error::SendError;
use super::half::Half;
use crate::queue::{PutError, Queue};

/// An end of a [`channel`](crate::channel()) that sends. A clone is another one.
pub struct Sender<T> {
    half: Half<T>,
    /// When it was last looked whether there are receivers, in milliseconds of [`now`].
    looked: AtomicU64,
}

/// The initial interval at which a waiting end checks whether a process has died.
pub(super) const SLICE: Duration = Duration::from_millis(10);

/// Milliseconds since this was asked first.
fn now() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    BEGINNING.get_or_init(Instant::now).elapsed().as_millis() as u64
}

impl<T> Sender<T> {
    pub(super) fn new(queue: Queue<T>, end: End) -> Self {
        Self { half: Half::new(queue, end), looked: AtomicU64::new(now()) }
    }

    /// Looks whether there are receivers. If there are none, all senders are told.
    fn look(&self) -> bool {
        self.looked.store(now(), Ordering::Relaxed);
        let is_gone = self.half.is_alone();
        if is_gone {
            self.half.queue().shutdown_now();
        }
        is_gone
    }

    /// Returns whether there are no receivers left.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel::<u8>()?;
    /// assert!(!sender.is_disconnected());
    /// drop(receiver);
    /// assert!(sender.is_disconnected());
    /// # Ok::<(), kettle::OutOfMemory>(())
    /// ```
    pub fn is_disconnected(&self) -> bool {
        self.half.queue().is_shut_down() || self.look()
    }

    /// For a [`Select`](crate::Select).
    pub(crate) fn space(&self) -> &Line {
        self.half.queue().space()
    }

    /// How many items are inside.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel()?;
    /// sender.send(1)?;
    /// assert_eq!(sender.len(), 1);
    /// # drop(receiver);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.half.queue().len()
    }

    /// Whether no item is inside.
    ///
    /// ```
    /// let (sender, _receiver) = kettle::channel::<u8>()?;
    /// assert!(sender.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.half.queue().is_empty()
    }

    /// Whether a `send` would wait.
    ///
    /// ```
    /// let (sender, _receiver) = kettle::bounded_channel(1)?;
    /// sender.send(1)?;
    /// assert!(sender.is_full());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_full(&self) -> bool {
        self.half.queue().is_full()
    }

    /// How many items there is room for; `None` if there is no bound.
    ///
    /// ```
    /// let (sender, _receiver) = kettle::bounded_channel::<u8>(5)?;
    /// assert_eq!(sender.capacity(), Some(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn capacity(&self) -> Option<u32> {
        self.half.queue().maxsize()
    }
}

impl<T: Serialize + DeserializeOwned> Sender<T> {
    fn send_with(&self, item: T, deadline: Deadline) -> Result<(), SendError<T>> {
        if now().wrapping_sub(self.looked.load(Ordering::Relaxed)) >= SLICE.as_millis() as u64 && self.look() {
            return Err(SendError::Disconnected(item));
        }
        let stop = || self.look();
        match self.half.queue().put_with(item, &Patience::until(deadline).interrupted_by(SLICE, &stop)) {
            Err(PutError::Full(item)) if self.half.queue().is_shut_down() => Err(SendError::Disconnected(item)),
            result => Ok(result?),
        }
    }

    /// Sends an item, waiting for room if the channel is bounded. When this returns, the item is safe in shared memory:
    /// this process may end.
    ///
    /// ```
    /// let (sender, receiver) = kettle::channel()?;
    /// sender.send(1)?;
    /// assert_eq!(receiver.recv()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.send_with(item, Deadline::NEVER)
    }

    /// Sends an item if there is room for it now.
    ///
    /// ```
    /// let (sender, _receiver) = kettle::bounded_channel(1)?;
    /// sender.try_send(1)?;
    /// assert_eq!(sender.try_send(2), Err(kettle::SendError::Full(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        self.send_with(item, Deadline::NOW)
    }

    /// Sends an item, and waits for room for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = kettle::bounded_channel(1)?;
    /// sender.send(1)?;
    /// assert!(sender.send_timeout(2, Duration::from_millis(1)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.send_with(item, Deadline::after(timeout))
    }

    /// Sends an item, waiting for room without blocking the thread. Dropped before it is ready, the future has sent
    /// nothing.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    #[cfg(feature = "tokio")]
    pub async fn send_async(&self, item: T) -> Result<(), SendError<T>> {
        if self.look() {
            return Err(SendError::Disconnected(item));
        }
        let stop = || self.look();
        match self.half.queue().put_async_unless(item, &stop).await {
            Err(PutError::Full(item)) => Err(SendError::Disconnected(item)),
            result => Ok(result?),
        }
    }
}

impl<T> Clone for Sender<T> {
    /// Another sender.
    fn clone(&self) -> Self {
        Self { half: self.half.clone(), looked: AtomicU64::new(now()) }
    }
}

impl<T> Drop for Sender<T> {
    /// After the last one, receivers get what is inside, and then that they are disconnected.
    fn drop(&mut self) {
        if self.half.leave() {
            self.half.queue().shutdown();
        }
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.half.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { half: Half::deserialize(deserializer)?, looked: AtomicU64::new(now()) })
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("len", &self.len()).field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}
