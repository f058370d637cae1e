//! Unfinished messages: waiting for them, and accounting for those of dead consumers.

use super::consumers::{Loss, TooManyDone};
use super::{Exhausted, Queue, Store, Trouble, lock};
use crate::atomics::Ordering;
use crate::crash_point;
use crate::damage;
use crate::sync::Home;
use crate::wait::{Patience, Stopped};

/// Why a wait for all messages to be done failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The wait ended.
    Stopped(Stopped),
    /// A process died with unfinished messages.
    ConsumerDied(Loss),
    /// This process lacks the address space to map the entries of others.
    Exhausted(Exhausted),
}

impl From<Trouble> for JoinError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Exhausted(e) => Self::Exhausted(e),
            Trouble::Damaged => Self::Stopped(Stopped::Damaged),
        }
    }
}

impl Queue {
    /// Marks one received message as done.
    ///
    /// # Errors
    /// If none is outstanding; [`task_done_ahead`](Self::task_done_ahead) may still succeed.
    pub fn task_done<S: Store>(&self) -> Result<(), TooManyDone> {
        self.consumers.done::<S>()?;
        self.tell_if_finished::<S>();
        Ok(())
    }

    /// Marks a message as done before it is received, if no received message is outstanding: the oldest one in the
    /// queue. It counts as done when it is received.
    ///
    /// # Errors
    /// If the wait for the getters' lock ended; the inner error, if all messages ever put are done.
    pub fn task_done_ahead<S: Store>(&self, patience: &Patience<'_>) -> Result<Result<(), TooManyDone>, Stopped> {
        if !self.is_joinable() {
            return Ok(Err(TooManyDone));
        }
        // Getters record what they take, or notice that it is done already, under this lock.
        let hold = lock::<S::Home>(&self.head_lock, patience)?;
        let done = self.consumers.done::<S>().or_else(|TooManyDone| {
            let (head, inside) = self.head_and_len();
            let ahead = self.ahead.count(head, inside);
            if ahead == inside {
                return Err(TooManyDone);
            }
            crash_point("queue.done.before-ahead");
            self.ahead.set(head.wrapping_add(ahead + 1));
            Ok(())
        });
        drop(hold);
        if done.is_ok() {
            self.tell_if_finished::<S>();
        }
        Ok(done)
    }

    fn tell_if_finished<S: Store>(&self) {
        if self.unfinished::<S>() == 0 {
            self.finished.notify_all(S::Home::SCOPE);
        }
    }

    /// Waits until all messages that were put are done.
    ///
    /// # Errors
    /// See [`JoinError`]. A loss is reported to every thread that was waiting when it was found, and then counts as
    /// done.
    pub fn join<S: Store>(&self, patience: &Patience<'_>) -> Result<(), JoinError> {
        if damage::is_marked(S::Home::SCOPE) {
            return Err(JoinError::Stopped(Stopped::Damaged));
        }
        let losses = self.consumers.losses();
        let look = || match self.consumers.loss_since(losses) {
            Some(loss) => Some(Err(JoinError::ConsumerDied(loss))),
            None => match self.count_unfinished::<S>() {
                Ok(count) => (count == 0).then_some(Ok(())),
                Err(trouble) => Some(Err(trouble.into())),
            },
        };
        if let Some(r) = look() {
            return r;
        }
        let each_nap = || self.find_loss::<S>().map(|loss| Err(JoinError::ConsumerDied(loss)));
        match self.finished.wait_for(patience, S::Home::SCOPE, look, each_nap) {
            Ok(r) => r,
            Err(Stopped::TimedOut) => each_nap().unwrap_or(Err(JoinError::Stopped(Stopped::TimedOut))),
            Err(stopped) => Err(JoinError::Stopped(stopped)),
        }
    }

    /// Writes off the unfinished messages of a dead process, if there is one.
    pub fn find_loss<S: Store>(&self) -> Option<Loss> {
        let loss = self.consumers.find_loss::<S>()?;
        self.finished.notify_all(S::Home::SCOPE);
        Some(loss)
    }

    /// The number of messages in the queue or received and not done. Zero is exact: there was an instant without any.
    /// Entries that cannot be inspected count as one message.
    pub fn unfinished<S: Store>(&self) -> u32 {
        self.count_unfinished::<S>().unwrap_or_else(|_| self.len().saturating_add(1))
    }

    fn count_unfinished<S: Store>(&self) -> Result<u32, Trouble> {
        loop {
            let before = self.tail.load(Ordering::SeqCst);
            // The queue first: a message counts as received before it leaves the queue, so it is always in at least one
            // place.
            let (head, inside) = self.head_and_len();
            let inside = inside - self.ahead.count(head, inside);
            let unfinished = inside.saturating_add(self.consumers.outstanding::<S>()?);
            // However, a consumer may put a new message and then finish its own between the two reads, so messages put
            // since the first read were missed. If there are none, the number of received messages can only have
            // decreased.
            if unfinished != 0 || self.tail.load(Ordering::SeqCst) == before {
                return Ok(unfinished);
            }
        }
    }
}
