//! Receiving a message: a record, and what it announces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::backlog::{BESIDE, Stage};
use super::lane::{Held, OWED};
use super::record::{self, Front, Record, SLOT};
use super::{Channel, PipeEnd};
use crate::arena::Block;
use crate::atomics::Ordering;
use crate::crash_point;
use crate::queue::{Exhausted, GetError, Taken};
use crate::shared::{ArenaStore, Processes};
use crate::sync::Home;
use crate::sys::socket::Watch;
use crate::wait::{Deadline, Patience, Stopped, WatchError, sleep_on, spin_until};

/// Why a receive failed.
#[derive(Debug)]
pub enum ReceiveError {
    /// The other end is closed, and everything it sent was received.
    End,
    /// The wait ended.
    Stopped(Stopped),
    /// The message is in the arena, but this end was given no channel.
    NoChannel,
    /// The record is not a message of a pipe, or the message it announced does not exist.
    Foreign,
    /// This process lacks the memory for the message, or the address space to map it. The next receive returns it.
    Unmapped(Exhausted),
    /// A system call failed.
    Io(io::Error),
}

impl From<WatchError> for ReceiveError {
    fn from(e: WatchError) -> Self {
        match e {
            WatchError::Stopped(stopped) => Self::Stopped(stopped),
            WatchError::Io(e) => Self::Io(e),
        }
    }
}

/// The number of records sent as of some earlier look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted(u64);

/// A received message.
#[derive(Debug)]
pub enum Received {
    /// Its tag; its bytes follow [`RECORD_HEADER`](super::RECORD_HEADER) in the buffer.
    Inline(u8),
    /// It came through the arena; a short body is in the buffer.
    Announced(Taken<Block>),
}

impl PipeEnd<'_> {
    /// The number of records sent so far, from which [`receive`](Self::receive) can tell what arrived since. To be read
    /// before [`try_receive`](Self::try_receive).
    pub fn posted(&self) -> Posted {
        Posted(self.channel.map_or(0, |channel| channel.inward().0.posted.load(Ordering::Acquire)))
    }

    /// Receives a message if one has arrived, as far as that is known without a system call. `buffer` is cleared and
    /// used for the record.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn try_receive(&self, buffer: &mut Vec<u8>) -> Result<Option<Received>, ReceiveError> {
        if let Some(channel) = self.channel {
            let lane = channel.inward().0;
            let has_none = lane.posted.load(Ordering::Acquire) == lane.fetched.load(Ordering::Relaxed);
            if has_none && lane.owed.load(Ordering::Relaxed) == 0 && lane.backlog.is_none() {
                return self.check().map(|()| None).map_err(ReceiveError::Stopped);
            }
        }
        self.look(buffer, &Patience::instant())
    }

    /// Waits for a message, for a caller that got none from [`try_receive`](Self::try_receive).
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive(
        &self,
        buffer: &mut Vec<u8>,
        mut seen: Posted,
        patience: &Patience<'_>,
    ) -> Result<Received, ReceiveError> {
        loop {
            let is_there = || {
                let lane = self.channel.map(|channel| channel.inward().0);
                lane.is_some_and(|lane| lane.owed.load(Ordering::Relaxed) != 0 || !lane.backlog.is_none())
            };
            if !(is_there() || self.channel.is_some() && spin_until(|| self.posted() != seen)) {
                self.socket.get().map_err(|lost| ReceiveError::Io(lost.into()))?;
                sleep_on(&mut [Watch::readable(self.socket.as_raw_fd())], patience)?;
            }
            seen = self.posted();
            if let Some(received) = self.look(buffer, patience)? {
                return Ok(received);
            }
        }
    }

    /// Whether the socket may be readable because of leftovers of a dead process rather than a message.
    pub fn may_have_leavings(&self) -> bool {
        self.channel.is_some_and(|channel| {
            let lane = channel.inward().0;
            let statistics = lane.receiving.statistics();
            statistics.owners_died != 0 || statistics.owner.is_some() || !lane.backlog.is_none()
        })
    }

    /// For a caller that found the socket readable: drops leftovers of a dead process from the front of the stream.
    /// Returns whether there were any.
    pub fn drop_leavings(&self) -> bool {
        let Some(channel) = self.channel else { return false };
        let a_moment = || Patience::until(Deadline::after(record::A_MOMENT));
        let Ok(_receiving) = Held::take(&channel.inward().0.receiving, &a_moment()) else { return false };
        let Ok(socket) = self.socket.get_lately() else { return false };
        match record::front(socket) {
            Ok(Front::Backlog(record)) => {
                let (number, stage) = channel.inward().0.backlog.now();
                if stage != Stage::None && record.number == number {
                    return channel.inward().1.is_empty() && channel.end_backlog(socket, &a_moment());
                }
                channel.drop_backlog_record(socket);
                true
            }
            Ok(Front::Other) => record::drop_lost_rest(socket),
            Ok(Front::Nothing) | Err(_) => false,
        }
    }

    /// None if there is no message, or another receiver is taking it right now.
    fn look(&self, buffer: &mut Vec<u8>, patience: &Patience<'_>) -> Result<Option<Received>, ReceiveError> {
        let _receiving = match self.channel {
            Some(channel) => match Held::take(&channel.inward().0.receiving, patience) {
                Ok(held) => Some(held),
                Err(Stopped::TimedOut) => return Ok(None),
                Err(stopped) => return Err(ReceiveError::Stopped(stopped)),
            },
            None => None,
        };
        buffer.clear();
        let posted = self.posted();
        let fetched = |count: &dyn Fn(u64) -> u64| {
            if let Some(channel) = self.channel {
                let hint = &channel.inward().0.fetched;
                hint.store(count(hint.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
        };
        if let Some(channel) = self.channel {
            let lane = channel.inward().0;
            let owed = lane.owed.load(Ordering::Relaxed);
            if owed != 0 {
                return channel.take(owed as u32, lane.owed_sum.load(Ordering::Relaxed), buffer).map(Some);
            }
        }
        let socket = self.socket.get_lately().map_err(|lost| ReceiveError::Io(lost.into()))?;
        loop {
            if let Some(channel) = self.channel
                && !channel.inward().0.backlog.is_none()
                && let Some(received) = channel.look_at_backlog(socket, buffer, patience)?
            {
                return Ok(Some(received));
            }
            if self.channel.is_none() && matches!(record::front(socket), Ok(Front::Backlog(_))) {
                return Err(ReceiveError::NoChannel);
            }
            match record::receive(socket, buffer, SLOT) {
                Ok(0) | Err(_) if !self.socket.is_ours() => return Err(ReceiveError::Io(self.socket.lost().into())),
                Ok(0) => return Err(ReceiveError::End),
                Ok(_) => match record::of_lost_rest(buffer) {
                    Some(more) => {
                        buffer.clear();
                        if more != 0 {
                            record::receive(socket, buffer, more).map_err(ReceiveError::Io)?;
                        }
                        buffer.clear();
                        continue;
                    }
                    None => fetched(&|count| count.wrapping_add(1)),
                },
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => {
                        fetched(&|_| posted.0);
                        return Ok(None);
                    }
                    // Reported once if the other end was closed with messages unread; what it sent is still there.
                    io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => continue,
                    _ => return Err(ReceiveError::Io(e)),
                },
            }
            crash_point("pipe.receive.record");
            return match record::read(buffer, |buffer, more| record::receive(socket, buffer, more)) {
                Ok(Record::Inline(tag)) => Ok(Some(Received::Inline(tag))),
                Ok(Record::Announced(number, sum)) => {
                    let channel = self.channel.ok_or(ReceiveError::NoChannel)?;
                    channel.take(number, sum, buffer).map(Some)
                }
                // The record of a backlog that has ended.
                Ok(Record::Backlog) => {
                    buffer.clear();
                    continue;
                }
                Ok(Record::Foreign) => Err(ReceiveError::Foreign),
                Err(e) => Err(ReceiveError::Io(e)),
            };
        }
    }
}

impl Channel {
    /// With the receivers' lock held: takes entry `number` from the queue, and drops those before it.
    fn take(&self, number: u32, sum: u64, buffer: &mut Vec<u8>) -> Result<Received, ReceiveError> {
        let (lane, queue) = self.inward();
        loop {
            let before = number.wrapping_sub(queue.oldest_number());
            buffer.clear();
            if before > u32::MAX / 2 {
                lane.owed.store(0, Ordering::Relaxed);
                return Err(ReceiveError::Foreign);
            }
            let taken = match queue.get::<ArenaStore>(buffer, &Patience::none()) {
                Ok(taken) => taken,
                Err(GetError::Damaged) => return Err(ReceiveError::Stopped(Stopped::Damaged)),
                Err(GetError::Exhausted(e)) => {
                    lane.owed_sum.store(sum, Ordering::Relaxed);
                    lane.owed.store(u64::from(number) | OWED, Ordering::Release);
                    return Err(ReceiveError::Unmapped(e));
                }
                Err(GetError::Empty | GetError::ShutDown | GetError::Interrupted) => {
                    lane.owed.store(0, Ordering::Relaxed);
                    return Err(ReceiveError::Foreign);
                }
            };
            if before == 0 {
                crash_point("pipe.receive.taken");
                lane.owed.store(0, Ordering::Relaxed);
                lane.received.store(sum, Ordering::Release);
                lane.taken.notify_one(Processes::SCOPE);
                return Ok(Received::Announced(taken));
            }
        }
    }

    /// With the receivers' lock held, while there is a backlog: takes its next message, if it is the backlog's turn.
    /// Otherwise there is a record to be received first, or nothing.
    #[cold]
    fn look_at_backlog(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut Vec<u8>,
        patience: &Patience<'_>,
    ) -> Result<Option<Received>, ReceiveError> {
        let (lane, queue) = self.inward();
        loop {
            let (number, stage) = lane.backlog.now();
            if stage == Stage::None {
                return Ok(None);
            }
            match record::front(socket).map_err(ReceiveError::Io)? {
                Front::Other => return Ok(None),
                Front::Backlog(record) if record.number != number => self.drop_backlog_record(socket),
                Front::Backlog(record) => {
                    self.drop_unannounced(record.first, buffer)?;
                    match queue.len() {
                        0 if self.end_backlog(socket, patience) => {}
                        // A sender is about to put a message.
                        0 => return Ok(None),
                        1 => {
                            // If a message is put in the meantime, this one is no longer the last, and the record stays
                            // for the new one.
                            let sending = Held::try_take(&lane.sending);
                            let taken = self.take_of_backlog(buffer)?;
                            if sending.is_some() && queue.is_empty() {
                                self.end_backlog_held(socket);
                            }
                            return Ok(Some(taken));
                        }
                        _ => return self.take_of_backlog(buffer).map(Some),
                    }
                }
                // The sender is about to send the record, or died, or the program read past it.
                Front::Nothing => {
                    let Ok(_sending) = Held::take(&lane.sending, patience) else { return Ok(None) };
                    if record::front(socket).map_err(ReceiveError::Io)? != Front::Nothing {
                        continue;
                    }
                    if !queue.is_empty() {
                        return self.take_of_backlog(buffer).map(Some);
                    }
                    lane.received.store(lane.sent.load(Ordering::Relaxed), Ordering::Release);
                    lane.backlog.end();
                }
            }
        }
    }

    /// Drops the record of a backlog that is at the front of the stream.
    fn drop_backlog_record(&self, socket: BorrowedFd<'_>) {
        let fetched = &self.inward().0.fetched;
        record::drop_backlog(socket);
        fetched.store(fetched.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Ends an empty backlog whose record is at the front of the stream. False if the senders' lock was not acquired.
    fn end_backlog(&self, socket: BorrowedFd<'_>, patience: &Patience<'_>) -> bool {
        let (lane, queue) = self.inward();
        let Ok(_sending) = Held::take(&lane.sending, patience) else { return false };
        if queue.is_empty() {
            self.end_backlog_held(socket);
        }
        true
    }

    /// Requires both locks and an empty backlog.
    fn end_backlog_held(&self, socket: BorrowedFd<'_>) {
        let lane = self.inward().0;
        lane.received.store(lane.sent.load(Ordering::Relaxed), Ordering::Release);
        lane.backlog.end();
        crash_point("pipe.backlog.ended");
        self.drop_backlog_record(socket);
    }

    /// Drops the entries before `first`, which were never announced.
    fn drop_unannounced(&self, first: u32, buffer: &mut Vec<u8>) -> Result<(), ReceiveError> {
        let queue = self.inward().1;
        while (1..=u32::MAX / 2).contains(&first.wrapping_sub(queue.oldest_number())) && !queue.is_empty() {
            buffer.clear();
            drop(self.take_next(buffer)?);
        }
        buffer.clear();
        Ok(())
    }

    /// With the receivers' lock held: takes the next message of a backlog.
    fn take_of_backlog(&self, buffer: &mut Vec<u8>) -> Result<Received, ReceiveError> {
        let lane = self.inward().0;
        let taken = self.take_next(buffer)?;
        crash_point("pipe.backlog.taken");
        let len = (buffer.len() + taken.block_bytes::<ArenaStore>()) as u64 + BESIDE;
        lane.received.store(lane.received.load(Ordering::Relaxed).wrapping_add(len), Ordering::Release);
        lane.taken.notify_one(Processes::SCOPE);
        Ok(Received::Announced(taken))
    }

    fn take_next(&self, buffer: &mut Vec<u8>) -> Result<Taken<Block>, ReceiveError> {
        self.inward().1.get::<ArenaStore>(buffer, &Patience::none()).map_err(|e| match e {
            GetError::Damaged => ReceiveError::Stopped(Stopped::Damaged),
            GetError::Exhausted(e) => ReceiveError::Unmapped(e),
            GetError::Empty | GetError::ShutDown | GetError::Interrupted => ReceiveError::Foreign,
        })
    }
}
