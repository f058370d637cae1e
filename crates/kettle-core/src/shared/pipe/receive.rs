//! Receiving a message: a record, and what it announces.

use std::io;
use std::os::fd::AsRawFd;

use super::lane::{Held, OWED};
use super::record::{self, Record, SLOT};
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
            if has_none && lane.owed.load(Ordering::Relaxed) == 0 {
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
            let is_owed = || self.channel.is_some_and(|c| c.inward().0.owed.load(Ordering::Relaxed) != 0);
            if !(is_owed() || self.channel.is_some() && spin_until(|| self.posted() != seen)) {
                self.socket.get().map_err(|lost| ReceiveError::Io(lost.into()))?;
                sleep_on(&mut [Watch::readable(self.socket.as_raw_fd())], patience)?;
            }
            seen = self.posted();
            if let Some(received) = self.look(buffer, patience)? {
                return Ok(received);
            }
        }
    }

    /// Whether a receiver may have died in the middle of a message, or may be in the middle of one.
    pub fn may_have_lost_rest(&self) -> bool {
        self.channel.is_some_and(|channel| {
            let statistics = channel.inward().0.receiving.statistics();
            statistics.owners_died != 0 || statistics.owner.is_some()
        })
    }

    /// For a caller that found the socket readable: drops the rest of a message that a dead receiver left, since it is
    /// not a message. Returns whether there was one.
    pub fn drop_lost_rest(&self) -> bool {
        let Some(channel) = self.channel else { return false };
        let a_moment = Patience::until(Deadline::after(record::A_MOMENT));
        let Ok(_receiving) = Held::take(&channel.inward().0.receiving, &a_moment) else { return false };
        self.socket.get_lately().is_ok_and(record::drop_lost_rest)
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
                    }
                    None => break fetched(&|count| count.wrapping_add(1)),
                },
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => {
                        fetched(&|_| posted.0);
                        return Ok(None);
                    }
                    // Reported once if the other end was closed with messages unread; what it sent is still there.
                    io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                    _ => return Err(ReceiveError::Io(e)),
                },
            }
        }
        crash_point("pipe.receive.record");
        match record::read(buffer, |buffer, more| record::receive(socket, buffer, more)) {
            Ok(Record::Inline(tag)) => Ok(Some(Received::Inline(tag))),
            Ok(Record::Announced(number, sum)) => {
                let channel = self.channel.ok_or(ReceiveError::NoChannel)?;
                channel.take(number, sum, buffer).map(Some)
            }
            Ok(Record::Foreign) => Err(ReceiveError::Foreign),
            Err(e) => Err(ReceiveError::Io(e)),
        }
    }
}

impl Channel {
    /// With the receivers' lock held: takes entry `number` from the queue, and drops those before it.
    fn take(&self, number: u32, sum: u64, buffer: &mut Vec<u8>) -> Result<Received, ReceiveError> {
        let (lane, queue) = self.inward();
        loop {
            let before = number.wrapping_sub(queue.statistics::<ArenaStore>().got);
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
}
