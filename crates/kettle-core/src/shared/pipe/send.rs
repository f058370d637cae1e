//! Sending a message: in a record, or through the arena and announced by a record; or, when the socket is full, through
//! the arena only.

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::backlog::{BESIDE, Stage};
use super::error::SendError;
use super::lane::{Held, Lane};
use super::record::{BacklogRecord, IN_SLOT, send_announcement, send_backlog, send_inline};
use super::{Channel, PipeEnd};
use crate::arena::Handle;
use crate::atomics::Ordering;
use crate::crash_point;
use crate::queue::{Parcel, PutError, Queue};
use crate::shared::{ArenaStore, place_of};
use crate::sys::socket::{self as sys, Watch};
use crate::wait::{Patience, Stopped, sleep_on};

/// The outcome of one attempt by a sender that holds the senders' lock.
enum Step {
    Sent,
    /// With this many more bytes, too many would be in flight.
    Crowded(u64),
    /// The socket is full, even for the record of a backlog.
    Full,
}

/// The outcome of beginning a backlog.
#[derive(PartialEq, Eq)]
enum Beginning {
    /// In the meantime there was room for the message's own record, which was sent.
    NotNeeded,
    Open,
    /// There was no room for its record.
    Impossible,
}

impl PipeEnd<'_> {
    /// Sends a message that is [short](Self::takes_short).
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, tag: u8, bytes: &[u8], patience: &Patience<'_>) -> Result<(), SendError> {
        let record = |socket: BorrowedFd<'_>| send_inline(socket, tag, bytes);
        let Some(channel) = self.channel else {
            while !self.send_record(record)? {
                self.wait_for_socket(patience)?;
            }
            return Ok(());
        };
        if bytes.len() > IN_SLOT {
            return self.send_through(channel, Parcel::inline(tag, bytes), patience);
        }
        self.check().map_err(SendError::Stopped)?;
        self.send_in_steps(channel, patience, |lane, queue, has_waited| {
            if lane.backlog.is_none() && self.send_counted(lane, record)? {
                return Ok(Step::Sent);
            }
            match self.backlog_for(lane, queue.next_number(), record)? {
                Beginning::NotNeeded => Ok(Step::Sent),
                Beginning::Impossible => Ok(Step::Full),
                Beginning::Open => {
                    self.put_in_backlog(lane, queue, &mut Some(Parcel::inline(tag, bytes)), has_waited, patience)
                }
            }
        })
    }

    /// Whether a short message could be sent now, as far as that is known without a system call.
    pub fn has_room(&self) -> bool {
        self.channel.is_some_and(|channel| channel.outward().0.has_room(BESIDE))
    }

    /// Sends a message through the arena. Waits while too many bytes are in flight.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_through(
        &self,
        channel: &Channel,
        parcel: Parcel<'_, ArenaStore>,
        patience: &Patience<'_>,
    ) -> Result<(), SendError> {
        self.check().map_err(SendError::Stopped)?;
        let mut parcel = Some(parcel);
        self.send_in_steps(channel, patience, |lane, queue, has_waited| match lane.backlog.now().1 {
            Stage::None => self.put_and_announce(lane, queue, &mut parcel, has_waited, patience),
            Stage::Begun if !self.renew_backlog(lane, queue.next_number())? => Ok(Step::Full),
            Stage::Begun | Stage::Open => self.put_in_backlog(lane, queue, &mut parcel, has_waited, patience),
        })
    }

    /// Calls `step` with the senders' lock held until the message is sent, and waits in between without the lock. The
    /// last argument of `step` is whether this call has waited for room.
    #[inline(always)]
    fn send_in_steps(
        &self,
        channel: &Channel,
        patience: &Patience<'_>,
        mut step: impl FnMut(&Lane, &Handle<Queue>, bool) -> Result<Step, SendError>,
    ) -> Result<(), SendError> {
        let (lane, queue) = channel.outward();
        let mut has_waited = false;
        let error = loop {
            let sending = Held::take(&lane.sending, patience).map_err(SendError::Stopped)?;
            let step = step(lane, queue, has_waited);
            drop(sending);
            let waited = match step {
                Ok(Step::Sent) => return Ok(()),
                Ok(Step::Crowded(len)) => {
                    has_waited = true;
                    lane.wait_for_room(self.socket, len, patience)
                }
                Ok(Step::Full) => self.wait_for_socket(patience),
                Err(e) => Err(e),
            };
            if let Err(e) = waited {
                break e;
            }
        };
        if matches!(error, SendError::Closed) {
            // No messages will ever be received from this queue.
            queue.clear::<ArenaStore>();
        }
        Err(error)
    }

    #[cold]
    fn wait_for_socket(&self, patience: &Patience<'_>) -> Result<(), SendError> {
        sleep_on(&mut [Watch::writable(self.socket.as_raw_fd())], patience)?;
        self.check().map_err(SendError::Stopped)
    }

    /// Sends a record, and counts it, if there is room for it.
    #[inline(always)]
    fn send_counted(&self, lane: &Lane, send: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> Result<bool, SendError> {
        let is_sent = self.send_record(send)?;
        if is_sent {
            // No other thread changes it: the senders' lock is held.
            lane.posted.store(lane.posted.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
        Ok(is_sent)
    }

    /// Sends a record, if there is room for it.
    #[inline(always)]
    fn send_record(&self, send: impl Fn(BorrowedFd<'_>) -> io::Result<()>) -> Result<bool, SendError> {
        let socket = self.socket.get_lately().map_err(|lost| SendError::Io(lost.into()))?;
        loop {
            let Err(e) = send(socket) else { return Ok(true) };
            match e.kind() {
                _ if !self.socket.is_ours() => return Err(SendError::Io(self.socket.lost().into())),
                io::ErrorKind::WouldBlock => return Ok(false),
                // Reported once if the other end was closed with messages unread; the next attempt returns
                // `BrokenPipe`.
                io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                io::ErrorKind::BrokenPipe => return Err(SendError::Closed),
                _ => return Err(SendError::Io(e)),
            }
        }
    }

    /// With the senders' lock held, and the socket full or a backlog begun: ensures an open backlog for the message
    /// with the number `first`. `record` sends the message's own record, in case there is room by now.
    #[cold]
    fn backlog_for(
        &self,
        lane: &Lane,
        first: u32,
        record: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
    ) -> Result<Beginning, SendError> {
        match lane.backlog.now().1 {
            Stage::Open => return Ok(Beginning::Open),
            Stage::Begun => {
                let is_open = self.renew_backlog(lane, first)?;
                return Ok(if is_open { Beginning::Open } else { Beginning::Impossible });
            }
            Stage::None => {}
        }
        let number = lane.backlog.begin();
        crash_point("pipe.backlog.begun");
        if self.send_counted(lane, record)? {
            lane.backlog.end();
            return Ok(Beginning::NotNeeded);
        }
        if self.open_backlog(lane, BacklogRecord { number, first })? {
            return Ok(Beginning::Open);
        }
        lane.backlog.end();
        Ok(Beginning::Impossible)
    }

    /// With the senders' lock held: begins a new backlog in place of one that a dead sender began.
    #[cold]
    fn renew_backlog(&self, lane: &Lane, first: u32) -> Result<bool, SendError> {
        let number = lane.backlog.begin();
        self.open_backlog(lane, BacklogRecord { number, first })
    }

    fn open_backlog(&self, lane: &Lane, record: BacklogRecord) -> Result<bool, SendError> {
        let is_sent = self.send_counted(lane, |socket| send_backlog(socket, record))?;
        if is_sent {
            crash_point("pipe.backlog.opening");
            lane.backlog.open();
        }
        Ok(is_sent)
    }

    /// With the senders' lock held, during a backlog.
    fn put_in_backlog(
        &self,
        lane: &Lane,
        queue: &Handle<Queue>,
        parcel: &mut Option<Parcel<'_, ArenaStore>>,
        has_waited: bool,
        patience: &Patience<'_>,
    ) -> Result<Step, SendError> {
        let len = parcel.as_ref().map_or(0, Parcel::len) as u64 + BESIDE;
        if !self.may_put(lane, len, has_waited)? {
            return Ok(Step::Crowded(len));
        }
        // Sending a record would have reported that the other end is closed.
        let socket = self.socket.get_lately().map_err(|lost| SendError::Io(lost.into()))?;
        let mut other_end = [Watch::gone(socket.as_raw_fd())];
        if sys::poll(&mut other_end, Duration::ZERO).is_ok() && other_end[0].is_ready() {
            return Err(SendError::Closed);
        }
        let sum = lane.sum_with(len);
        put(queue, parcel, patience)?;
        crash_point("pipe.backlog.put");
        lane.sent.store(sum, Ordering::Release);
        Ok(Step::Sent)
    }

    /// With the senders' lock held, without a backlog.
    fn put_and_announce(
        &self,
        lane: &Lane,
        queue: &Handle<Queue>,
        parcel: &mut Option<Parcel<'_, ArenaStore>>,
        has_waited: bool,
        patience: &Patience<'_>,
    ) -> Result<Step, SendError> {
        let len = parcel.as_ref().map_or(0, Parcel::len) as u64;
        if !self.may_put(lane, len, has_waited)? {
            return Ok(Step::Crowded(len));
        }
        let number = queue.next_number();
        put(queue, parcel, patience)?;
        crash_point("pipe.send.put");
        let sum = lane.sum_with(len);
        let record = |socket: BorrowedFd<'_>| send_announcement(socket, number, sum);
        while !self.send_counted(lane, record)? && self.backlog_for(lane, number, record)? == Beginning::Impossible {
            self.wait_for_socket(patience)?;
        }
        crash_point("pipe.send.announced");
        lane.sent.store(sum, Ordering::Release);
        Ok(Step::Sent)
    }

    fn may_put(&self, lane: &Lane, len: u64, has_waited: bool) -> Result<bool, SendError> {
        if lane.has_room(len) || !has_waited {
            return Ok(lane.has_room(len));
        }
        // Then nothing is in flight, whatever the totals say.
        sys::unreceived(self.socket.as_fd()).map(|bytes| bytes == 0).map_err(SendError::Io)
    }
}

/// Puts the message in `parcel`, which must be present.
fn put(
    queue: &Handle<Queue>,
    parcel: &mut Option<Parcel<'_, ArenaStore>>,
    patience: &Patience<'_>,
) -> Result<(), SendError> {
    let Some(parcel) = parcel.take() else { return Ok(()) };
    let put = match queue.put(place_of(queue), parcel, &Patience::none()) {
        // The queue's own lock is held by a thread that died.
        Err(PutError::Full(parcel)) => queue.put(place_of(queue), parcel, &patience.at_least_a_second()),
        put => put,
    };
    put.map_err(|e| match e {
        PutError::Exhausted(_, e) => SendError::Exhausted(e),
        PutError::Interrupted(_) => SendError::Stopped(Stopped::Interrupted),
        PutError::Full(_) | PutError::ShutDown(_) => SendError::Stopped(Stopped::TimedOut),
        PutError::Damaged(_) => SendError::Stopped(Stopped::Damaged),
    })
}
