//! The state shared by both ends of one direction: its locks, and the number of bytes in flight.

use std::os::fd::{AsFd, AsRawFd};

use super::backlog::Backlog;
use super::error::SendError;
use crate::atomics::{AtomicU64, Ordering};
use crate::damage;
use crate::shared::Processes;
use crate::sync::{Home, Lock, OnOwnerDeath};
use crate::sys::descriptor::KnownFd;
use crate::sys::socket::{self as sys, Watch};
use crate::wait::{EventCount, Patience, Stopped};

/// The maximum number of bytes in flight through the arena; a single message may exceed it.
const ON_THEIR_WAY: u64 = 8 << 20;

/// The words of both directions.
#[repr(C)]
#[derive(Debug)]
pub struct Lanes(pub(super) [Lane; 2]);

/// The words of one direction.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) sending: Lock,
    pub(super) receiving: Lock,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) taken: EventCount,
    pub(super) backlog: Backlog,
    /// The numbers of records sent and received: hints that avoid system calls. After a death they may be wrong for a
    /// while.
    pub(super) posted: AtomicU64,
    pub(super) fetched: AtomicU64,
    /// An announcement whose record was received but whose message was not taken yet: its number with [`OWED`], and its
    /// sum. Protected by the receivers' lock.
    pub(super) owed: AtomicU64,
    pub(super) owed_sum: AtomicU64,
}

/// Set if there is one.
pub(super) const OWED: u64 = 1 << 32;

impl Lanes {
    pub(super) fn new() -> Self {
        Self([(); 2].map(|()| Lane {
            sending: Lock::new(OnOwnerDeath::Recover),
            receiving: Lock::new(OnOwnerDeath::Recover),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            taken: EventCount::new(),
            backlog: Backlog::new(),
            posted: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            owed_sum: AtomicU64::new(0),
        }))
    }
}

impl Lane {
    pub(super) fn on_their_way(&self) -> u64 {
        self.sent.load(Ordering::Acquire).saturating_sub(self.received.load(Ordering::Acquire))
    }

    /// Whether `len` more bytes may be in flight.
    pub(super) fn has_room(&self, len: u64) -> bool {
        let there = self.on_their_way();
        there == 0 || there.saturating_add(len) <= ON_THEIR_WAY
    }

    /// The total of bytes sent once `len` more are. Requires the senders' lock.
    pub(super) fn sum_with(&self, len: u64) -> u64 {
        self.sent.load(Ordering::Relaxed).max(self.received.load(Ordering::Relaxed)).wrapping_add(len)
    }

    /// Waits until `len` more bytes may be in flight, or until the socket holds no unreceived data: then nothing is in
    /// flight, whatever the totals say.
    #[cold]
    pub(super) fn wait_for_room(&self, socket: &KnownFd, len: u64, patience: &Patience<'_>) -> Result<(), SendError> {
        let room = || self.has_room(len).then_some(Ok(()));
        let each_nap = || {
            let mut other = [Watch::gone(socket.as_raw_fd())];
            if !socket.is_ours() {
                return Some(Err(SendError::Io(socket.lost().into())));
            }
            match sys::poll(&mut other, core::time::Duration::ZERO) {
                Ok(_) if other[0].is_ready() => Some(Err(SendError::Closed)),
                _ => match sys::unreceived(socket.as_fd()) {
                    Ok(0) => Some(Ok(())),
                    Ok(_) => None,
                    Err(e) => Some(Err(SendError::Io(e))),
                },
            }
        };
        self.taken.wait_for(patience, Processes::SCOPE, room, each_nap).unwrap_or_else(|e| Err(SendError::Stopped(e)))
    }
}

/// One of a lane's locks, held. They are held only briefly.
pub(super) struct Held<'a>(&'a Lock);

impl<'a> Held<'a> {
    /// Acquires the lock if it is free.
    pub(super) fn try_take(lock: &'a Lock) -> Option<Self> {
        // A `Held` that is created in any case would release the lock of another holder when it is dropped.
        lock.try_acquire_now::<Processes>().then(|| Self(lock))
    }

    #[inline(always)]
    pub(super) fn take(lock: &'a Lock, patience: &Patience<'_>) -> Result<Self, Stopped> {
        if lock.try_acquire_now::<Processes>() { Ok(Self(lock)) } else { Self::take_slow(lock, patience) }
    }

    #[cold]
    fn take_slow(lock: &'a Lock, patience: &Patience<'_>) -> Result<Self, Stopped> {
        if damage::is_marked(Processes::SCOPE) {
            return Err(Stopped::Damaged);
        }
        if Processes::try_me().is_none() {
            return Err(Stopped::NoPart);
        }
        if patience.is_instant() {
            return Err(Stopped::TimedOut);
        }
        // A dead holder leaves consistent state: see "Order" in mod.rs.
        lock.acquire_inner::<Processes>(patience)?;
        Ok(Self(lock))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Damage may have released it in the meantime.
        let _ = self.0.release::<Processes>();
    }
}
