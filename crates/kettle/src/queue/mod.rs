//! Queues between processes.

mod error;
mod familiar;
pub(crate) mod message;
mod taken;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::queue as core;
use kettle_core::shared::ArenaStore;
#[cfg(feature = "tokio")]
use kettle_core::shared::Processes;
use kettle_core::wait::{Deadline, Line, Patience, Stopped};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{GetError, JoinError, PutError, TooManyDone};
pub(crate) use familiar::familiar_names;
pub use kettle_core::stats::QueueStatistics;
pub(crate) use taken::Joinable;
pub use taken::Taken;

use crate::codec::by_token;
use crate::error::{OutOfMemory, SessionDamaged};
use crate::session;
use message::{Incoming, Outgoing};

/// A first-in, first-out queue for any number of processes and threads.
///
/// [`put`](Self::put) returns once the item is in shared memory: from then on the process may end or be killed. A
/// process that is killed in the middle of a `put` or a `get` blocks no other one, and leaves no incomplete message.
///
/// ```
/// let queue = kettle::Queue::bounded(2)?;
/// queue.put("first".to_string())?;
/// queue.put("second".to_string())?;
/// assert!(matches!(queue.try_put("third".to_string()), Err(kettle::PutError::Full(item)) if item == "third"));
/// assert_eq!(queue.get()?, "first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones are handles to the same queue, which exists while any process has one. A handle that was itself sent through
/// a queue keeps it alive until the session ends, because the receiver is not known in advance.
pub struct Queue<T> {
    pub(crate) body: Handle<core::Queue>,
    items: PhantomData<fn(T) -> T>,
}

/// A queue that tracks whether all items put into it have been processed.
///
/// [`take`](Self::take) returns an item in a guard, which marks the item as done when it is dropped; for an item from
/// [`get`](Self::get), the consumer calls [`task_done`](Self::task_done). [`join`](Self::join) waits for all of them.
/// If a process dies with items that it has not finished, `join` reports it instead of waiting forever.
///
/// ```
/// let jobs = kettle::JoinableQueue::new()?;
/// jobs.put(1)?;
/// let job: i32 = jobs.get()?;
/// assert_eq!(jobs.join_timeout(std::time::Duration::ZERO), Err(kettle::queue::JoinError::TimedOut));
/// jobs.task_done()?;
/// jobs.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JoinableQueue<T> {
    pub(crate) body: Handle<core::Queue>,
    items: PhantomData<fn(T) -> T>,
}

/// A queue with a minimal interface: it is unbounded, and can be neither joined nor shut down.
pub struct SimpleQueue<T>(Queue<T>);

/// An iterator that takes the items of a queue, and waits for each, until the queue is shut down and empty.
///
/// ```
/// let queue = kettle::Queue::new()?;
/// for word in ["some", "words"] {
///     queue.put(word.to_string())?;
/// }
/// queue.shutdown();
/// let mut text = String::new();
/// for word in &queue {
///     text += &word?;
/// }
/// assert_eq!(text, "somewords");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "an iterator takes nothing until it is asked"]
pub struct Iter<'a, Q>(&'a Q);

pub(crate) fn until(timeout: Duration) -> Patience<'static> {
    Patience::until(Deadline::after(timeout))
}

/// The methods of both kinds of queue.
macro_rules! queue_methods {
    ($name:ident, joinable = $joinable:literal) => {
        impl<T> $name<T> {
            /// Creates an empty, unbounded queue: `put` never waits.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.get()?, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// If there is no shared memory.
            pub fn new() -> Result<Self, OutOfMemory> {
                Self::bounded(0)
            }

            /// Creates an empty queue of at most `maxsize` items; `put` waits while it is full. 0 means no bound.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::bounded(1)?;")]
            /// queue.put(1)?;
            /// assert!(queue.try_put(2).is_err());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// If there is no shared memory.
            pub fn bounded(maxsize: u32) -> Result<Self, OutOfMemory> {
                session::join()?;
                Ok(Self::from_body(Handle::new(|| core::Queue::new(maxsize, $joinable))?))
            }

            fn from_body(body: Handle<core::Queue>) -> Self {
                Self { body, items: PhantomData }
            }

            /// Where those wait who want room for an item.
            pub(crate) fn space(&self) -> &Line {
                self.body.space()
            }

            /// Returns the number of items: exact at some instant during the call, but possibly out of date afterwards.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.len(), 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn len(&self) -> usize {
                self.body.len() as usize
            }

            /// Returns whether the queue is empty.
            ///
            /// ```
            #[doc = concat!("assert!(kettle::", stringify!($name), "::<u8>::new()?.is_empty());")]
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn is_empty(&self) -> bool {
                self.body.is_empty()
            }

            /// Returns whether a `put` would wait.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::bounded(1)?;")]
            /// queue.put(1)?;
            /// assert!(queue.is_full());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn is_full(&self) -> bool {
                self.body.is_full()
            }

            /// Returns the bound, if any.
            ///
            /// ```
            #[doc = concat!("assert_eq!(kettle::", stringify!($name), "::<u8>::bounded(5)?.maxsize(), Some(5));")]
            #[doc = concat!("assert_eq!(kettle::", stringify!($name), "::<u8>::new()?.maxsize(), None);")]
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn maxsize(&self) -> Option<u32> {
                Some(self.body.maxsize()).filter(|&n| n != 0)
            }

            /// Shuts the queue down: it accepts no more items. The remaining ones can still be taken; then `get`
            /// returns `ShutDown`.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.shutdown();
            /// assert!(queue.put(2).is_err());
            /// assert_eq!(queue.get()?, 1);
            /// assert_eq!(queue.get(), Err(kettle::GetError::ShutDown));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn shutdown(&self) {
                self.body.shutdown::<ArenaStore>(false);
            }

            /// Shuts the queue down and drops its items.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.shutdown_now();
            /// assert_eq!(queue.get(), Err(kettle::GetError::ShutDown));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn shutdown_now(&self) {
                self.body.shutdown::<ArenaStore>(true);
            }

            /// Returns whether the queue was shut down.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::<u8>::new()?;")]
            /// queue.shutdown();
            /// assert!(queue.is_shut_down());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn is_shut_down(&self) -> bool {
                self.body.is_shut()
            }

            /// Returns statistics of the queue.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.get()?;
            /// assert_eq!(queue.statistics().put, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn statistics(&self) -> QueueStatistics {
                self.body.statistics::<ArenaStore>()
            }
        }

        impl<T: Serialize + DeserializeOwned> $name<T> {
            pub(crate) fn put_with(&self, item: T, patience: &Patience<'_>) -> Result<(), PutError<T>> {
                let mut message = match Outgoing::of(&item) {
                    Ok(message) => message,
                    Err(e) => return Err(PutError::unsendable(item, e)),
                };
                message.put(&self.body, patience).map_err(|e| PutError::refused(item, e))
            }

            /// Puts an item, and waits for room if the queue is bounded and full. Once this returns, the item is safe.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put("safe".to_string())?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                self.put_with(item, &Patience::forever())
            }

            /// Puts an item if there is room now.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::bounded(1)?;")]
            /// queue.try_put(1)?;
            /// assert_eq!(queue.try_put(2), Err(kettle::PutError::Full(2)));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
                self.put_with(item, &Patience::none())
            }

            /// Puts an item, and waits for room for at most `timeout`.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = concat!("let queue = kettle::", stringify!($name), "::bounded(1)?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.put_timeout(2, Duration::from_millis(1)), Err(kettle::PutError::Full(2)));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
                self.put_with(item, &until(timeout))
            }

            /// Puts an item, and waits for room without blocking the thread. If the future is dropped before it is
            /// ready, nothing was put.
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            #[cfg(feature = "tokio")]
            pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
                let mut message = match Outgoing::of(&item) {
                    Ok(message) => message,
                    Err(e) => return Err(PutError::unsendable(item, e)),
                };
                let attempt = || match message.put(&self.body, &Patience::none()) {
                    Err(message::Refusal::Full) => None,
                    result => Some(result),
                };
                let result = crate::reactor::wait_on::<Processes, _>(self.body.space(), attempt).await;
                result.map_err(|e| PutError::refused(item, e))
            }
        }

        impl<T: DeserializeOwned> $name<T> {
            pub(crate) fn get_with(&self, patience: &Patience<'_>) -> Result<T, GetError> {
                Incoming::take(&self.body, patience)?.decode().map_err(GetError::Decode)
            }

            /// Takes the oldest item, and waits for one if the queue is empty.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.put(2)?;
            /// assert_eq!(queue.get()?, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn get(&self) -> Result<T, GetError> {
                self.get_with(&Patience::forever())
            }

            /// Takes the oldest item if there is one now.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::<u8>::new()?;")]
            /// assert_eq!(queue.try_get(), Err(kettle::GetError::Empty));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn try_get(&self) -> Result<T, GetError> {
                self.get_with(&Patience::none())
            }

            /// Takes the oldest item, and waits for one for at most `timeout`.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = concat!("let queue = kettle::", stringify!($name), "::<u8>::new()?;")]
            /// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(kettle::GetError::Empty));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
                self.get_with(&until(timeout))
            }

            /// Takes the oldest item, and waits for one without blocking the thread. An item is taken only when the
            /// future returns it: if the future is dropped before, nothing was taken.
            ///
            /// # Errors
            /// See [`GetError`].
            #[cfg(feature = "tokio")]
            pub async fn get_async(&self) -> Result<T, GetError> {
                let attempt = || match Incoming::take(&self.body, &Patience::none()) {
                    Err(core::GetError::Empty | core::GetError::Interrupted) => None,
                    result => Some(result),
                };
                let taken = crate::reactor::wait_on::<Processes, _>(self.body.items(), attempt).await;
                taken?.decode().map_err(GetError::Decode)
            }

            /// Takes items, and waits for each, until the queue is shut down and empty. An item that cannot be decoded
            /// yields an error in its place, and the later ones follow. An item that could not be taken also yields an
            /// error, and the next step tries again.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.put(2)?;
            /// queue.shutdown();
            /// let items: Result<Vec<i32>, _> = queue.iter().collect();
            /// assert_eq!(items?, [1, 2]);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn iter(&self) -> Iter<'_, Self> {
                Iter(self)
            }
        }

        impl<T: DeserializeOwned> Iterator for Iter<'_, $name<T>> {
            type Item = Result<T, GetError>;

            fn next(&mut self) -> Option<Self::Item> {
                match self.0.get() {
                    Err(GetError::Empty | GetError::ShutDown) => None,
                    result => Some(result),
                }
            }
        }

        impl<'a, T: DeserializeOwned> IntoIterator for &'a $name<T> {
            type Item = Result<T, GetError>;
            type IntoIter = Iter<'a, $name<T>>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        by_token!($name<T>);

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    };
}

queue_methods!(Queue, joinable = false);
queue_methods!(JoinableQueue, joinable = true);
familiar_names!(Queue<T>, put: [Serialize, DeserializeOwned], get: [DeserializeOwned]);
familiar_names!(JoinableQueue<T>, put: [Serialize, DeserializeOwned], get: [DeserializeOwned]);

#[cfg(feature = "tokio")]
impl<T: Serialize + DeserializeOwned> Queue<T> {
    /// As [`put_async`](Self::put_async), but stops, as if the queue were full, once `stop` returns true; it is called
    /// at intervals.
    pub(crate) async fn put_async_unless(&self, item: T, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), PutError<T>> {
        let mut message = match Outgoing::of(&item) {
            Ok(message) => message,
            Err(e) => return Err(PutError::unsendable(item, e)),
        };
        let attempt = || match message.put(&self.body, &Patience::none()) {
            Err(message::Refusal::Full) if !stop() => None,
            result => Some(result),
        };
        let result = crate::reactor::wait_on::<Processes, _>(self.body.space(), attempt).await;
        result.map_err(|e| PutError::refused(item, e))
    }
}

#[cfg(feature = "tokio")]
impl<T: DeserializeOwned> Queue<T> {
    /// As [`get_async`](Self::get_async), but calls `look`, which may shut the queue down, at intervals while it is
    /// empty.
    pub(crate) async fn get_async_looking(&self, look: &(dyn Fn() + Sync)) -> Result<T, GetError> {
        let attempt = || match Incoming::take(&self.body, &Patience::none()) {
            Err(core::GetError::Empty | core::GetError::Interrupted) => {
                look();
                match Incoming::take(&self.body, &Patience::none()) {
                    Err(core::GetError::Empty | core::GetError::Interrupted) => None,
                    result => Some(result),
                }
            }
            result => Some(result),
        };
        let taken = crate::reactor::wait_on::<Processes, _>(self.body.items(), attempt).await;
        taken?.decode().map_err(GetError::Decode)
    }
}

impl<T> Joinable<T> for JoinableQueue<T> {
    fn mark_done(&self) {
        // Too many are done only if the caller also calls `task_done` itself.
        let _ = self.task_done();
    }

    /// The item remains unfinished: `join` reports it when this process ends.
    fn mark_lost(&self) {}
}

impl<T: DeserializeOwned> JoinableQueue<T> {
    /// Takes the oldest item, and waits for one if the queue is empty; the guard marks it as done when it is dropped.
    ///
    /// ```
    /// let jobs = kettle::JoinableQueue::new()?;
    /// jobs.put("a job".to_string())?;
    /// {
    ///     let job = jobs.take()?;
    ///     assert_eq!(job.len(), 5);
    /// }
    /// jobs.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn take(&self) -> Result<Taken<'_, T>, GetError> {
        self.get().map(|item| Taken::new(item, self))
    }

    /// As [`take`](Self::take), if there is an item now.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn try_take(&self) -> Result<Taken<'_, T>, GetError> {
        self.try_get().map(|item| Taken::new(item, self))
    }

    /// As [`take`](Self::take), waiting at most this long.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn take_timeout(&self, timeout: Duration) -> Result<Taken<'_, T>, GetError> {
        self.get_timeout(timeout).map(|item| Taken::new(item, self))
    }

    /// As [`take`](Self::take), without blocking the thread. If the future is dropped before it is ready, nothing was
    /// taken; if the guard is dropped, because the task that works on the item is dropped for example, the item is
    /// done.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let jobs = kettle::JoinableQueue::new()?;
    /// jobs.put(5)?;
    /// assert_eq!(*jobs.take_async().await?, 5);
    /// jobs.join_async().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`GetError`].
    #[cfg(feature = "tokio")]
    pub async fn take_async(&self) -> Result<Taken<'_, T>, GetError>
    where
        T: Send,
    {
        self.get_async().await.map(|item| Taken::new(item, self))
    }
}

impl<T> JoinableQueue<T> {
    /// Marks one item as done: one that was taken or, if no such item is outstanding, the oldest one in the queue.
    ///
    /// # Errors
    /// If all items that were put are already done.
    pub fn task_done(&self) -> Result<(), TooManyDone> {
        let done = self.body.task_done::<ArenaStore>().or_else(|core::TooManyDone| {
            // In a damaged session no item can be marked.
            let ahead = self.body.task_done_ahead::<ArenaStore>(&Patience::forever());
            ahead.unwrap_or(Err(core::TooManyDone))
        });
        done.map_err(|core::TooManyDone| TooManyDone)
    }

    fn join_with(&self, patience: &Patience<'_>) -> Result<(), JoinError> {
        self.body.join::<ArenaStore>(patience).map_err(join_error)
    }

    /// Waits until every item that was put is done.
    ///
    /// # Errors
    /// If a process died with unfinished items.
    pub fn join(&self) -> Result<(), JoinError> {
        self.join_with(&Patience::forever())
    }

    /// Waits for at most `timeout` until every item that was put is done.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
        self.join_with(&until(timeout))
    }

    /// Waits until every item that was put is done, without blocking the thread.
    ///
    /// # Errors
    /// If a process died with unfinished items.
    #[cfg(feature = "tokio")]
    pub async fn join_async(&self) -> Result<(), JoinError> {
        let attempt = || match self.join_with(&Patience::none()) {
            Err(JoinError::TimedOut) => None,
            result => Some(result),
        };
        crate::reactor::wait_on::<Processes, _>(self.body.finished(), attempt).await
    }

    /// Returns the number of items that are in the queue, or taken and not done.
    pub fn unfinished(&self) -> usize {
        self.body.unfinished::<ArenaStore>() as usize
    }
}

fn join_error(e: core::JoinError) -> JoinError {
    match e {
        core::JoinError::Stopped(Stopped::TimedOut | Stopped::Interrupted) => JoinError::TimedOut,
        core::JoinError::Exhausted(e) => JoinError::OutOfMemory(e.into()),
        core::JoinError::Stopped(Stopped::NoPart) => JoinError::OutOfMemory(OutOfMemory::no_part()),
        core::JoinError::Stopped(Stopped::Damaged) => JoinError::Damaged(SessionDamaged::found()),
        core::JoinError::ConsumerDied(loss) => JoinError::ConsumerDied {
            pid: kettle_core::arena::participants::pid_of(loss.consumer),
            unfinished: loss.unfinished,
        },
    }
}

impl<T> SimpleQueue<T> {
    /// Creates an empty queue.
    ///
    /// # Errors
    /// If there is no shared memory.
    pub fn new() -> Result<Self, OutOfMemory> {
        Queue::new().map(Self)
    }

    /// Returns whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns statistics of the queue.
    pub fn statistics(&self) -> QueueStatistics {
        self.0.statistics()
    }

    pub(crate) fn queue(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T: Serialize + DeserializeOwned> SimpleQueue<T> {
    /// Puts an item. Never waits.
    ///
    /// # Errors
    /// If the item cannot be encoded, or there is no memory; the error returns it.
    pub fn put(&self, item: T) -> Result<(), PutError<T>> {
        self.0.put(item)
    }
}

impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Takes the oldest item, and waits for one if the queue is empty.
    ///
    /// # Errors
    /// If a message was taken that is not an item of this queue.
    pub fn get(&self) -> Result<T, GetError> {
        self.0.get()
    }
}

impl<T> Clone for SimpleQueue<T> {
    /// Creates another handle to the same queue.
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Serialize for SimpleQueue<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> serde::Deserialize<'de> for SimpleQueue<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::deserialize(deserializer).map(Self)
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueue").field("len", &self.0.len()).finish_non_exhaustive()
    }
}
