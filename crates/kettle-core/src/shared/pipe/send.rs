//! Sending a message: in a record, or through the arena and announced by a record.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::lane::{Held, Lane};
use super::record::{IN_RECORD, send_announcement, send_inline};
use super::{Channel, PipeEnd};
use crate::arena::Handle;
use crate::atomics::Ordering;
use crate::crash_point;
use crate::queue::{Exhausted, Parcel, PutError, Queue};
use crate::shared::{ArenaStore, place_of};
use crate::sys::socket::Watch;
use crate::wait::{Patience, Stopped, WatchError, sleep_on};

/// Why a send failed.
#[derive(Debug)]
pub enum SendError {
    /// The other end is closed.
    Closed,
    /// The wait ended; nothing was sent.
    Stopped(Stopped),
    /// There is no memory for the message.
    Exhausted(Exhausted),
    /// A system call failed.
    Io(io::Error),
}

impl From<WatchError> for SendError {
    fn from(e: WatchError) -> Self {
        match e {
            WatchError::Stopped(stopped) => Self::Stopped(stopped),
            WatchError::Io(e) => Self::Io(e),
        }
    }
}

impl PipeEnd<'_> {
    /// Sends a message of at most [`IN_RECORD`] bytes.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, tag: u8, bytes: &[u8], patience: &Patience<'_>) -> Result<(), SendError> {
        debug_assert!(bytes.len() <= IN_RECORD);
        self.check().map_err(SendError::Stopped)?;
        self.send_record(|socket| send_inline(socket, tag, bytes), patience)
    }

    #[inline(always)]
    fn send_record(
        &self,
        send: impl Fn(BorrowedFd<'_>) -> io::Result<()>,
        patience: &Patience<'_>,
    ) -> Result<(), SendError> {
        let socket = self.socket.get_lately().map_err(|lost| SendError::Io(lost.into()))?;
        loop {
            match send(socket) {
                Ok(()) => {
                    if let Some(channel) = self.channel {
                        channel.outward().0.posted.fetch_add(1, Ordering::Release);
                    }
                    return Ok(());
                }
                Err(e) => match e.kind() {
                    _ if !self.socket.is_ours() => return Err(SendError::Io(self.socket.lost().into())),
                    io::ErrorKind::WouldBlock => {
                        sleep_on(&mut [Watch::writable(self.socket.as_raw_fd())], patience)?;
                        self.check().map_err(SendError::Stopped)?;
                    }
                    // Reported once if the other end was closed with messages unread; the next attempt returns
                    // `BrokenPipe`.
                    io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::BrokenPipe => return Err(SendError::Closed),
                    _ => return Err(SendError::Io(e)),
                },
            }
        }
    }

    /// Sends a message of `len` bytes through the arena. Waits while too many bytes are in flight.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_through(
        &self,
        channel: &Channel,
        parcel: Parcel<'_, ArenaStore>,
        len: usize,
        patience: &Patience<'_>,
    ) -> Result<(), SendError> {
        let (lane, queue) = channel.outward();
        let _sending = Held::take(&lane.sending, patience).map_err(SendError::Stopped)?;
        let result = self.put_and_announce(lane, queue, parcel, len as u64, patience);
        if matches!(result, Err(SendError::Closed)) {
            // No messages will ever be received from this queue.
            queue.clear::<ArenaStore>();
        }
        result
    }

    /// With the senders' lock held.
    fn put_and_announce(
        &self,
        lane: &Lane,
        queue: &Handle<Queue>,
        parcel: Parcel<'_, ArenaStore>,
        len: u64,
        patience: &Patience<'_>,
    ) -> Result<(), SendError> {
        lane.wait_for_room(self.socket, len, patience)?;
        let number = queue.statistics::<ArenaStore>().put;
        queue.put(place_of(queue), parcel, &patience.at_least_a_second()).map_err(|e| match e {
            PutError::Exhausted(_, e) => SendError::Exhausted(e),
            PutError::Interrupted(_) => SendError::Stopped(Stopped::Interrupted),
            PutError::Full(_) | PutError::ShutDown(_) => SendError::Stopped(Stopped::TimedOut),
            PutError::Damaged(_) => SendError::Stopped(Stopped::Damaged),
        })?;
        crash_point("pipe.send.put");
        let sum = lane.sent.load(Ordering::Relaxed).max(lane.received.load(Ordering::Relaxed)).wrapping_add(len);
        self.send_record(|socket| send_announcement(socket, number, sum), patience)?;
        crash_point("pipe.send.announced");
        lane.sent.store(sum, Ordering::Release);
        Ok(())
    }
}
