//! The head of a queue: a getter claims the oldest message, then moves the head past it.

use core::mem::ManuallyDrop;
use core::ops::Range;

use super::chunk::{Chunk, Cursor, MOST_UNITS};
use super::message::{Message, Taken};
use super::{Exhausted, Place, Queue, Store, Trouble, lock, lock_in_time};
use crate::atomics::Ordering;
use crate::crash_point;
use crate::damage::{self, What};
use crate::sync::Home;
use crate::unwind::OnUnwind;
use crate::wait::{Patience, Place as InLine, Prepared, Stopped, spin_until};

/// Why a get failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetError {
    /// The queue was empty until the deadline.
    Empty,
    /// The queue is empty and shut down.
    ShutDown,
    /// The caller was interrupted.
    Interrupted,
    /// There is a message, but this process lacks the memory for it or the address space to map it, or there is no
    /// memory to record one more process with unfinished messages. The message stays in the queue for the next getter.
    Exhausted(Exhausted),
    /// The queue's memory is [damaged](crate::damage).
    Damaged,
}

impl From<Stopped> for GetError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::TimedOut => Self::Empty,
            Stopped::Interrupted => Self::Interrupted,
            Stopped::Damaged => Self::Damaged,
            Stopped::NoPart => Self::Exhausted(Exhausted::NoPart),
        }
    }
}

impl From<Trouble> for GetError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Exhausted(e) => Self::Exhausted(e),
            Trouble::Damaged => Self::Damaged,
        }
    }
}

/// Why not all messages were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeAllError {
    /// The getters' lock was not acquired in time.
    Stopped(Stopped),
    /// A message could not be taken, for the reason that a get would report.
    Trouble(Trouble),
}

/// The location of a message.
#[derive(Clone, Copy)]
struct Spot {
    from: *const u64,
    position: u32,
    /// An upper bound of its units.
    left: u32,
    /// How many messages were taken before it.
    number: u32,
}

impl Spot {
    /// The position of the head after the message is taken.
    fn behind<S: Store>(self, message: &Message<S>) -> Cursor {
        Cursor { count: self.number.wrapping_add(1), position: self.position.wrapping_add(message.units) }
    }
}

impl Queue {
    /// Receives a message. A short body is appended to `bytes`.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get<S: Store>(&self, bytes: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Taken<S::Block>, GetError> {
        let mut place: Option<InLine<'_>> = None;
        loop {
            let is_admitted =
                || patience.takes_reserved() || self.items.admits(place.as_ref().map(InLine::ticket), || self.len());
            if !self.is_empty() && is_admitted() {
                let hold = match lock::<S::Home>(&self.head_lock, patience) {
                    Ok(hold) => hold,
                    Err(why) => {
                        if place.take().is_some() {
                            self.items.pass_on(self.len(), S::Home::SCOPE);
                        }
                        return Err(why.into());
                    }
                };
                let room = if self.maxsize() == 0 { Prepared::Open } else { self.space.prepare() };
                let taken = self.take::<S>(bytes);
                crash_point("queue.get.before-unlock");
                drop(hold);
                match taken {
                    Ok(None) if self.maxsize() == 0 => {}
                    Ok(None) => self.space.withdraw(room, S::Home::SCOPE),
                    Ok(Some(taken)) => {
                        crash_point("queue.get.before-notify");
                        if self.maxsize() != 0 {
                            self.space.notify_prepared(room, 1, || self.spare(), S::Home::SCOPE);
                        }
                        if let Some(place) = place {
                            place.leave(false);
                            if !self.is_empty() {
                                self.items.pass_on(self.len(), S::Home::SCOPE);
                            }
                        }
                        return Ok(taken);
                    }
                    Err(trouble) => {
                        self.space.withdraw(room, S::Home::SCOPE);
                        drop(place);
                        // The message stays, and another process may be able to receive it.
                        self.items.pass_on(self.len(), S::Home::SCOPE);
                        return Err(trouble.into());
                    }
                }
            }
            if self.is_shut() {
                // A putter that started before the flag was set may be about to commit.
                self.let_putter_out::<S::Home>(patience)?;
                if self.is_empty() {
                    return Err(GetError::ShutDown);
                }
                if is_admitted() {
                    continue;
                }
            }
            let some = || (!self.is_empty() || self.is_shut()).then_some(());
            if patience.may_wait() && spin_until(|| some().is_some() && is_admitted()) {
                continue;
            }
            patience.check_may_wait(S::Home::SCOPE)?;
            // A wake-up stands for one message; if there are more, it is passed on.
            place.get_or_insert_with(|| self.items.join(S::Home::SCOPE)).wait_for(patience, some, || None)?;
        }
    }

    /// Takes all messages at once: concurrent getters receive only those before or after them. Short bodies are
    /// appended to `bytes`; `each` is called with each message and its range of these bytes.
    ///
    /// `patience` limits the wait for a getter that is in the middle of taking a message, where it may have been
    /// stopped.
    ///
    /// # Errors
    /// See [`TakeAllError`]. Messages that were passed to `each` before that are taken.
    pub fn take_all<S: Store>(
        &self,
        bytes: &mut Vec<u8>,
        mut each: impl FnMut(Taken<S::Block>, Range<usize>),
        patience: &Patience<'_>,
    ) -> Result<(), TakeAllError> {
        let hold = lock_in_time::<S::Home>(&self.head_lock, patience).map_err(TakeAllError::Stopped)?;
        let result = loop {
            let start = bytes.len();
            match self.take::<S>(bytes) {
                Ok(Some(taken)) => each(taken, start..bytes.len()),
                Ok(None) => break Ok(()),
                Err(trouble) => break Err(TakeAllError::Trouble(trouble)),
            }
        };
        drop(hold);
        if self.maxsize() != 0 {
            self.space.notify_all(S::Home::SCOPE);
        }
        result
    }

    /// With the head's lock held: claims the oldest message, then moves the head past it.
    fn take<S: Store>(&self, bytes: &mut Vec<u8>) -> Result<Option<Taken<S::Block>>, Trouble> {
        let start = bytes.len();
        let Some(spot) = self.oldest::<S>()? else { return Ok(None) };
        // SAFETY: that many units are available.
        let message = unsafe { Message::<S>::read(spot.from, spot.position, spot.left, bytes)? };
        let next = spot.behind(&message);
        // Before anything is taken, since there may be no memory for it.
        let outstanding = match Place::new(self.head_chunk.load(Ordering::Relaxed)) {
            Some(place) if self.is_joinable() && !self.ahead.takes(spot.number) => {
                match self.consumers.entry::<S>(place) {
                    Ok(entry) => Some(entry),
                    Err(trouble) => {
                        bytes.truncate(start);
                        return Err(trouble);
                    }
                }
            }
            _ => None,
        };
        // A thread that unwinds before the commit must not drop it: until then the message belongs to the next getter.
        // SAFETY: the message is committed, and the head's lock is held.
        let taken = ManuallyDrop::new(unsafe { message.claim() });
        crash_point("queue.get.claimed");
        if let Some(outstanding) = outstanding {
            outstanding.fetch_add(1, Ordering::SeqCst);
        }
        let block_bytes = taken.block_bytes::<S>();
        self.count_got(block_bytes);
        let is_noted = OnUnwind::new(|| {
            if let Some(outstanding) = outstanding {
                outstanding.fetch_sub(1, Ordering::SeqCst);
            }
            self.count_not_got(block_bytes);
        });
        crash_point("queue.get.before-commit");
        is_noted.done();
        self.head.store(next.pack(), Ordering::Release);
        let taken = ManuallyDrop::into_inner(taken);
        crash_point("queue.get.committed");
        Ok(Some(taken))
    }

    /// With the head's lock held: locates the oldest message. Chunks that were read to their end are freed.
    #[inline(always)]
    fn oldest<S: Store>(&self) -> Result<Option<Spot>, Trouble> {
        let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
        // [G] pairs with [P].
        let tail = Cursor::unpack(self.tail.load(Ordering::Acquire));
        let (count, inside) = (tail.count.wrapping_sub(head.count), tail.position.wrapping_sub(head.position));
        // A message takes at least one unit, and without messages there are no units.
        if count > inside || inside > MOST_UNITS || (count == 0 && inside != 0) {
            return Err(S::damaged(What::Cursor, 0, head.pack()));
        }
        if count == 0 {
            return Ok(None);
        }
        let place = Place::new(self.head_chunk.load(Ordering::Acquire));
        let place = place.ok_or_else(|| S::damaged(What::Chunk, 0, 0))?;
        let mut chunk = Chunk::at::<S>(place)?;
        // A getter that died after it moved to this chunk, but before its commit, left the head behind it.
        let mut position = chunk.enter::<S>(head.position)?;
        loop {
            // The number of units between here and the tail; not zero, since there is a message.
            let before_tail = tail.position.wrapping_sub(position);
            let in_chunk = chunk.end().wrapping_sub(position);
            if before_tail == 0 || before_tail > inside {
                return Err(S::damaged(What::Cursor, chunk.place().get(), tail.pack()));
            }
            if in_chunk != 0 && !chunk.is_skip(position) {
                let left = in_chunk.min(before_tail);
                chunk.reading(position);
                return Ok(Some(Spot { from: chunk.unit(position), position, left, number: head.count }));
            }
            // The tail must have left the chunk, or putters would write into memory that is freed here.
            let next = Place::new(chunk.next()).filter(|_| before_tail > in_chunk);
            let next = next.ok_or_else(|| S::damaged(What::Chunk, chunk.place().get(), chunk.next()))?;
            let next = chunk.followed_by::<S>(next)?;
            // SAFETY: the head is about to leave the chunk, the tail has left it before, and the head's lock is held.
            unsafe { S::claim_chunk(chunk.place())? };
            crash_point("queue.get.claimed-chunk");
            self.head_chunk.store(next.place().get(), Ordering::Release);
            crash_point("queue.get.before-free-chunk");
            // SAFETY: the head has left the chunk, the tail did so before, and the head's lock is held.
            unsafe { S::free_chunk(chunk.place()) };
            chunk = next;
            position = chunk.base();
        }
    }

    /// Drops all messages that can be found.
    pub fn clear<S: Store>(&self) {
        let patience = Patience::forever();
        if self.let_putter_out::<S::Home>(&patience).is_err() {
            return;
        }
        let Ok(hold) = lock::<S::Home>(&self.head_lock, &patience) else { return };
        let mut bytes = Vec::new();
        while let Ok(Some(spot)) = self.oldest::<S>() {
            bytes.clear();
            // SAFETY: that many units are available.
            let message = unsafe { Message::<S>::read(spot.from, spot.position, spot.left, &mut bytes) };
            let Ok(message) = message else { break };
            let next = spot.behind(&message);
            // SAFETY: as in `take`.
            let taken = ManuallyDrop::new(unsafe { message.claim() });
            self.count_got(taken.block_bytes::<S>());
            self.head.store(next.pack(), Ordering::Release);
            drop(ManuallyDrop::into_inner(taken));
            if damage::is_marked(S::Home::SCOPE) {
                break;
            }
        }
        drop(hold);
        self.space.notify_all(S::Home::SCOPE);
        self.finished.notify_all(S::Home::SCOPE);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::Parcel;
    use super::super::chunk::{LATER_LEN, MOST_UNITS};
    use super::*;
    use crate::shared::HeapStore as S;

    /// A queue with two messages of three units each, at the beginning of its first chunk.
    fn queue() -> Box<Queue> {
        let queue = Box::new(Queue::new(0, false));
        for _ in 0..2 {
            assert!(queue.put::<S>(Place::MIN, Parcel::inline(0, &[1; 16]), &Patience::none()).is_ok());
        }
        queue
    }

    fn get(queue: &Queue) -> Result<(), GetError> {
        queue.get::<S>(&mut Vec::new(), &Patience::none()).map(drop)
    }

    fn give_back(queue: Box<Queue>) {
        // SAFETY: the test no longer uses the queue.
        unsafe { queue.teardown::<S>() };
    }

    fn cursor(count: u32, position: i64) -> u64 {
        Cursor { count, position: position as u32 }.pack()
    }

    #[test]
    fn a_head_and_a_tail_that_do_not_fit_together_are_not_believed() {
        let most = i64::from(MOST_UNITS);
        for (head, tail, expected) in [
            ((0, 0), (2, 6), Ok(())),
            ((0, 0), (6, 6), Ok(())),
            // More messages than units.
            ((0, 0), (7, 6), Err(GetError::Damaged)),
            ((0, 6), (2, 6), Err(GetError::Damaged)),
            // Units without a message.
            ((2, 0), (2, 6), Err(GetError::Damaged)),
            ((2, 6), (2, 6), Err(GetError::Empty)),
            ((0, 0), (1, most), Ok(())),
            ((0, 0), (1, most + 1), Err(GetError::Damaged)),
            ((0, 0), (2, 2), Err(GetError::Damaged)), // the message is longer
            // Left by a getter that died after it moved to this chunk: the message is at the chunk's beginning.
            ((0, -5), (2, 6), Ok(())),
            ((0, -5), (1, 0), Err(GetError::Damaged)),
            ((0, -5), (1, -1), Err(GetError::Damaged)),
            ((0, -5000), (2, 6), Err(GetError::Damaged)),
        ] {
            let queue = queue();
            let real = [&queue.head, &queue.tail].map(|word| word.load(Ordering::Relaxed));
            queue.head.store(cursor(head.0, head.1), Ordering::Relaxed);
            queue.tail.store(cursor(tail.0, tail.1), Ordering::Relaxed);
            if expected == Err(GetError::Empty) {
                assert!(matches!(queue.take::<S>(&mut Vec::new()), Ok(None)));
            } else {
                assert_eq!(queue.take::<S>(&mut Vec::new()).map(drop).map_err(GetError::from), expected);
                assert!(expected.is_ok() || queue.head.load(Ordering::Relaxed) == cursor(head.0, head.1));
            }
            queue.head.store(real[0], Ordering::Relaxed);
            queue.tail.store(real[1], Ordering::Relaxed);
            give_back(queue);
        }
    }

    #[test]
    fn a_queue_without_its_chunk_is_not_believed() {
        let queue = queue();
        let chunk = queue.head_chunk.swap(0, Ordering::Relaxed);
        assert_eq!(get(&queue), Err(GetError::Damaged));
        queue.head_chunk.store(chunk, Ordering::Relaxed);
        assert_eq!((get(&queue), get(&queue), get(&queue)), (Ok(()), Ok(()), Err(GetError::Empty)));
        give_back(queue);
    }

    /// A getter leaves a chunk only after the tail has, and only for the chunk that follows it.
    #[test]
    fn an_end_before_the_tail_is_not_believed() {
        let queue = queue();
        let first = Chunk::at::<S>(Place::new(queue.head_chunk.load(Ordering::Relaxed)).unwrap()).unwrap();
        first.skip(0);
        let end = i64::from(first.end());
        let tail_at = |position| queue.tail.store(cursor(1, position), Ordering::Relaxed);
        tail_at(end + 1);
        assert_eq!(get(&queue), Err(GetError::Damaged), "no chunk follows it");
        let place = S::chunk(LATER_LEN, Place::MIN, 1).unwrap();
        first.link(place);
        Chunk::begin::<S>(place, first.end(), LATER_LEN, 2).unwrap();
        assert_eq!(get(&queue), Err(GetError::Damaged), "the index is not the next one");
        let second = Chunk::begin::<S>(place, first.end(), LATER_LEN, 1).unwrap();
        for inside in [6, end] {
            tail_at(inside);
            assert_eq!(get(&queue), Err(GetError::Damaged), "the tail is at {inside}");
        }
        // The zeros of a fresh chunk are an empty message.
        tail_at(end + 1);
        queue.tail_chunk.store(second.place().get(), Ordering::Relaxed);
        assert_eq!(get(&queue), Ok(()));
        assert_eq!(queue.head_chunk.load(Ordering::Relaxed), second.place().get(), "the first chunk was freed");
        give_back(queue);
    }
}
