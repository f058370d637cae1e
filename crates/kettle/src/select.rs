//! Taking the next item of whichever of several queues and channels has one first.

use std::fmt;
#[cfg(feature = "tokio")]
use std::future::poll_fn;
#[cfg(feature = "tokio")]
use std::pin::Pin;
#[cfg(feature = "tokio")]
use std::task::Poll;
use std::thread;
use std::time::Duration;

#[cfg(feature = "tokio")]
use kettle_core::shared::Processes;
#[cfg(feature = "tokio")]
use kettle_core::sync::Heap;
use kettle_core::wait::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{Receiver, RecvError, SendError, Sender};
use crate::queue::{GetError, JoinableQueue, PutError, Queue};
use crate::sync::Event;
use crate::threads;
use crate::wait::{Room, Waitable, wait_until};

/// How often to look where there is no descriptor to sleep on.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A choice between several queues, channels and events, of processes and threads alike: each wait gives what comes
/// first.
///
/// An *arm* consists of something to wait for and a function, which turns what comes from there into the type that all
/// arms have in common. [`wait`](Self::wait) returns that of one item; it can be called again for the next one.
///
/// ```
/// use kettle::{Event, RecvError, Select};
///
/// enum Message {
///     Word(String),
///     Number(u32),
///     NoMore(&'static str),
///     Stop,
/// }
///
/// let (words, word_receiver) = kettle::channel::<String>()?; // between processes
/// let Ok((numbers, number_receiver)) = kettle::threads::channel(); // between threads
/// let stop = Event::new()?;
///
/// let mut select = Select::new()
///     .on(&word_receiver, |word| word.map_or(Message::NoMore("words"), Message::Word))
///     .on(&number_receiver, |number| number.map_or(Message::NoMore("numbers"), Message::Number))
///     .on(&stop, |()| Message::Stop);
///
/// words.send("kettle".to_string())?;
/// assert!(matches!(select.wait(), Some(Message::Word(word)) if word == "kettle"));
/// numbers.send(7)?;
/// assert!(matches!(select.wait(), Some(Message::Number(7))));
/// drop(words);
/// assert!(matches!(select.wait(), Some(Message::NoMore("words"))));
/// stop.set();
/// assert!(matches!(select.wait(), Some(Message::Stop)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An arm whose channel is disconnected, or whose queue is shut down and empty, gives that error once, and is then left
/// out. When no arm is left, a wait returns `None`; so a loop over all items of several channels ends by itself:
///
/// ```
/// use kettle::Select;
/// use kettle::threads::channel;
///
/// let Ok((eggs, from_hens)) = channel();
/// let Ok((milk, from_cows)) = channel();
/// let got = std::thread::scope(|scope| {
///     scope.spawn(move || (0..10).try_for_each(|_| eggs.send(1)));
///     scope.spawn(move || (0..10).try_for_each(|_| milk.send(100)));
///     let mut select = Select::new().on(&from_hens, |egg| egg.ok()).on(&from_cows, |milk| milk.ok());
///     let mut sum = 0;
///     while let Some(got) = select.wait() {
///         sum += got.unwrap_or(0);
///     }
///     sum
/// });
/// assert_eq!(got, 1010);
/// ```
///
/// If several arms are ready, they take turns. A set event is ready until it is cleared.
///
/// An arm may also [send](Self::send) an item once there is room for it:
///
/// ```
/// use kettle::Select;
/// use kettle::threads::bounded_channel;
///
/// let Ok((full, _receiver)) = bounded_channel(1);
/// let Ok((free, receiver)) = bounded_channel(1);
/// full.send("first")?;
/// let mut select = Select::new().send(&full, "second", |_| "full").send(&free, "second", |_| "free");
/// assert_eq!(select.wait(), Some("free"));
/// assert_eq!(receiver.recv()?, "second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a select takes nothing until it waits"]
pub struct Select<'a, R> {
    arms: Vec<Box<dyn Arm<R> + 'a>>,
    /// The arm that is asked first next time.
    first: usize,
}

/// A thing that a [`Select`] can wait for: a queue, a receiver or an event, of [threads] or processes.
pub trait Selectable: Waitable + Sync + sealed::Source {}

impl<S: Waitable + Sync + sealed::Source> Selectable for S {}

/// A thing to which a [`Select`] can send items of type `T`: a queue or a sender, of [threads] or processes.
pub trait Accepts<T>: Sync + sealed::Target<T> {}

impl<T, S: Sync + sealed::Target<T>> Accepts<T> for S {}

mod sealed {
    #[cfg(feature = "tokio")]
    use super::Later;
    use super::Room;

    pub trait Target<T>: Sized {
        /// Why an item is not sent.
        type Error;

        /// Sends the item, unless there is no room for it now: then it comes back.
        fn send_now(&self, item: T) -> Result<Result<(), Self::Error>, T>;

        /// Waits until `attempt` gives something. It is asked now and when there may be room.
        #[cfg(feature = "tokio")]
        fn send_later<'a, R: Send + 'a>(&'a self, attempt: impl FnMut() -> Option<R> + Send + 'a) -> Later<'a, R>;

        /// Whether there is room.
        fn has_room<'a>(room: &'a Room<'_, Self>) -> &'a dyn crate::wait::Waitable;
    }

    pub trait Source {
        /// What comes from there: an item or an error.
        type Outcome;

        /// What is there now.
        fn now(&self) -> Option<Self::Outcome>;

        /// What is there now or comes later.
        #[cfg(feature = "tokio")]
        fn later(&self) -> Later<'_, Self::Outcome>;

        /// Whether nothing will come after this.
        fn is_last(outcome: &Self::Outcome) -> bool;
    }
}

use sealed::{Source, Target};

#[cfg(feature = "tokio")]
type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The time limit of [`Select::wait_timeout`] has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectTimeout;

impl fmt::Display for SelectTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing came within the time limit")
    }
}

impl std::error::Error for SelectTimeout {}

/// What an arm gave, and whether it was the last.
struct Given<R> {
    result: R,
    is_last: bool,
}

/// An arm, whatever it waits for.
trait Arm<R>: Send {
    fn thing(&self) -> &dyn Waitable;

    fn now(&mut self) -> Option<Given<R>>;

    #[cfg(feature = "tokio")]
    fn later<'s>(&'s mut self) -> Later<'s, Given<R>>
    where
        R: 's;
}

struct On<'a, S, F> {
    source: &'a S,
    then: F,
}

impl<S: Selectable, R, F: FnMut(S::Outcome) -> R + Send> On<'_, S, F> {
    fn give(then: &mut F, outcome: S::Outcome) -> Given<R> {
        let is_last = S::is_last(&outcome);
        Given { result: then(outcome), is_last }
    }
}

impl<S: Selectable, R, F: FnMut(S::Outcome) -> R + Send> Arm<R> for On<'_, S, F> {
    fn thing(&self) -> &dyn Waitable {
        self.source
    }

    fn now(&mut self) -> Option<Given<R>> {
        self.source.now().map(|outcome| Self::give(&mut self.then, outcome))
    }

    #[cfg(feature = "tokio")]
    fn later<'s>(&'s mut self) -> Later<'s, Given<R>>
    where
        R: 's,
    {
        let coming = self.source.later();
        let then = &mut self.then;
        Box::pin(async move { Self::give(then, coming.await) })
    }
}

/// An arm that sends. The item is there until it is sent.
struct Sends<'a, S, T, F> {
    target: &'a S,
    room: Room<'a, S>,
    item: Option<T>,
    then: Option<F>,
}

impl<T, S: Accepts<T>, R, F: FnOnce(Result<(), S::Error>) -> R> Sends<'_, S, T, F> {
    fn send(target: &S, item: &mut Option<T>, then: &mut Option<F>) -> Option<Given<R>> {
        match target.send_now(item.take()?) {
            Ok(sent) => then.take().map(|then| Given { result: then(sent), is_last: true }),
            Err(back) => {
                *item = Some(back);
                None
            }
        }
    }
}

impl<T: Send, S: Accepts<T>, R: Send, F: FnOnce(Result<(), S::Error>) -> R + Send> Arm<R> for Sends<'_, S, T, F> {
    fn thing(&self) -> &dyn Waitable {
        S::has_room(&self.room)
    }

    fn now(&mut self) -> Option<Given<R>> {
        Self::send(self.target, &mut self.item, &mut self.then)
    }

    #[cfg(feature = "tokio")]
    fn later<'s>(&'s mut self) -> Later<'s, Given<R>>
    where
        R: 's,
    {
        let Self { target, item, then, .. } = self;
        target.send_later(|| Self::send(target, item, then))
    }
}

impl<'a, R: 'a> Select<'a, R> {
    /// Creates a choice without arms.
    pub fn new() -> Self {
        Self { arms: Vec::new(), first: 0 }
    }

    /// Adds an arm: waits for `source` as well, and calls `then` with what comes from there: a `Result` with the item
    /// of a queue or a receiver, or `()` if it is an event.
    pub fn on<S: Selectable>(mut self, source: &'a S, then: impl FnMut(S::Outcome) -> R + Send + 'a) -> Self {
        self.arms.push(Box::new(On { source, then }));
        self
    }

    /// Adds an arm: sends `item` to `target`, a queue or a sender, once there is room for it, and calls `then` with the
    /// result. Then the arm is left out. If something else comes first in each wait, the item was not sent, and is
    /// dropped with the `Select`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use kettle::{PutError, Queue, Select};
    ///
    /// let queue = Queue::bounded(1)?;
    /// queue.put(1)?;
    /// let mut select = Select::new().send(&queue, 2, |sent| sent);
    /// assert!(select.wait_timeout(Duration::from_millis(1)).is_err());
    /// assert_eq!(queue.get()?, 1);
    /// assert_eq!(select.wait(), Some(Ok(())));
    /// assert_eq!(queue.get()?, 2);
    /// queue.shutdown();
    /// let mut select = Select::new().send(&queue, 3, |sent| sent);
    /// assert_eq!(select.wait(), Some(Err(PutError::ShutDown(3))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send<T: Send + 'a, S: Accepts<T>>(
        mut self,
        target: &'a S,
        item: T,
        then: impl FnOnce(Result<(), S::Error>) -> R + Send + 'a,
    ) -> Self
    where
        R: Send,
    {
        self.arms.push(Box::new(Sends { target, room: Room(target), item: Some(item), then: Some(then) }));
        self
    }

    /// Returns the number of arms that are left.
    pub fn len(&self) -> usize {
        self.arms.len()
    }

    /// Returns whether no arm is left.
    pub fn is_empty(&self) -> bool {
        self.arms.is_empty()
    }

    /// The arms' indices in the order in which they are asked this time.
    fn turns(&mut self) -> impl Iterator<Item = usize> + use<R> {
        let (first, len) = (self.first, self.arms.len());
        self.first = if first + 1 < len { first + 1 } else { 0 };
        (0..len).map(move |i| (first + i) % len)
    }

    /// The result, from the arm at this index, which is left out from now on if it was the last.
    fn given(&mut self, index: usize, given: Given<R>) -> R {
        if given.is_last {
            drop(self.arms.remove(index));
            self.first = 0;
        }
        given.result
    }

    /// Takes what one of the arms has now; `None` if none has anything.
    ///
    /// ```
    /// let Ok(queue) = kettle::threads::Queue::new();
    /// let mut select = kettle::Select::new().on(&queue, |item| item);
    /// assert_eq!(select.try_wait(), None);
    /// queue.put(5)?;
    /// assert_eq!(select.try_wait(), Some(Ok(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_wait(&mut self) -> Option<R> {
        let (index, given) = self.turns().find_map(|i| Some((i, self.arms[i].now()?)))?;
        Some(self.given(index, given))
    }

    /// Waits until one of the arms has something, and returns what its function makes of it; `None` if no arm is left.
    ///
    /// # Panics
    /// If there is an event of another process among them, and the session's shared memory is damaged.
    pub fn wait(&mut self) -> Option<R> {
        self.wait_with(Deadline::NEVER).unwrap_or(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use kettle::select::{Select, SelectTimeout};
    ///
    /// let queue = kettle::Queue::<u8>::new()?;
    /// let mut select = Select::new().on(&queue, |item| item);
    /// assert_eq!(select.wait_timeout(Duration::from_millis(1)), Err(SelectTimeout));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If nothing came by then.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<R>, SelectTimeout> {
        self.wait_with(Deadline::after(timeout))
    }

    fn wait_with(&mut self, deadline: Deadline) -> Result<Option<R>, SelectTimeout> {
        loop {
            if self.arms.is_empty() {
                return Ok(None);
            }
            if let Some(result) = self.try_wait() {
                return Ok(Some(result));
            }
            let things: Vec<_> = self.arms.iter().map(|arm| arm.thing()).collect();
            match wait_until(&things, deadline) {
                Ok(ready) if ready.is_empty() => return Err(SelectTimeout),
                // Another thread or process may have been faster.
                Ok(_) => {}
                // Out of descriptors: no bell, but no reason to give up. (If memory is damaged, the arms say so.)
                Err(_) if deadline.is_past() => return Err(SelectTimeout),
                Err(_) => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// As [`wait`](Self::wait), without blocking the thread. If the future is dropped before it is ready, nothing was
    /// taken.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use kettle::{Select, channel};
    ///
    /// let (questions, to_answer) = channel::<u32>()?;
    /// let (_stop, stopped) = channel::<()>()?;
    /// let mut select = Select::new().on(&to_answer, |question| question.ok()).on(&stopped, |_| None);
    /// let ask = async { questions.send_async(6).await };
    /// let (answer, sent) = tokio::join!(select.wait_async(), ask);
    /// sent?;
    /// assert_eq!(answer, Some(Some(6)));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tokio")]
    pub async fn wait_async(&mut self) -> Option<R> {
        if self.arms.is_empty() {
            return None;
        }
        let turns: Vec<_> = self.turns().collect();
        let (index, given) = {
            let mut waits: Vec<_> = self.arms.iter_mut().map(|arm| arm.later()).collect();
            // Each can be dropped without an effect, so only the first that is ready has one.
            poll_fn(|context| {
                for &i in &turns {
                    if let Poll::Ready(given) = waits[i].as_mut().poll(context) {
                        return Poll::Ready((i, given));
                    }
                }
                Poll::Pending
            })
            .await
        };
        Some(self.given(index, given))
    }
}

impl<'a, R: 'a> Default for Select<'a, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("arms", &self.arms.len()).finish_non_exhaustive()
    }
}

/// What comes from a queue or a receiver.
macro_rules! items {
    ($($name:ty, $t:ident: $($bound:path),+; $try:ident, $async:ident, $error:ident, $over:ident);+ $(;)?) => {$(
        impl<$t: $($bound +)+> Source for $name {
            type Outcome = Result<$t, $error>;

            fn now(&self) -> Option<Self::Outcome> {
                match self.$try() {
                    Err($error::Empty) => None,
                    outcome => Some(outcome),
                }
            }

            #[cfg(feature = "tokio")]
            fn later(&self) -> Later<'_, Self::Outcome> {
                Box::pin(self.$async())
            }

            fn is_last(outcome: &Self::Outcome) -> bool {
                // Damage is for ever too.
                matches!(outcome, Err($error::$over | $error::Damaged(_)))
            }
        }
    )+};
}

items! {
    Queue<T>, T: DeserializeOwned, Send; try_get, get_async, GetError, ShutDown;
    JoinableQueue<T>, T: DeserializeOwned, Send; try_get, get_async, GetError, ShutDown;
    Receiver<T>, T: DeserializeOwned, Send; try_recv, recv_async, RecvError, Disconnected;
    threads::Queue<T>, T: Send; try_get, get_async, GetError, ShutDown;
    threads::LifoQueue<T>, T: Send; try_get, get_async, GetError, ShutDown;
    threads::PriorityQueue<T>, T: Ord, Send; try_get, get_async, GetError, ShutDown;
    threads::Receiver<T>, T: Send; try_recv, recv_async, RecvError, Disconnected;
}

/// Where items are sent.
macro_rules! targets {
    ($($name:ty, $t:ident: $($bound:path),+; $try:ident, $error:ident, $home:ty, $room:ident);+ $(;)?) => {$(
        impl<$t: $($bound +)+> Target<$t> for $name {
            type Error = $error<$t>;

            fn send_now(&self, item: $t) -> Result<Result<(), $error<$t>>, $t> {
                match self.$try(item) {
                    Err($error::Full(item)) => Err(item),
                    sent => Ok(sent),
                }
            }

            #[cfg(feature = "tokio")]
            fn send_later<'a, R: Send + 'a>(&'a self, attempt: impl FnMut() -> Option<R> + Send + 'a) -> Later<'a, R> {
                Box::pin(crate::reactor::wait_on::<$home, _>(self.$room(), attempt))
            }

            fn has_room<'a>(room: &'a Room<'_, Self>) -> &'a dyn Waitable {
                room
            }
        }
    )+};
}

targets! {
    Queue<T>, T: Serialize, DeserializeOwned, Send; try_put, PutError, Processes, space;
    JoinableQueue<T>, T: Serialize, DeserializeOwned, Send; try_put, PutError, Processes, space;
    Sender<T>, T: Serialize, DeserializeOwned, Send; try_send, SendError, Processes, space;
    threads::Queue<T>, T: Send; try_put, PutError, Heap, room;
    threads::LifoQueue<T>, T: Send; try_put, PutError, Heap, room;
    threads::PriorityQueue<T>, T: Ord, Send; try_put, PutError, Heap, room;
    threads::Sender<T>, T: Send; try_send, SendError, Heap, room;
}

macro_rules! events {
    ($($name:ty),+) => {$(
        impl Source for $name {
            type Outcome = ();

            fn now(&self) -> Option<()> {
                self.wait_timeout(Duration::ZERO).then_some(())
            }

            #[cfg(feature = "tokio")]
            fn later(&self) -> Later<'_, ()> {
                Box::pin(self.wait_async())
            }

            fn is_last((): &()) -> bool {
                false
            }
        }
    )+};
}

events!(Event, threads::Event);
