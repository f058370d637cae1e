//! Receivers and queues as streams, and senders as sinks, for combinators of the crate `futures` and its kin.
//!
//! These are the traits of [`futures_core`] and [`futures_sink`]; the combinators are in other crates (`futures`,
//! `futures-lite`, `tokio-stream`), and work with these types. Like everything that is awaited here, they need a
//! runtime of tokio.
//!
//! | of | borrowed | owned |
//! |---|---|---|
//! | [`Receiver`], [`threads::Receiver`] | `stream()` | `into_stream()` |
//! | [`Queue`], [`JoinableQueue`], those of [`threads`] | `stream()` | `into_stream()` |
//! | [`Sender`], [`threads::Sender`] | `sink()` | `into_sink()` |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use futures::{SinkExt, StreamExt, TryStreamExt};
//!
//! let (sender, receiver) = kettle::bounded_channel(2)?;
//! let send = async {
//!     let mut numbers = futures::stream::iter(1..=10).map(Ok);
//!     sender.into_sink().send_all(&mut numbers).await // and closes it
//! };
//! let (sent, squares) = tokio::join!(send, receiver.stream().map_ok(|n: u64| n * n).try_collect::<Vec<_>>());
//! sent?;
//! assert_eq!(squares?, [1, 4, 9, 16, 25, 36, 49, 64, 81, 100]);
//! # Ok(())
//! # }
//! ```

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{Receiver, RecvError, SendError, Sender};
use crate::queue::{GetError, JoinableQueue, Queue};
use crate::threads;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The items of a queue or a channel, as they come; see [`streams`](self).
///
/// It ends when a loop over the queue or the receiver would: when there are no senders left, or when the queue was shut
/// down, and all items have been taken. An item is taken only when the stream gives it, so a stream can be dropped at
/// any time without loss.
#[must_use = "a stream takes nothing until it is polled"]
pub struct ItemStream<'a, I> {
    given: Slot<I>,
    /// Takes the items, one at each step. None: that was all.
    taking: Option<BoxFuture<'a, ()>>,
}

/// Where an item is handed over, in the middle of a step. One future takes all items, so that not each needs its own.
pub(crate) struct Slot<I>(Arc<Mutex<Option<I>>>);

impl<I> Slot<I> {
    /// Hands over an item, and ends the step.
    pub(crate) async fn give(&self, item: I) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(item);
        let mut is_next_step = false;
        poll_fn(|_| match std::mem::replace(&mut is_next_step, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    fn take(&self) -> Option<I> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<'a, I> ItemStream<'a, I> {
    /// The items that `taking` gives, until it ends.
    pub(crate) fn new<F: Future<Output = ()> + Send + 'a>(taking: impl FnOnce(Slot<I>) -> F) -> Self {
        let given = Arc::new(Mutex::new(None));
        let taking = taking(Slot(Arc::clone(&given)));
        Self { given: Slot(given), taking: Some(Box::pin(taking)) }
    }
}

impl<I> Stream for ItemStream<'_, I> {
    type Item = I;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<I>> {
        let Some(taking) = &mut self.taking else { return Poll::Ready(None) };
        if taking.as_mut().poll(context).is_ready() {
            self.taking = None;
            return Poll::Ready(None);
        }
        match self.given.take() {
            Some(item) => Poll::Ready(Some(item)),
            None => Poll::Pending,
        }
    }
}

impl<I> FusedStream for ItemStream<'_, I> {
    fn is_terminated(&self) -> bool {
        self.taking.is_none()
    }
}

impl<I> fmt::Debug for ItemStream<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").field("is_terminated", &self.is_terminated()).finish_non_exhaustive()
    }
}

/// An end that an [`ItemSink`] can send by.
pub(crate) trait Sends<T> {
    type Error;

    /// Sends an item if there is room for it now; gives it back if there is none.
    fn send_now(&self, item: T) -> Result<Option<T>, Self::Error>;

    fn send_later(&self, item: T) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A sender as a sink; see [`streams`](self).
///
/// It holds at most one item, for which there was no room; `flush` and `close` wait until it is sent. It is lost if the
/// sink is dropped before. To close the sink drops its sender.
#[must_use = "a sink sends nothing until items are put into it"]
pub struct ItemSink<'a, S: Deref, E> {
    /// None: it was closed.
    sender: Option<S>,
    waiting: Option<BoxFuture<'a, Result<(), E>>>,
}

impl<'a, S: Deref, E> ItemSink<'a, S, E> {
    pub(crate) fn new(sender: S) -> Self {
        Self { sender: Some(sender), waiting: None }
    }

    /// Waits until the item in hand is sent.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        if let Some(waiting) = &mut self.waiting {
            let sent = ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            sent?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<'a, T, S, E> Sink<T> for ItemSink<'a, S, E>
where
    T: Send + 'a,
    S: Deref<Target: Sends<T, Error = E>> + Clone + Send + Sync + Unpin + 'a,
{
    type Error = E;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.poll_sent(context)
    }

    fn start_send(mut self: Pin<&mut Self>, item: T) -> Result<(), E> {
        let sender = self.sender.as_ref().expect("nothing is sent by a sink after it was closed");
        if let Some(item) = sender.send_now(item)? {
            let sender = sender.clone();
            self.waiting = Some(Box::pin(async move { sender.send_later(item).await }));
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.poll_sent(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        ready!(self.poll_sent(context))?;
        self.sender = None;
        Poll::Ready(Ok(()))
    }
}

impl<S: Deref, E> fmt::Debug for ItemSink<'_, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("ItemSink");
        f.field("is_closed", &self.sender.is_none()).field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

/// The methods that make streams. `$step`: what a step gives, None at the end.
macro_rules! streamed {
    ($($name:ty, $t:ident: $($bound:path),+; $receive:ident, $error:ty, $step:expr);+ $(;)?) => {$(
        impl<$t: $($bound +)+> $name {
            /// Gives the items as a stream, as the iterator gives them; see [`streams`](crate::streams).
            pub fn stream(&self) -> ItemStream<'_, Result<$t, $error>> {
                ItemStream::new(|given| async move {
                    while let Some(item) = $step(self.$receive().await) {
                        given.give(item).await;
                    }
                })
            }

            /// As [`stream`](Self::stream), with a handle of its own.
            pub fn into_stream(self) -> ItemStream<'static, Result<$t, $error>>
            where
                $t: 'static,
            {
                ItemStream::new(|given| async move {
                    while let Some(item) = $step(self.$receive().await) {
                        given.give(item).await;
                    }
                })
            }
        }
    )+};
}

/// A step of a queue between processes.
fn got<T>(result: Result<T, GetError>) -> Option<Result<T, GetError>> {
    match result {
        Err(GetError::Empty | GetError::ShutDown) => None,
        result => Some(result),
    }
}

/// A step of a channel between processes.
fn received<T>(result: Result<T, RecvError>) -> Option<Result<T, RecvError>> {
    match result {
        Err(RecvError::Empty | RecvError::Disconnected) => None,
        result => Some(result),
    }
}

/// A step between threads, where nothing goes wrong.
fn there<T, E>(result: Result<T, E>) -> Option<Result<T, Infallible>> {
    result.ok().map(Ok)
}

streamed! {
    Queue<T>, T: DeserializeOwned, Send; get_async, GetError, got;
    JoinableQueue<T>, T: DeserializeOwned, Send; get_async, GetError, got;
    Receiver<T>, T: DeserializeOwned, Send; recv_async, RecvError, received;
    threads::Queue<T>, T: Send; get_async, Infallible, there;
    threads::LifoQueue<T>, T: Send; get_async, Infallible, there;
    threads::PriorityQueue<T>, T: Ord, Send; get_async, Infallible, there;
    threads::Receiver<T>, T: Send; recv_async, Infallible, there;
}

/// The methods that make sinks.
macro_rules! sinks {
    ($($name:ty, $t:ident: $($bound:path),+);+ $(;)?) => {$(
        impl<$t: $($bound +)+> Sends<$t> for $name {
            type Error = SendError<$t>;

            fn send_now(&self, item: $t) -> Result<Option<$t>, SendError<$t>> {
                match self.try_send(item) {
                    Ok(()) => Ok(None),
                    Err(SendError::Full(item)) => Ok(Some(item)),
                    Err(e) => Err(e),
                }
            }

            fn send_later(&self, item: $t) -> impl Future<Output = Result<(), SendError<$t>>> + Send {
                self.send_async(item)
            }
        }

        impl<$t: $($bound +)+> $name {
            /// Makes a sink that sends by this end; see [`streams`](crate::streams).
            pub fn sink(&self) -> ItemSink<'_, &Self, SendError<$t>> {
                ItemSink::new(self)
            }

            /// As [`sink`](Self::sink), with this end in it, which is dropped when the sink is closed.
            pub fn into_sink(self) -> ItemSink<'static, Arc<Self>, SendError<$t>>
            where
                $t: 'static,
            {
                ItemSink::new(Arc::new(self))
            }
        }
    )+};
}

sinks! {
    Sender<T>, T: Serialize, DeserializeOwned, Send;
    threads::Sender<T>, T: Send;
}
