//! The tail of a queue: a putter writes beyond it, then moves it.

use super::chunk::{self, Chunk, Cursor};
use super::message::Parcel;
use super::{Exhausted, Place, Queue, Store, Trouble, lock};
use crate::atomics::Ordering;
use crate::crash_point;
use crate::damage::What;
use crate::sync::Home;
use crate::wait::{Patience, Place as InLine, Stopped, spin_until};

/// Why a put failed. The message is returned.
#[derive(Debug)]
pub enum PutError<P> {
    /// The queue was full until the deadline.
    Full(P),
    /// The queue is shut down.
    ShutDown(P),
    /// The caller was interrupted.
    Interrupted(P),
    /// There is no memory for the message.
    Exhausted(P, Exhausted),
    /// The queue's memory is [damaged](crate::damage).
    Damaged(P),
}

impl<P> PutError<P> {
    fn stopped(parcel: P, why: Stopped) -> Self {
        match why {
            Stopped::TimedOut => Self::Full(parcel),
            Stopped::Interrupted => Self::Interrupted(parcel),
            Stopped::Damaged => Self::Damaged(parcel),
            Stopped::NoPart => Self::Exhausted(parcel, Exhausted::NoPart),
        }
    }
}

impl Queue {
    /// Puts a message. `me` is the address of this queue, for the blocks that it will own.
    ///
    /// # Errors
    /// See [`PutError`], which returns the message.
    pub fn put<'b, S: Store>(
        &self,
        me: Place,
        parcel: Parcel<'b, S>,
        patience: &Patience<'_>,
    ) -> Result<(), PutError<Parcel<'b, S>>> {
        let mut place: Option<InLine<'_>> = None;
        loop {
            let is_admitted =
                || patience.takes_reserved() || self.space.admits(place.as_ref().map(InLine::ticket), || self.spare());
            let hold = match lock::<S::Home>(&self.tail_lock, patience) {
                Ok(hold) => hold,
                Err(stopped) => {
                    if place.take().is_some() {
                        self.space.pass_on(self.spare(), S::Home::SCOPE);
                    }
                    return Err(PutError::stopped(parcel, stopped));
                }
            };
            if self.is_shut() {
                return Err(PutError::ShutDown(parcel));
            }
            if !self.is_full() && is_admitted() {
                let item = self.items.prepare();
                let result = self.append(me, parcel);
                crash_point("queue.put.before-unlock");
                drop(hold);
                if result.is_ok() {
                    crash_point("queue.put.before-notify");
                    // Releasing the lock was a sequentially consistent exchange, after the commit.
                    self.items.notify_prepared(item, 1, || self.len(), S::Home::SCOPE);
                } else {
                    self.items.withdraw(item, S::Home::SCOPE);
                }
                if let Some(place) = place {
                    place.leave(false);
                    if !self.is_full() {
                        self.space.pass_on(self.spare(), S::Home::SCOPE);
                    }
                }
                return result.map_err(|(parcel, trouble)| match trouble {
                    Trouble::Exhausted(e) => PutError::Exhausted(parcel, e),
                    Trouble::Damaged => PutError::Damaged(parcel),
                });
            }
            drop(hold);
            let room = || (!self.is_full() || self.is_shut()).then_some(());
            if patience.may_wait() && spin_until(|| room().is_some() && is_admitted()) {
                continue;
            }
            if let Err(stopped) = patience.check_may_wait(S::Home::SCOPE) {
                return Err(PutError::stopped(parcel, stopped));
            }
            // A wake-up stands for one message's room; if there is more, it is passed on.
            let place = place.get_or_insert_with(|| self.space.join(S::Home::SCOPE));
            if let Err(stopped) = place.wait_for(patience, room, || None) {
                return Err(PutError::stopped(parcel, stopped));
            }
        }
    }

    /// With the tail's lock held: writes the message beyond the tail, then moves the tail past it.
    fn append<'b, S: Store>(&self, me: Place, parcel: Parcel<'b, S>) -> Result<(), (Parcel<'b, S>, Trouble)> {
        let tail = Cursor::unpack(self.tail.load(Ordering::Relaxed));
        let (units, block_bytes) = (parcel.units(), parcel.block_bytes());
        let (chunk, position) = match self.room::<S>(me, tail, units) {
            Ok(room) => room,
            Err(e) => return Err((parcel, e)),
        };
        chunk.writing(position);
        // SAFETY: the tail's lock is held, so no other thread writes beyond the tail; `room` found `units` units at
        // `position` in `chunk`, all of them beyond the tail, which no getter reads before the commit below.
        unsafe { parcel.write(chunk.unit(position), me, position) };
        self.count_put(block_bytes);
        crash_point("queue.put.before-commit");
        let next = Cursor { count: tail.count.wrapping_add(1), position: position.wrapping_add(units) };
        // [P] pairs with [G]: a thread that sees the tail sees everything before it.
        self.tail.store(next.pack(), Ordering::Release);
        crash_point("queue.put.committed");
        Ok(())
    }

    /// With the tail's lock held: finds room for `units` units, in a new chunk if necessary.
    fn room<S: Store>(&self, me: Place, tail: Cursor, units: u32) -> Result<(Chunk, u32), Trouble> {
        let head = Cursor::unpack(self.head.load(Ordering::Relaxed));
        let inside = tail.position.wrapping_sub(head.position);
        if inside > chunk::MOST_UNITS - chunk::LATER_UNITS {
            // A put starts at most at that limit, and takes no more than one chunk.
            return Err(match inside > chunk::MOST_UNITS {
                true => S::damaged(What::Cursor, 0, tail.pack()),
                false => Trouble::Exhausted(Exhausted::Memory("a queue holds at most 16 GiB of small messages".into())),
            });
        }
        let Some(place) = Place::new(self.tail_chunk.load(Ordering::Relaxed)) else {
            return self.first_chunk::<S>(me, tail);
        };
        let chunk = Chunk::at::<S>(place)?;
        let end = chunk.end();
        // A putter that died after it moved to this chunk, but before its commit, left the tail behind it.
        let position = chunk.enter::<S>(tail.position)?;
        if end.wrapping_sub(position) >= units {
            return Ok((chunk, position));
        }
        // A putter that died here may already have linked the next chunk: use that one.
        let next = match Place::new(chunk.next()) {
            Some(next) => chunk.followed_by::<S>(next)?,
            None => {
                let index = chunk.index().wrapping_add(1);
                let next = Chunk::begin::<S>(S::chunk(chunk::LATER_LEN, me, index)?, end, chunk::LATER_LEN, index)?;
                crash_point("queue.put.before-link");
                chunk.link(next.place());
                next
            }
        };
        crash_point("queue.put.linked");
        next.set_linked();
        if end != position {
            chunk.skip(position);
        }
        self.tail_chunk.store(next.place().get(), Ordering::Release);
        crash_point("queue.put.next-chunk");
        Ok((next, end))
    }

    fn first_chunk<S: Store>(&self, me: Place, tail: Cursor) -> Result<(Chunk, u32), Trouble> {
        let chunk = match Place::new(self.head_chunk.load(Ordering::Relaxed)) {
            // A putter died between the two stores below.
            Some(place) => Chunk::at::<S>(place)?,
            None => {
                let place = S::chunk(chunk::FIRST_LEN, me, 0)?;
                let chunk = Chunk::begin::<S>(place, tail.position, chunk::FIRST_LEN, 0)?;
                crash_point("queue.put.before-first-chunk");
                self.head_chunk.store(place.get(), Ordering::Release);
                crash_point("queue.put.first-chunk");
                chunk
            }
        };
        if chunk.base() != tail.position {
            return Err(S::damaged(What::Chunk, chunk.place().get(), u64::from(chunk.base())));
        }
        chunk.set_linked();
        self.tail_chunk.store(chunk.place().get(), Ordering::Release);
        Ok((chunk, tail.position))
    }

    /// Waits until every putter that did not see what was stored before this call has finished.
    pub(super) fn let_putter_out<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        lock::<H>(&self.tail_lock, patience).map(drop)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shared::HeapStore as S;

    fn put(queue: &Queue) -> Result<(), Trouble> {
        queue.put::<S>(Place::MIN, Parcel::inline(0, &[1; 16]), &Patience::none()).map_err(|e| match e {
            PutError::Exhausted(_, e) => Trouble::Exhausted(e),
            PutError::Damaged(_) => Trouble::Damaged,
            other => panic!("{other:?}"),
        })
    }

    /// Head and tail can be distinguished only while they are close enough to each other.
    #[test]
    fn there_is_an_end_to_what_a_queue_holds() {
        let queue = Queue::new(0, false);
        put(&queue).unwrap();
        let tail = queue.tail.load(Ordering::Relaxed);
        let last = chunk::MOST_UNITS - chunk::LATER_UNITS;
        for head in [0, 5, u32::MAX] {
            queue.head.store(Cursor { count: 0, position: head }.pack(), Ordering::Relaxed);
            let put_at = |inside| {
                queue.tail.store(Cursor { count: 1, position: head.wrapping_add(inside) }.pack(), Ordering::Relaxed);
                put(&queue)
            };
            assert_eq!(put_at(last), Err(Trouble::Damaged), "room for one more, but the chunk does not match");
            for inside in [last + 1, chunk::MOST_UNITS] {
                assert!(matches!(put_at(inside), Err(Trouble::Exhausted(_))), "{inside}");
            }
            assert_eq!(put_at(chunk::MOST_UNITS + 1), Err(Trouble::Damaged));
        }
        queue.head.store(Cursor { count: 0, position: 0 }.pack(), Ordering::Relaxed);
        queue.tail.store(tail, Ordering::Relaxed);
        put(&queue).unwrap();
        // SAFETY: the test no longer uses the queue.
        unsafe { queue.teardown::<S>() };
    }

    #[test]
    fn a_first_chunk_that_begins_elsewhere_is_not_believed() {
        let queue = Queue::new(0, false);
        put(&queue).unwrap();
        // The state after a putter died between the two stores.
        let chunk = queue.tail_chunk.swap(0, Ordering::Relaxed);
        queue.tail.store(Cursor { count: 0, position: 1 }.pack(), Ordering::Relaxed);
        assert_eq!(put(&queue), Err(Trouble::Damaged));
        queue.tail.store(Cursor { count: 0, position: 0 }.pack(), Ordering::Relaxed);
        put(&queue).unwrap();
        assert_eq!(queue.tail_chunk.load(Ordering::Relaxed), chunk);
        // SAFETY: the test no longer uses the queue.
        unsafe { queue.teardown::<S>() };
    }
}
