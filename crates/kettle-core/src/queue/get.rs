//! The head of a queue: a getter makes the oldest message its own, then moves the head past it.

use core::ops::Range;

use super::chunk::{Chunk, Cursor};
use super::message::{self, Taken};
use super::{Exhausted, Place, Queue, Store, lock, lock_in_time, unlock};
use crate::atomics::Ordering;
use crate::crash_point;
use crate::sync::Home;
use crate::wait::{Patience, Stopped, spin_until};

/// Why no message was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// The queue stayed empty until the deadline.
    Empty,
    /// It is empty and will stay so.
    ShutDown,
    /// The caller was interrupted.
    Interrupted,
    /// There is no memory to note one more process with messages to finish; the message stays.
    Exhausted(Exhausted),
}

impl Queue {
    /// Takes a message. A short body is appended to `bytes`.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get<S: Store>(&self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Taken<S::Block>, GetError> {
        let stopped = |why| match why {
            Stopped::TimedOut => GetError::Empty,
            Stopped::Interrupted => GetError::Interrupted,
        };
        let mut waited = false;
        loop {
            if !self.is_empty() {
                if let Err(why) = lock::<S::Home>(&self.head_lock, patience) {
                    if waited {
                        self.items.notify_one(S::Home::SCOPE);
                    }
                    return Err(stopped(why));
                }
                let taken = self.take::<S>(bytes);
                crash_point("queue.get.before-unlock");
                unlock::<S::Home>(&self.head_lock);
                let taken = match taken {
                    Ok(taken) => taken,
                    Err(e) => {
                        // A process that has an entry may take it.
                        self.items.notify_one(S::Home::SCOPE);
                        return Err(GetError::Exhausted(e));
                    }
                };
                if let Some(taken) = taken {
                    crash_point("queue.get.before-notify");
                    if self.maxsize() != 0 {
                        self.space.notify_after_fence(1, S::Home::SCOPE);
                    }
                    if waited && !self.is_empty() {
                        self.items.notify_one(S::Home::SCOPE);
                    }
                    return Ok(taken);
                }
            }
            if self.is_shut() {
                // A putter that got in before the flag may be about to commit.
                self.let_putter_out::<S::Home>(patience).map_err(stopped)?;
                if self.is_empty() {
                    return Err(GetError::ShutDown);
                }
                continue;
            }
            let some = || (!self.is_empty() || self.is_shut()).then_some(());
            if patience.may_wait() && spin_until(|| some().is_some()) {
                continue;
            }
            self.items.wait_for(patience, S::Home::SCOPE, some, || None).map_err(stopped)?;
            // The wake-up that may have come to us stands for one message; if there are more, it is passed on.
            waited = true;
        }
    }

    /// Takes all messages that are there, in one go: whoever gets meanwhile gets those before them or those after them.
    /// Short bodies are appended to `bytes`; each message is given to `each` with its part of them.
    ///
    /// `patience` is with a getter in the middle of taking one: it may have been stopped there.
    ///
    /// # Errors
    /// When the lock of the getters was not to be had in time. Nothing was taken then.
    pub fn take_all<S: Store>(
        &self,
        bytes: &mut Vec<u8>,
        mut each: impl FnMut(Taken<S::Block>, Range<usize>),
        patience: &Patience<'_>,
    ) -> Result<(), Stopped> {
        lock_in_time::<S::Home>(&self.head_lock, patience)?;
        loop {
            let start = bytes.len();
            let Ok(Some(taken)) = self.take::<S>(bytes) else { break };
            each(taken, start..bytes.len());
        }
        unlock::<S::Home>(&self.head_lock);
        if self.maxsize() != 0 {
            self.space.notify_all(S::Home::SCOPE);
        }
        Ok(())
    }

    /// Under the head's lock: makes the oldest message the caller's, then moves the head past it.
    fn take<S: Store>(&self, bytes: &mut Vec<u8>) -> Result<Option<Taken<S::Block>>, Exhausted> {
        let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
        // [G] pairs with [P].
        let tail = Cursor::unpack(self.tail.load(Ordering::Acquire));
        if head.count == tail.count {
            return Ok(None);
        }
        let Some((chunk, position)) = self.oldest::<S>(head) else { return Ok(None) };
        // Before anything is taken, since there may be no memory for it.
        let outstanding = match Place::new(self.head_chunk.load(Ordering::Relaxed)) {
            Some(place) if self.is_joinable() => Some(self.consumers.entry::<S>(place)?),
            _ => None,
        };
        chunk.reading(position);
        // SAFETY: a committed message stands at `position`, between head and tail, and the head's lock is held: nobody
        // else takes it, and no putter writes there.
        let (taken, units) = unsafe { message::read::<S>(chunk.unit(position), bytes) };
        crash_point("queue.get.claimed");
        if let Some(outstanding) = outstanding {
            outstanding.fetch_add(1, Ordering::SeqCst);
        }
        self.count_got(taken.block_bytes::<S>());
        crash_point("queue.get.before-commit");
        let next = Cursor { count: head.count.wrapping_add(1), position: position.wrapping_add(units) };
        self.head.store(next.pack(), Ordering::Release);
        crash_point("queue.get.committed");
        Ok(Some(taken))
    }

    /// Under the head's lock, with a message there: where it is. Chunks that are read to their end are given back.
    fn oldest<S: Store>(&self, head: Cursor) -> Option<(Chunk, u32)> {
        let mut place = Place::new(self.head_chunk.load(Ordering::Acquire))?;
        let mut position = head.position;
        loop {
            let chunk = Chunk::at(S::at(place));
            // A getter that died after it moved to this chunk, and before its commit, left the head behind it.
            if !chunk.is_before(position) {
                position = chunk.base();
            }
            if position != chunk.end() && !chunk.is_skip(position) {
                return Some((chunk, position));
            }
            let next = Place::new(chunk.next())?;
            // SAFETY: the head is about to leave the chunk, the tail did so before, and the head's lock is held.
            unsafe { S::claim_chunk(place) };
            crash_point("queue.get.claimed-chunk");
            self.head_chunk.store(next.get(), Ordering::Release);
            crash_point("queue.get.before-free-chunk");
            // SAFETY: the head has left the chunk, the tail did so before, and the head's lock is held.
            unsafe { S::free_chunk(place) };
            position = chunk_base::<S>(next);
            place = next;
        }
    }

    /// Drops all messages.
    pub fn clear<S: Store>(&self) {
        let patience = Patience::forever();
        if self.let_putter_out::<S::Home>(&patience).is_err() || lock::<S::Home>(&self.head_lock, &patience).is_err() {
            return;
        }
        let mut bytes = Vec::new();
        loop {
            let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
            let tail = Cursor::unpack(self.tail.load(Ordering::Acquire));
            if head.count == tail.count {
                break;
            }
            let Some((chunk, position)) = self.oldest::<S>(head) else { break };
            bytes.clear();
            chunk.reading(position);
            // SAFETY: as in `take`.
            let (taken, units) = unsafe { message::read::<S>(chunk.unit(position), &mut bytes) };
            let next = Cursor { count: head.count.wrapping_add(1), position: position.wrapping_add(units) };
            self.count_got(taken.block_bytes::<S>());
            self.head.store(next.pack(), Ordering::Release);
            drop(taken);
        }
        unlock::<S::Home>(&self.head_lock);
        self.space.notify_all(S::Home::SCOPE);
        self.finished.notify_all(S::Home::SCOPE);
    }
}

fn chunk_base<S: Store>(place: Place) -> u32 {
    Chunk::at(S::at(place)).base()
}
