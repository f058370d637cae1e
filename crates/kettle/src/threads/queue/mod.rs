//! Queues between the threads of one process: of values of any type.

mod attempts;

use std::convert::Infallible;
use std::fmt;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use kettle_core::queue::local::{ByOrd, LocalQueue, NoOrder, Order, Sign};
#[cfg(feature = "tokio")]
use kettle_core::sync::Heap;
use kettle_core::wait::{Line, Patience};

pub use crate::queue::{GetError, JoinError, PutError, QueueStatistics, Taken, TooManyDone};

use crate::queue::{Joinable, familiar_names, until};
use attempts::{get, insist, put};

/// First in, first out, between any number of threads.
///
/// ```
/// use kettle::threads::Queue;
///
/// let Ok(queue) = Queue::bounded(2);
/// queue.put(Box::new("first"))?;
/// queue.put(Box::new("second"))?;
/// assert!(queue.try_put(Box::new("third")).is_err());
/// assert_eq!(*queue.get()?, "first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It knows when everything put into it is done. [`take`](Self::take) returns an item in a guard, which marks the item
/// as done when it is dropped; for an item from [`get`](Self::get), the consumer calls [`task_done`](Self::task_done).
/// [`join`](Self::join) waits until all items are done, and reports those with which a consumer panicked. (Those that
/// came from `get` are not reported: they are never done.)
pub struct Queue<T> {
    body: Arc<LocalQueue<T>>,
}

/// Last in, first out; else as a [`Queue`].
///
/// ```
/// let Ok(stack) = kettle::threads::LifoQueue::new();
/// stack.put_many(["first", "second", "third"])?;
/// assert_eq!(stack.get_many(3)?, ["third", "second", "first"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LifoQueue<T> {
    body: Arc<LocalQueue<T>>,
}

/// The smallest item first, and of several that are equal the one that was put first; else as a [`Queue`].
///
/// ```
/// let Ok(ward) = kettle::threads::PriorityQueue::new();
/// ward.put_many([(20, "a cold"), (10, "a broken leg"), (30, "a scratch")])?;
/// assert_eq!(ward.get()?, (10, "a broken leg"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// For the greatest first, put [`Reverse`](std::cmp::Reverse)s. Items are compared while the queue is locked, so their
/// `Ord` must not use this queue. If it panics in `get`, nothing was taken; if it does so in `put`, that item was not
/// put.
pub struct PriorityQueue<T> {
    body: Arc<LocalQueue<T>>,
}

/// By this name it is known between processes, where not every queue can be joined.
pub type JoinableQueue<T> = Queue<T>;

/// By this name it is known between processes, where it is simpler.
pub type SimpleQueue<T> = Queue<T>;

/// Takes the items of a queue, waiting for each, until the queue is shut down and empty.
///
/// ```
/// use kettle::threads::Queue;
///
/// let queue: Queue<_> = (1..4).collect();
/// queue.shutdown();
/// let mut sum = 0;
/// for Ok(n) in &queue {
///     sum += n;
/// }
/// assert_eq!(sum, 6);
/// ```
#[derive(Debug)]
#[must_use = "an iterator takes nothing until it is asked"]
pub struct Iter<'a, Q>(&'a Q);

/// What all of them can do.
macro_rules! queue_methods {
    ($name:ident<T $(: $bound:ident)?>, $order:expr, $judge:expr) => {
        impl<T> $name<T> {
            /// An empty queue without a bound: `put` never waits.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.get()?, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// Never.
            pub fn new() -> Result<Self, Infallible> {
                Self::bounded(0)
            }

            /// An empty queue of at most `maxsize` items, beyond which `put` waits; 0 is no bound.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::bounded(1)?;")]
            /// queue.put(1)?;
            /// assert!(queue.try_put(2).is_err());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// Never.
            pub fn bounded(maxsize: u32) -> Result<Self, Infallible> {
                Ok(Self { body: Arc::new(LocalQueue::new($order, i64::from(maxsize))) })
            }

            /// Where those are told who wait for an item without sleeping.
            pub(crate) fn items(&self) -> &Line {
                self.body.line_of((), Sign::Item)
            }

            /// Where those are told who wait for room without sleeping.
            pub(crate) fn room(&self) -> &Line {
                self.body.line_of((), Sign::Room)
            }

            /// How many items are inside: exact at every instant, and perhaps another number right after.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.len(), 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn len(&self) -> usize {
                self.body.len(())
            }

            /// Whether no item is inside.
            ///
            /// ```
            #[doc = concat!("assert!(kettle::threads::", stringify!($name), "::<u8>::new()?.is_empty());")]
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn is_empty(&self) -> bool {
                self.body.is_empty(())
            }

            /// Whether a `put` would wait.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::bounded(1)?;")]
            /// queue.put(1)?;
            /// assert!(queue.is_full());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn is_full(&self) -> bool {
                self.body.is_full(())
            }

            /// The bound; `None` if there is none.
            ///
            /// ```
            #[doc = concat!("assert_eq!(kettle::threads::", stringify!($name), "::<u8>::bounded(5)?.maxsize(), Some(5));")]
            #[doc = concat!("assert_eq!(kettle::threads::", stringify!($name), "::<u8>::new()?.maxsize(), None);")]
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn maxsize(&self) -> Option<u32> {
                u32::try_from(self.body.maxsize(())).ok().filter(|&n| n != 0)
            }

            /// Takes no more items in. What is inside can still be taken; then `get` says `ShutDown`.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.shutdown();
            /// assert!(queue.put(2).is_err());
            /// assert_eq!(queue.get()?, 1);
            /// assert_eq!(queue.get(), Err(kettle::GetError::ShutDown));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn shutdown(&self) {
                drop(self.body.shut_down((), false));
            }

            /// Takes no more items in, and drops what is inside.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.shutdown_now();
            /// assert_eq!(queue.get(), Err(kettle::GetError::ShutDown));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn shutdown_now(&self) {
                drop(self.body.shut_down((), true));
            }

            /// Whether it was shut down.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::<u8>::new()?;")]
            /// queue.shutdown();
            /// assert!(queue.is_shut_down());
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn is_shut_down(&self) -> bool {
                self.body.is_shut(())
            }

            /// Says that one item that was taken is done with.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.get()?;
            /// queue.task_done()?;
            /// queue.join()?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// When none is outstanding.
            pub fn task_done(&self) -> Result<(), TooManyDone> {
                self.body.task_done(()).map_err(|_| TooManyDone)
            }

            /// Once all items are done: whether some were lost.
            fn done(&self) -> Option<Result<(), JoinError>> {
                (self.unfinished() == 0).then(|| match self.body.take_lost(()) {
                    0 => Ok(()),
                    lost => Err(JoinError::ConsumerDied { pid: Some(process::id()), unfinished: lost }),
                })
            }

            fn join_with(&self, patience: &Patience<'_>) -> Result<(), JoinError> {
                let done = self.done().or_else(|| insist(&self.body, Sign::Done, patience, |_| self.done()));
                done.unwrap_or(Err(JoinError::TimedOut))
            }

            /// Waits until every item that was put is done with.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// std::thread::scope(|scope| {
            ///     scope.spawn(|| drop(queue.take()));
            ///     queue.join()
            /// })?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// If threads panicked with items that they had got from [`take`](Self::take).
            pub fn join(&self) -> Result<(), JoinError> {
                self.join_with(&Patience::forever())
            }

            /// Waits for at most `timeout` until every item that was put is done.
            ///
            /// # Errors
            /// If some items are not done by then, or were lost as for [`join`](Self::join).
            pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
                self.join_with(&until(timeout))
            }

            /// Waits until every item that was put is done with, without blocking the thread.
            ///
            /// # Errors
            /// As [`join`](Self::join).
            #[cfg(feature = "tokio")]
            pub async fn join_async(&self) -> Result<(), JoinError> {
                crate::reactor::wait_on::<Heap, _>(self.body.line_of((), Sign::Done), || self.done()).await
            }

            /// How many items are inside, or taken and not done with.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.get()?;
            /// assert_eq!(queue.unfinished(), 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn unfinished(&self) -> usize {
                usize::try_from(self.body.unfinished(())).unwrap_or(0)
            }

            /// How it is.
            pub fn statistics(&self) -> QueueStatistics {
                self.body.statistics(())
            }
        }

        impl<T $(: $bound)?> $name<T> {
            /// Puts an item, waiting for room if the queue is bounded.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put("safe".to_string())?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`]; the item comes back with it.
            #[inline]
            pub fn put(&self, item: T) -> Result<(), PutError<T>> {
                put(&self.body, item, $judge, &Patience::forever())
            }

            /// Puts an item if there is room for it now.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::bounded(1)?;")]
            /// queue.try_put(1)?;
            /// assert_eq!(queue.try_put(2), Err(kettle::PutError::Full(2)));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`]; the item comes back with it.
            pub fn try_put(&self, item: T) -> Result<(), PutError<T>> {
                put(&self.body, item, $judge, &Patience::none())
            }

            /// Puts an item, and waits for room for at most `timeout`.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::bounded(1)?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.put_timeout(2, Duration::from_millis(1)), Err(kettle::PutError::Full(2)));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`]; the item comes back with it.
            pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), PutError<T>> {
                put(&self.body, item, $judge, &until(timeout))
            }

            /// Puts items one after another, waiting for room for each.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put_many([1, 2, 3])?;
            /// assert_eq!(queue.len(), 3);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`PutError`]; the item that was not put comes back with it, and those behind it are not asked of
            /// the iterator.
            pub fn put_many(&self, items: impl IntoIterator<Item = T>) -> Result<(), PutError<T>> {
                items.into_iter().try_for_each(|item| self.put(item))
            }

            /// Puts an item, waiting for room without blocking the thread. Dropped before it is ready, the future has
            /// put nothing.
            ///
            /// # Errors
            /// See [`PutError`]; the item comes back with it.
            #[cfg(feature = "tokio")]
            pub async fn put_async(&self, item: T) -> Result<(), PutError<T>> {
                let mut in_hand = Some(item);
                let attempt = || match self.try_put(in_hand.take()?) {
                    Err(PutError::Full(item)) => {
                        in_hand = Some(item);
                        None
                    }
                    result => Some(result),
                };
                crate::reactor::wait_on::<Heap, _>(self.body.line_of((), Sign::Room), attempt).await
            }

            /// Takes the next item, waiting for one if there is none.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// assert_eq!(queue.get()?, 1);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            #[inline]
            pub fn get(&self) -> Result<T, GetError> {
                get(&self.body, $judge, &Patience::forever())
            }

            /// Takes the next item if there is one now.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::<u8>::new()?;")]
            /// assert_eq!(queue.try_get(), Err(kettle::GetError::Empty));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn try_get(&self) -> Result<T, GetError> {
                get(&self.body, $judge, &Patience::none())
            }

            /// Takes the next item, and waits for one for at most `timeout`.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::<u8>::new()?;")]
            /// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(kettle::GetError::Empty));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError> {
                get(&self.body, $judge, &until(timeout))
            }

            /// Takes the next item, waiting for one if there is none; the guard marks it as done when it is dropped.
            /// [`Taken`] has an example.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put("a job")?;
            /// drop(queue.take()?); // it is done
            /// queue.join()?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn take(&self) -> Result<Taken<'_, T>, GetError>
            where
                T: Send,
            {
                self.get().map(|item| Taken::new(item, self))
            }

            /// As [`take`](Self::take), if there is an item now.
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn try_take(&self) -> Result<Taken<'_, T>, GetError>
            where
                T: Send,
            {
                self.try_get().map(|item| Taken::new(item, self))
            }

            /// As [`take`](Self::take), waiting at most this long.
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn take_timeout(&self, timeout: Duration) -> Result<Taken<'_, T>, GetError>
            where
                T: Send,
            {
                self.get_timeout(timeout).map(|item| Taken::new(item, self))
            }

            /// As [`take`](Self::take), without blocking the thread. If the future is dropped before it is ready,
            /// nothing was taken; if the guard is dropped, because the task that works on the item is dropped for
            /// example, the item is done.
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

            fn get_many_with(&self, max: usize, patience: &Patience<'_>) -> Result<Vec<T>, GetError> {
                let mut items = Vec::new();
                if max > 0 {
                    items.push(get(&self.body, $judge, patience)?);
                }
                items.extend(std::iter::from_fn(|| self.try_get().ok()).take(max.saturating_sub(1)));
                Ok(items)
            }

            /// Takes what there is, but no more than `max` items, waiting for one if there is none.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put_many([1, 2, 3])?;
            /// assert_eq!(queue.get_many(2)?.len(), 2);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn get_many(&self, max: usize) -> Result<Vec<T>, GetError> {
                self.get_many_with(max, &Patience::forever())
            }

            /// Takes what there is, but no more than `max` items, waiting for one for so long.
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn get_many_timeout(&self, max: usize, timeout: Duration) -> Result<Vec<T>, GetError> {
                self.get_many_with(max, &until(timeout))
            }

            /// Takes the next item, waiting for one without blocking the thread. An item is taken only when the future
            /// returns it: dropped before, it has taken nothing.
            ///
            /// # Errors
            /// See [`GetError`].
            #[cfg(feature = "tokio")]
            pub async fn get_async(&self) -> Result<T, GetError> {
                let attempt = || match self.try_get() {
                    Err(GetError::Empty) => None,
                    result => Some(result),
                };
                crate::reactor::wait_on::<Heap, _>(self.items(), attempt).await
            }

            /// Takes items, waiting for each, until the queue is shut down and empty.
            ///
            /// ```
            #[doc = concat!("let queue = kettle::threads::", stringify!($name), "::new()?;")]
            /// queue.put(1)?;
            /// queue.shutdown();
            /// for Ok(n) in queue.iter() {
            ///     assert_eq!(n, 1);
            /// }
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn iter(&self) -> Iter<'_, Self> {
                Iter(self)
            }
        }

        impl<T $(: $bound)?> Iterator for Iter<'_, $name<T>> {
            type Item = Result<T, Infallible>;

            fn next(&mut self) -> Option<Self::Item> {
                self.0.get().ok().map(Ok)
            }
        }

        impl<'a, T $(: $bound)?> IntoIterator for &'a $name<T> {
            type Item = Result<T, Infallible>;
            type IntoIter = Iter<'a, $name<T>>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl<T> Default for $name<T> {
            /// An empty queue without a bound.
            fn default() -> Self {
                let Ok(queue) = Self::new();
                queue
            }
        }

        impl<T $(: $bound)?> FromIterator<T> for $name<T> {
            /// A queue without a bound that contains these items.
            fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
                let mut queue = Self::default();
                queue.extend(items);
                queue
            }
        }

        impl<T $(: $bound)?> Extend<T> for $name<T> {
            /// Puts items, waiting for room for each.
            ///
            /// # Panics
            /// If the queue was shut down, or if there is no memory; `put_many` returns an error instead.
            fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
                (&*self).extend(items);
            }
        }

        impl<T $(: $bound)?> Extend<T> for &$name<T> {
            /// Puts items, waiting for room for each.
            ///
            /// # Panics
            /// If the queue was shut down, or if there is no memory; `put_many` returns an error instead.
            fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
                if let Err(e) = self.put_many(items) {
                    panic!("an item cannot be put: {e}");
                }
            }
        }

        impl<T> Joinable<T> for $name<T> {
            fn mark_done(&self) {
                // Too many are done only if the caller also calls `task_done` itself.
                let _ = self.body.task_done(());
            }

            fn mark_lost(&self) {
                let _ = self.body.lose(());
            }
        }

        impl<T> Clone for $name<T> {
            /// Another handle to the same queue.
            fn clone(&self) -> Self {
                Self { body: Arc::clone(&self.body) }
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("len", &self.len()).finish_non_exhaustive()
            }
        }
    };
}

queue_methods!(Queue<T>, Order::Fifo, NoOrder);
queue_methods!(LifoQueue<T>, Order::Lifo, NoOrder);
queue_methods!(PriorityQueue<T: Ord>, Order::Priority, ByOrd);

familiar_names!(Queue<T>, put: [], get: []);
familiar_names!(LifoQueue<T>, put: [], get: []);
familiar_names!(PriorityQueue<T>, put: [Ord], get: [Ord]);
