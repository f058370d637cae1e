//! Pipes whose messages are whole or absent, whoever dies.
//!
//! A pipe is a pair of packet sockets and a [`Channel`] in the arena. Each message is one packet, so a descriptor is
//! readable exactly when a message (or the end) is there. Short messages travel in their packet. For a long one, the
//! sender puts its blocks into the channel's queue and then sends a packet that announces them:
//!
//! ```text
//! inline     [ 1 | tag | bytes … ]
//! announced  [ 2 | 0 | 0 0 | number in the queue: 32 | bytes sent so far, with these: 64 ]
//! ```
//!
//! *Order.* Putting and announcing happen under one lock, taking a packet and what it announces under another, so
//! entries are announced in the order of the queue. A sender that dies between the two steps leaves an entry that
//! nobody announces: the next announcement has a higher number, and what stands before it is dropped. A receiver that
//! dies between its two steps has lost its message, as if it had died after; the entry is dropped likewise.
//!
//! *Back-pressure.* Packets of long messages are tiny, so the socket alone would let a sender fill the arena. Both
//! sides publish how many bytes they have seen in all; the sender waits while too many are on their way. Each packet
//! carries the sender's sum, and the receiver copies it, so whatever a death made wrong is right again with the next
//! message; and if the socket holds nothing unreceived, nothing is on its way, whatever the sums say.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use super::{ArenaStore, Processes, place_of};
use crate::arena::{ArenaError, Block, Handle, Ticket, Token, TokenError};
use crate::atomics::{AtomicU64, Ordering};
use crate::crash_point;
use crate::queue::{Exhausted, Parcel, PutError, Queue, Taken};
use crate::sync::{Home, Lock, LockError, OnOwnerDeath};
use crate::sys::socket::{self, Watch};
use crate::wait::{EventCount, Patience, Stopped, WatchError, sleep_on, spin_until};

/// The longest message that travels in its packet.
pub const IN_PACKET: usize = 16 * 1024;
/// Where the bytes begin in an inline packet.
pub const PACKET_HEADER: usize = 2;
/// How many bytes of long messages may be on their way; a single message may have more.
const ON_THEIR_WAY: u64 = 8 << 20;

const INLINE: u8 = 1;
const ANNOUNCED: u8 = 2;
const ANNOUNCEMENT: usize = 16;

/// The words of both directions.
#[repr(C)]
#[derive(Debug)]
pub struct Lanes([Lane; 2]);

/// The words of one direction.
#[repr(C, align(64))]
#[derive(Debug)]
struct Lane {
    sending: Lock,
    receiving: Lock,
    sent: AtomicU64,
    received: AtomicU64,
    taken: EventCount,
    /// Packets sent and fetched, as hints that spare asking the kernel: after a death they may be wrong for a while.
    posted: AtomicU64,
    fetched: AtomicU64,
}

impl Lanes {
    fn new() -> Self {
        Self([(); 2].map(|()| Lane {
            sending: Lock::new(OnOwnerDeath::Recover),
            receiving: Lock::new(OnOwnerDeath::Recover),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            taken: EventCount::new(),
            posted: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
        }))
    }
}

/// What one end of a pipe knows of the arena: both directions, and which is its own.
#[derive(Clone, Debug)]
pub struct Channel {
    lanes: Handle<Lanes>,
    /// What end 0 sends, what end 1 sends.
    queues: [Handle<Queue>; 2],
    end: usize,
}

/// The two sockets of a new pipe, each with its end of the channel.
///
/// # Errors
/// When there is no memory or no descriptor.
pub fn pipe() -> Result<[(OwnedFd, Channel); 2], PipeError> {
    let queue = || Handle::new(|| Queue::new(0, false));
    let lanes = Handle::new(Lanes::new).map_err(PipeError::Arena)?;
    let queues = [queue().map_err(PipeError::Arena)?, queue().map_err(PipeError::Arena)?];
    let (a, b) = socket::packet_pair().map_err(PipeError::Io)?;
    let channel = Channel { lanes, queues, end: 0 };
    Ok([(a, channel.clone()), (b, Channel { end: 1, ..channel })])
}

/// Why there is no pipe.
#[derive(Debug)]
pub enum PipeError {
    /// The arena refused.
    Arena(ArenaError),
    /// The system refused.
    Io(io::Error),
}

impl Channel {
    /// The length of [`tokens`](Self::tokens).
    pub const TOKENS: usize = 3 * Token::LEN + 1;

    /// What this end is rebuilt from elsewhere: in the process to be started with `ticket`, or anywhere.
    pub fn tokens(&self, ticket: Option<Ticket>) -> [u8; Self::TOKENS] {
        let queue = |i: usize| match ticket {
            Some(ticket) => self.queues[i].token_for(ticket),
            None => self.queues[i].token_pinned(),
        };
        let lanes = match ticket {
            Some(ticket) => self.lanes.token_for(ticket),
            None => self.lanes.token_pinned(),
        };
        let mut bytes = [self.end as u8; Self::TOKENS];
        for (to, token) in bytes.chunks_exact_mut(Token::LEN).zip([lanes, queue(0), queue(1)]) {
            to.copy_from_slice(&token.to_bytes());
        }
        bytes
    }

    /// The end that [`tokens`](Self::tokens) named.
    ///
    /// # Errors
    /// When they come from another session, or what they name is gone.
    pub fn from_tokens(bytes: &[u8]) -> Result<Self, TokenError> {
        let token = |i: usize| {
            let at = bytes.get(i * Token::LEN..).and_then(<[u8]>::first_chunk).ok_or(TokenError::Malformed)?;
            Ok::<_, TokenError>(Token::from_bytes(at))
        };
        let end = match bytes.get(3 * Token::LEN..) {
            Some(&[end @ (0 | 1)]) => end as usize,
            _ => return Err(TokenError::Malformed),
        };
        Ok(Self {
            lanes: Handle::from_token(&token(0)?)?,
            queues: [Handle::from_token(&token(1)?)?, Handle::from_token(&token(2)?)?],
            end,
        })
    }

    /// How many bytes of long messages this end has sent that were not received yet.
    pub fn on_their_way(&self) -> u64 {
        self.lanes.0[self.end].on_their_way()
    }

    fn outward(&self) -> (&Lane, &Handle<Queue>) {
        (&self.lanes.0[self.end], &self.queues[self.end])
    }

    fn inward(&self) -> (&Lane, &Handle<Queue>) {
        (&self.lanes.0[1 - self.end], &self.queues[1 - self.end])
    }
}

/// Why a message was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The other end is gone.
    Closed,
    /// The wait ended first; nothing was sent.
    Stopped(Stopped),
    /// There is no memory for it.
    Exhausted(Exhausted),
    /// The system refused.
    Io(io::Error),
}

/// Why no message was received.
#[derive(Debug)]
pub enum ReceiveError {
    /// The other end is gone, and all it sent was received.
    End,
    /// The wait ended first.
    Stopped(Stopped),
    /// The message stands in the arena, and this end was given no channel.
    NoChannel,
    /// This packet is no message of a pipe, or what it announced is not there.
    Foreign,
    /// The system refused.
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

impl From<WatchError> for ReceiveError {
    fn from(e: WatchError) -> Self {
        match e {
            WatchError::Stopped(stopped) => Self::Stopped(stopped),
            WatchError::Io(e) => Self::Io(e),
        }
    }
}

/// How many packets were sent when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted(u64);

/// A message that was received.
#[derive(Debug)]
pub enum Received {
    /// Its tag; its bytes stand behind [`PACKET_HEADER`] in the buffer.
    Inline(u8),
    /// It came through the arena; a short body stands in the buffer.
    Announced(Taken<Block>),
}

/// One end of a pipe while something is done with it: a packet socket, and its end of the channel if it is known.
#[derive(Clone, Copy, Debug)]
pub struct PipeEnd<'a> {
    /// The socket.
    pub fd: RawFd,
    /// Without it, only short messages pass.
    pub channel: Option<&'a Channel>,
}

impl PipeEnd<'_> {
    /// Sends a message of at most [`IN_PACKET`] bytes.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&self, tag: u8, bytes: &[u8], patience: &Patience<'_>) -> Result<(), SendError> {
        debug_assert!(bytes.len() <= IN_PACKET);
        self.send_packet(&[INLINE, tag], bytes, patience)
    }

    fn send_packet(&self, first: &[u8], second: &[u8], patience: &Patience<'_>) -> Result<(), SendError> {
        loop {
            match socket::send(self.fd, first, second) {
                Ok(_) => {
                    if let Some(channel) = self.channel {
                        channel.outward().0.posted.fetch_add(1, Ordering::Release);
                    }
                    return Ok(());
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => sleep_on(&mut [Watch::writable(self.fd)], patience)?,
                    // Told once when the other end went with messages unread; the next try says `BrokenPipe`.
                    io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::BrokenPipe => return Err(SendError::Closed),
                    _ => return Err(SendError::Io(e)),
                },
            }
        }
    }

    /// Sends a message of `len` bytes through the arena. Waits while too much is on its way.
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
            // Nobody will ever receive anything from here.
            queue.clear::<ArenaStore>();
        }
        result
    }

    /// Under the lock of those who send.
    fn put_and_announce(
        &self,
        lane: &Lane,
        queue: &Handle<Queue>,
        parcel: Parcel<'_, ArenaStore>,
        len: u64,
        patience: &Patience<'_>,
    ) -> Result<(), SendError> {
        lane.wait_for_room(self.fd, len, patience)?;
        let number = queue.statistics().put;
        queue.put(place_of(queue), parcel, &patience.at_least_a_second()).map_err(|e| match e {
            PutError::Exhausted(_, e) => SendError::Exhausted(e),
            PutError::Interrupted(_) => SendError::Stopped(Stopped::Interrupted),
            PutError::Full(_) | PutError::ShutDown(_) => SendError::Stopped(Stopped::TimedOut),
        })?;
        crash_point("pipe.send.put");
        let sum = lane.sent.load(Ordering::Relaxed).max(lane.received.load(Ordering::Relaxed)) + len;
        self.send_packet(&announcement(number, sum), &[], patience)?;
        crash_point("pipe.send.announced");
        lane.sent.store(sum, Ordering::Release);
        Ok(())
    }

    /// What [`receive`](Self::receive) is told, so that it knows what came since: to be asked for before
    /// [`try_receive`](Self::try_receive).
    pub fn posted(&self) -> Posted {
        Posted(self.channel.map_or(0, |channel| channel.inward().0.posted.load(Ordering::Acquire)))
    }

    /// Receives a message that is there already, as far as that is known without asking the kernel. `buffer` is emptied
    /// and used for its packet.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn try_receive(&self, buffer: &mut Vec<u8>) -> Result<Option<Received>, ReceiveError> {
        if let Some(channel) = self.channel {
            let lane = channel.inward().0;
            if lane.posted.load(Ordering::Acquire) == lane.fetched.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        self.look(buffer, &Patience::instant())
    }

    /// Waits for a message, for a caller that found none by [`try_receive`](Self::try_receive).
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
            if !(self.channel.is_some() && spin_until(|| self.posted() != seen)) {
                sleep_on(&mut [Watch::readable(self.fd)], patience)?;
            }
            seen = self.posted();
            if let Some(received) = self.look(buffer, patience)? {
                return Ok(received);
            }
        }
    }

    /// None: nothing is there, or somebody else is taking it just now.
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
        loop {
            match socket::receive(self.fd, buffer, PACKET_HEADER + IN_PACKET) {
                // Every message has a header.
                Ok(0) => return Err(ReceiveError::End),
                Ok(_) => break fetched(&|count| count + 1),
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => {
                        fetched(&|_| posted.0);
                        return Ok(None);
                    }
                    // Told once when the other end went with messages unread; what it sent is still there.
                    io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                    _ => return Err(ReceiveError::Io(e)),
                },
            }
        }
        crash_point("pipe.receive.packet");
        match *buffer.as_slice() {
            [INLINE, tag, ..] => Ok(Some(Received::Inline(tag))),
            [ANNOUNCED, ..] if buffer.len() == ANNOUNCEMENT => {
                let channel = self.channel.ok_or(ReceiveError::NoChannel)?;
                let (number, sum) = announced(buffer);
                channel.take(number, sum, buffer).map(Some)
            }
            _ => Err(ReceiveError::Foreign),
        }
    }
}

impl Channel {
    /// Under the lock of those who receive: takes entry `number` out of the queue, and drops those before it.
    fn take(&self, number: u32, sum: u64, buffer: &mut Vec<u8>) -> Result<Received, ReceiveError> {
        let (lane, queue) = self.inward();
        loop {
            let before = number.wrapping_sub(queue.statistics().got);
            buffer.clear();
            if before > u32::MAX / 2 {
                return Err(ReceiveError::Foreign);
            }
            let Ok(taken) = queue.get::<ArenaStore>(buffer, &Patience::none()) else {
                return Err(ReceiveError::Foreign);
            };
            if before == 0 {
                crash_point("pipe.receive.taken");
                lane.received.store(sum, Ordering::Release);
                lane.taken.notify_one(Processes::SCOPE);
                return Ok(Received::Announced(taken));
            }
        }
    }
}

impl Lane {
    fn on_their_way(&self) -> u64 {
        self.sent.load(Ordering::Acquire).saturating_sub(self.received.load(Ordering::Acquire))
    }

    /// Under the lock of those who send: waits until `len` more bytes may be on their way.
    fn wait_for_room(&self, fd: RawFd, len: u64, patience: &Patience<'_>) -> Result<(), SendError> {
        let room = || {
            let there = self.on_their_way();
            (there == 0 || there.saturating_add(len) <= ON_THEIR_WAY).then_some(Ok(()))
        };
        if let Some(r) = room() {
            return r;
        }
        let each_nap = || {
            let mut other = [Watch::gone(fd)];
            match socket::poll(&mut other, core::time::Duration::ZERO) {
                Ok(_) if other[0].is_ready() => Some(Err(SendError::Closed)),
                _ => match socket::unreceived(fd) {
                    Ok(0) => Some(Ok(())),
                    Ok(_) => None,
                    Err(e) => Some(Err(SendError::Io(e))),
                },
            }
        };
        self.taken.wait_for(patience, Processes::SCOPE, room, each_nap).unwrap_or_else(|e| Err(SendError::Stopped(e)))
    }
}

fn announcement(number: u32, sum: u64) -> [u8; ANNOUNCEMENT] {
    let mut packet = [0; ANNOUNCEMENT];
    packet[0] = ANNOUNCED;
    packet[4..8].copy_from_slice(&number.to_ne_bytes());
    packet[8..].copy_from_slice(&sum.to_ne_bytes());
    packet
}

fn announced(packet: &[u8]) -> (u32, u64) {
    let number = core::array::from_fn(|i| packet[4 + i]);
    let sum = core::array::from_fn(|i| packet[8 + i]);
    (u32::from_ne_bytes(number), u64::from_ne_bytes(sum))
}

/// One of a lane's locks, held. They are held for moments, except by a sender that waits for room.
struct Held<'a>(&'a Lock);

impl<'a> Held<'a> {
    fn take(lock: &'a Lock, patience: &Patience<'_>) -> Result<Self, Stopped> {
        if lock.try_acquire_now::<Processes>() {
            return Ok(Self(lock));
        }
        if patience.is_instant() {
            return Err(Stopped::TimedOut);
        }
        match lock.acquire::<Processes>(patience) {
            // What a dead holder left is whole: see above, "Order".
            Ok(_) => Ok(Self(lock)),
            Err(LockError::Stopped(stopped)) => Err(stopped),
            Err(LockError::OwnerDied(_)) => unreachable!("the lock recovers"),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let released = self.0.release::<Processes>();
        debug_assert!(released.is_ok());
    }
}
