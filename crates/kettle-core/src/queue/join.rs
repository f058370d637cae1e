//! What was taken and is not done with: who waits for it, and what a dead consumer owed.

use super::consumers::{Loss, TooManyDone};
use super::{Exhausted, Queue, Store, Trouble, lock};
use crate::atomics::Ordering;
use crate::crash_point;
use crate::damage;
use crate::sync::Home;
use crate::wait::{Patience, Stopped};

/// Why a wait for all messages to be done ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The wait ended first.
    Stopped(Stopped),
    /// A process died with messages it had taken and not finished.
    ConsumerDied(Loss),
    /// This process has no address space to map what others noted.
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
    /// One message that was got is done with.
    ///
    /// # Errors
    /// When none is outstanding: then [`task_done_ahead`](Self::task_done_ahead) may do.
    pub fn task_done<S: Store>(&self) -> Result<(), TooManyDone> {
        self.consumers.done::<S>()?;
        self.tell_if_finished::<S>();
        Ok(())
    }

    /// One message is done with although nobody has got it yet, if nothing that was got is outstanding: the oldest one of
    /// those inside. It counts as done when it is got.
    ///
    /// # Errors
    /// When the wait for the getters' lock ended first; the inner one, when all that were put are done with.
    pub fn task_done_ahead<S: Store>(&self, patience: &Patience<'_>) -> Result<Result<(), TooManyDone>, Stopped> {
        if !self.is_joinable() {
            return Ok(Err(TooManyDone));
        }
        // A getter notes what it takes, or finds that it is done, under this lock.
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

    /// Waits until every message that was put is done with.
    ///
    /// # Errors
    /// See [`JoinError`]. A loss is told to everybody who was waiting when it was found, and then counts as done.
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

    /// Writes off what a dead process had taken and not finished, if there is such a one.
    pub fn find_loss<S: Store>(&self) -> Option<Loss> {
        let loss = self.consumers.find_loss::<S>()?;
        self.finished.notify_all(S::Home::SCOPE);
        Some(loss)
    }

    /// Messages that are inside, or taken and not done with. Zero is exact: there was an instant without any. What cannot
    /// be looked at counts as one.
    pub fn unfinished<S: Store>(&self) -> u32 {
        self.count_unfinished::<S>().unwrap_or_else(|_| self.len().saturating_add(1))
    }

    fn count_unfinished<S: Store>(&self) -> Result<u32, Trouble> {
        loop {
            let before = self.tail.load(Ordering::SeqCst);
            // The queue first: a message counts as taken before it leaves the queue, so it is never in neither place.
            let (head, inside) = self.head_and_len();
            let inside = inside - self.ahead.count(head, inside);
            let unfinished = inside.saturating_add(self.consumers.outstanding::<S>()?);
            // But a consumer may put a new message and then finish his own, between the two looks: what was put since
            // the first look has been overlooked. If nothing was, what is taken can only have become less.
            if unfinished != 0 || self.tail.load(Ordering::SeqCst) == before {
                return Ok(unfinished);
            }
        }
    }
}
