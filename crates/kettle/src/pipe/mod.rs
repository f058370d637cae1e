//! Pipes between two processes.

mod error;
mod one_way;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
#[cfg(feature = "tokio")]
use std::sync::Arc;
use std::time::Duration;

use kettle_core::arena::Way;
use kettle_core::shared::{self, Channel, PipeEnd, RECORD_HEADER, Received};
use kettle_core::sys::descriptor::KnownFd;
use kettle_core::sys::socket::Watch;
use kettle_core::wait::{Deadline, Patience, Stopped};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
#[cfg(feature = "tokio")]
use tokio::io::unix::AsyncFd;

use crate::codec::{self, Message, Unsendable};
use crate::error::{DecodeError, OutOfMemory, SessionDamaged};
use crate::process::take_inherited;
use crate::queue::message::{Incoming, Outgoing};
use crate::queue::until;
use crate::session;
pub use error::{PipeError, RecvError, SendError};
pub use one_way::{Receiver, Sender, one_way_pipe};

/// Two ends: the first sends `A` and receives `B`.
pub type Pipe<A, B = A> = (Connection<A, B>, Connection<B, A>);

/// Both ends of a new pipe: what one sends, the other receives, in both directions.
///
/// ```standalone_crate
/// use kettle::Connection;
///
/// kettle::task! {
///     fn double(peer: Connection<u64>) {
///         while let Ok(n) = peer.recv() {
///             peer.send(2 * n).expect("the parent still listens");
///         }
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     let (ours, theirs) = kettle::pipe()?;
///     let child = double::start(theirs)?;
///     ours.send(21u64)?;
///     assert_eq!(ours.recv()?, 42);
///     drop(ours); // the child finds the end of the pipe
///     child.join()?;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// When there is no shared memory or no descriptor to be had.
pub fn pipe<A, B>() -> Result<Pipe<A, B>, PipeError> {
    session::join().map_err(PipeError::OutOfMemory)?;
    match shared::pipe() {
        Ok([(a, ours), (b, theirs)]) => Ok((Connection::new(a, ours), Connection::new(b, theirs))),
        Err(shared::PipeError::Arena(e)) => Err(PipeError::OutOfMemory(e.into())),
        Err(shared::PipeError::Io(e)) => Err(PipeError::Io(e)),
    }
}

/// One end of a [`pipe`]: it sends `S` and receives `R`.
///
/// When a process that has the other end is killed, this end finds out at once, without a time limit.
///
/// An end may be an argument of a process that is started. To a process that runs already it cannot be sent.
pub struct Connection<S, R = S> {
    socket: KnownFd,
    channel: Channel,
    #[cfg(feature = "tokio")]
    watched: crate::reactor::Watched,
    types: PhantomData<fn(S) -> R>,
}

/// Longer than a receiver needs that is receiving at the same time.
const MOMENT: Duration = Duration::from_millis(1);

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeStatistics {
    /// Bytes of long messages that this end has sent and the other one not yet received.
    pub bytes_on_their_way: u64,
}

impl<S, R> Connection<S, R> {
    fn new(fd: OwnedFd, channel: Channel) -> Self {
        Self {
            socket: KnownFd::new(fd, "an end of a pipe"),
            channel,
            #[cfg(feature = "tokio")]
            watched: crate::reactor::Watched::default(),
            types: PhantomData,
        }
    }

    fn end(&self) -> PipeEnd<'_> {
        PipeEnd { socket: &self.socket, channel: Some(&self.channel) }
    }

    /// Whether something can be received now: an item, or the end of the pipe. Or an error: that the program closed the
    /// descriptor.
    pub fn is_ready(&self) -> bool {
        crate::wait::is_readable(self.as_fd()) || !self.socket.is_ours()
    }

    pub(crate) fn watch(&self) -> Option<Watch> {
        self.socket.is_ours().then(|| Watch::readable(self.socket.as_raw_fd()))
    }

    fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.get()?.try_clone_to_owned()
    }

    /// Watched by the runtime we run on.
    #[cfg(feature = "tokio")]
    fn asynchronous(&self) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
        self.watched.get(self.socket.get()?)
    }

    /// How it is.
    pub fn statistics(&self) -> PipeStatistics {
        PipeStatistics { bytes_on_their_way: self.channel.on_their_way() }
    }
}

impl<S: Serialize + DeserializeOwned, R> Connection<S, R> {
    fn send_with(&self, item: S, patience: &Patience<'_>) -> Result<(), SendError<S>> {
        match codec::encode(&item, Vec::new()) {
            Ok(message) => self.send_message(item, message, patience),
            Err(Unsendable::Encode(e)) => Err(SendError::Encode(item, e)),
            Err(Unsendable::OutOfMemory(e)) => Err(SendError::OutOfMemory(item, e)),
        }
    }

    fn send_message(&self, item: S, message: Message, patience: &Patience<'_>) -> Result<(), SendError<S>> {
        let end = self.end();
        let result = if message.is_plain() && end.takes_short(message.bytes.len()) {
            end.send(0, &message.bytes, patience)
        } else {
            let mut message = match Outgoing::new(0, message) {
                Ok(message) => message,
                Err(e) => return Err(SendError::OutOfMemory(item, e)),
            };
            end.send_through(&self.channel, message.parcel(), patience)
        };
        result.map_err(|e| SendError::new(item, e))
    }

    /// Sends an item, waiting for room if the other end lags behind.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send(&self, item: S) -> Result<(), SendError<S>> {
        self.send_with(item, &Patience::forever())
    }

    /// Sends an item if there is room for it now.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn try_send(&self, item: S) -> Result<(), SendError<S>> {
        self.send_with(item, &Patience::until(Deadline::NOW))
    }

    /// Sends an item, and waits for room for at most `timeout`.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    pub fn send_timeout(&self, item: S, timeout: Duration) -> Result<(), SendError<S>> {
        self.send_with(item, &until(timeout))
    }

    /// Sends an item, waiting for room without blocking the thread. Dropped before it is ready, the future has sent
    /// nothing.
    ///
    /// # Errors
    /// See [`SendError`]; the item comes back with it.
    #[cfg(feature = "tokio")]
    pub async fn send_async(&self, mut item: S) -> Result<(), SendError<S>> {
        let watched = match self.asynchronous() {
            Ok(watched) => watched,
            Err(e) => return Err(SendError::Io(item, e)),
        };
        loop {
            item = match self.try_send(item) {
                Err(SendError::Full(item)) => item,
                result => return result,
            };
            // Long messages may have to wait until others are received, which no descriptor announces.
            match tokio::time::timeout(crate::reactor::LOOK_AGAIN, watched.writable()).await {
                Ok(Ok(mut ready)) => {
                    ready.clear_ready();
                    tokio::task::yield_now().await;
                }
                Ok(Err(e)) => return Err(SendError::Io(item, e)),
                Err(_) => {}
            }
        }
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    fn recv_with(&self, patience: &Patience<'_>) -> Result<R, RecvError> {
        let mut bytes = Vec::new();
        let decoded = match self.receive(&mut bytes, patience) {
            Ok(Received::Inline(_)) => codec::decode(&bytes[RECORD_HEADER..], Vec::new()),
            Ok(Received::Announced(taken)) => Incoming::new(taken, bytes).decode(),
            Err(shared::ReceiveError::End) => return Err(RecvError::Closed),
            Err(shared::ReceiveError::Stopped(Stopped::Damaged)) => {
                return Err(RecvError::Damaged(SessionDamaged::found()));
            }
            Err(shared::ReceiveError::Stopped(Stopped::NoPart)) => {
                return Err(RecvError::OutOfMemory(OutOfMemory::no_part()));
            }
            Err(shared::ReceiveError::Stopped(Stopped::TimedOut | Stopped::Interrupted)) => {
                return Err(RecvError::Empty);
            }
            Err(shared::ReceiveError::Unmapped(e)) => return Err(RecvError::OutOfMemory(e.into())),
            Err(shared::ReceiveError::Io(e)) => return Err(RecvError::Io(e)),
            Err(shared::ReceiveError::Foreign | shared::ReceiveError::NoChannel) => {
                Err(DecodeError("this record is no message".into()))
            }
        };
        decoded.map_err(RecvError::Decode)
    }

    fn receive(&self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Received, shared::ReceiveError> {
        let end = self.end();
        let seen = end.posted();
        match end.try_receive(bytes)? {
            Some(received) => Ok(received),
            None if patience.may_wait() => end.receive(bytes, seen, patience),
            // Only the system knows of the end, and this does not wait for it: the descriptor is readable already.
            None if self.is_ready() => end.receive(bytes, seen, &until(MOMENT)),
            None => Err(shared::ReceiveError::Stopped(Stopped::TimedOut)),
        }
    }

    /// Receives the next item, waiting for it.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv(&self) -> Result<R, RecvError> {
        self.recv_with(&Patience::forever())
    }

    /// Receives the next item if it is there now.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn try_recv(&self) -> Result<R, RecvError> {
        self.recv_with(&Patience::none())
    }

    /// Receives the next item, and waits for it for at most `timeout`.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R, RecvError> {
        self.recv_with(&until(timeout))
    }

    /// Receives the next item, waiting for it without blocking the thread. An item is taken only when the future
    /// returns it.
    ///
    /// # Errors
    /// See [`RecvError`].
    #[cfg(feature = "tokio")]
    pub async fn recv_async(&self) -> Result<R, RecvError> {
        let watched = self.asynchronous().map_err(RecvError::Io)?;
        loop {
            let mut ready = watched.readable().await.map_err(RecvError::Io)?;
            match self.try_recv() {
                // Another thread is receiving right now, and may leave the next item to this one.
                Err(RecvError::Empty) if self.is_ready() => tokio::task::yield_now().await,
                Err(RecvError::Empty) => ready.clear_ready(),
                result => return result,
            }
        }
    }

    /// Receives items, waiting for each, until the pipe comes to its end.
    pub fn iter(&self) -> impl Iterator<Item = Result<R, RecvError>> + '_ {
        std::iter::from_fn(|| match self.recv() {
            Err(RecvError::Closed) => None,
            result => Some(result),
        })
    }
}

impl<S, R> AsFd for Connection<S, R> {
    /// Readable when something can be received.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S, R> Serialize for Connection<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        if codec::is_described() {
            return Err(ser::Error::custom(
                "an end of a pipe cannot stand in a kettle::Described; send it beside that",
            ));
        }
        if codec::is_trial() {
            codec::lend((self.duplicate().map_err(ser::Error::custom)?, self.channel.clone()));
            return (self.socket.as_raw_fd(), &[0u8; Channel::TOKENS][..]).serialize(serializer);
        }
        let Some(ticket) = codec::ticket() else {
            return Err(ser::Error::custom("an end of a pipe can be given only to a process that is being started"));
        };
        let fd = self.duplicate().map_err(ser::Error::custom)?;
        let number = fd.as_raw_fd();
        codec::pass_on(fd);
        (number, &self.channel.tokens(Way::ToChild(ticket))[..]).serialize(serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, tokens) = <(i32, Vec<u8>)>::deserialize(deserializer)?;
        if codec::is_trial() {
            return codec::lent().map(|(fd, channel)| Self::new(fd, channel));
        }
        let fd = take_inherited(number).map_err(de::Error::custom)?;
        let channel = Channel::from_tokens(&tokens).map_err(de::Error::custom)?;
        Ok(Self::new(fd, channel))
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}
