//! An item that was taken and is to be marked as done.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread;

/// A queue that counts which items are done.
pub(crate) trait Joinable<T> {
    /// Marks one item as done.
    fn mark_done(&self);
    /// A panic ends the work on one item.
    fn mark_lost(&self);
}

/// An item that was taken from a queue, which is marked as done when this guard is dropped. So a consumer that returns
/// early, by `?` for example, cannot make `join` wait forever.
///
/// If the guard is dropped by a panic, the item is not done but lost, and `join` says so
/// ([`JoinError::ConsumerDied`](super::JoinError::ConsumerDied)): between threads when all other items are done,
/// between processes when the process that panicked has ended.
///
/// ```
/// use kettle::threads::Queue;
///
/// fn work(jobs: &Queue<&str>) -> Result<i32, Box<dyn std::error::Error>> {
///     let job = jobs.take()?;
///     Ok(job.parse()?)
/// }
///
/// let Ok(jobs) = Queue::new();
/// jobs.put_many(["7", "seven"])?;
/// assert_eq!(work(&jobs)?, 7);
/// assert!(work(&jobs).is_err());
/// jobs.join()?; // both are done
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the item is marked as done as soon as this is dropped"]
pub struct Taken<'a, T> {
    /// None: it was taken out.
    item: Option<T>,
    queue: &'a (dyn Joinable<T> + Sync + 'a),
}

impl<'a, T> Taken<'a, T> {
    pub(crate) fn new(item: T, queue: &'a (dyn Joinable<T> + Sync + 'a)) -> Self {
        Self { item: Some(item), queue }
    }

    /// Marks the item as done, and returns it.
    ///
    /// ```
    /// use kettle::queue::Taken;
    ///
    /// let jobs = kettle::JoinableQueue::new()?;
    /// jobs.put(5)?;
    /// assert_eq!(Taken::into_inner(jobs.take()?), 5);
    /// jobs.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_inner(mut this: Self) -> T {
        this.item.take().expect("only this method takes it out, and it consumes the guard")
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item.as_ref().expect("it is taken out only when the guard ends")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("it is taken out only when the guard ends")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        // A guard that is created and dropped in the course of an older panic counts as lost as well.
        if thread::panicking() { self.queue.mark_lost() } else { self.queue.mark_done() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Taken<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Taken").field(&**self).finish()
    }
}
