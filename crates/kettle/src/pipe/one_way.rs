//! Pipes in one direction: each end has one half of a connection.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use kettle_core::sys::socket::Watch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Connection, PipeError, RecvError, SendError, pipe};

/// Both ends of a new pipe in one direction: out of the first comes what goes into the second.
///
/// # Errors
/// When there is no shared memory or no descriptor to be had.
pub fn one_way_pipe<T>() -> Result<(Receiver<T>, Sender<T>), PipeError> {
    pipe().map(|(to, from)| (Receiver(to), Sender(from)))
}

/// Nothing goes this way: no value of it exists.
#[derive(Clone, Copy, Debug)]
enum Nothing {}

/// The receiving end of a [`one_way_pipe`].
pub struct Receiver<T>(Connection<Nothing, T>);

/// The sending end of a [`one_way_pipe`].
pub struct Sender<T>(Connection<T, Nothing>);

/// What the ends of a pipe in one direction have in common.
macro_rules! one_way {
    ($name:ident) => {
        impl<T> AsFd for $name<T> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl<T> Serialize for $name<T> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de, T> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Connection::deserialize(deserializer).map(Self)
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }
    };
}

one_way!(Receiver);
one_way!(Sender);

impl<T: Serialize + DeserializeOwned> Sender<T> {
    /// Sends an item, waiting for room if the receiver lags behind.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.0.send(item)
    }

    /// Sends an item if there is room for it now.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        self.0.try_send(item)
    }

    /// Sends an item, and waits for room for at most `timeout`.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send_timeout(&self, item: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.0.send_timeout(item, timeout)
    }

    /// Sends an item, waiting for room without blocking the thread.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    #[cfg(feature = "tokio")]
    pub async fn send_async(&self, item: T) -> Result<(), SendError<T>> {
        self.0.send_async(item).await
    }
}

impl<T> Receiver<T> {
    pub(crate) fn can_receive(&self) -> bool {
        self.0.is_ready()
    }

    pub(crate) fn watch(&self) -> Option<Watch> {
        self.0.watch()
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Receives the next item, waiting for it.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// Receives the next item if it is there now.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn try_recv(&self) -> Result<T, RecvError> {
        self.0.try_recv()
    }

    /// Receives the next item, and waits for it for at most `timeout`.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.0.recv_timeout(timeout)
    }

    /// Receives the next item, waiting for it without blocking the thread.
    ///
    /// # Errors
    /// See [`RecvError`].
    #[cfg(feature = "tokio")]
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        self.0.recv_async().await
    }

    /// Receives items, waiting for each, until the pipe comes to its end.
    pub fn iter(&self) -> impl Iterator<Item = Result<T, RecvError>> + '_ {
        self.0.iter()
    }
}
