//! A session: a root process and all that it started.

use core::fmt;
use core::sync::atomic::Ordering;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::alloc::Allocator;
use super::error::ArenaError;
use super::header::{self, HEADER_LEN, Header};
use super::pages::PAGE;
use super::participants;
use super::recover::{self, Reclaimed};
use super::reopen;
use super::segment;
use super::waiting::InQueues;

/// The session that this process belongs to. A process belongs to at most one, for as long as it lives.
#[derive(Clone, Copy)]
pub struct Session {
    header: &'static Header,
}

impl Session {
    /// The session of this process; begins one if there is none.
    ///
    /// # Errors
    /// When the arena cannot be made.
    pub fn get() -> Result<Self, ArenaError> {
        Ok(Self { header: segment::header()? })
    }

    /// The session of this process, if it belongs to one.
    pub fn current() -> Option<Self> {
        segment::header_if_any().map(|header| Self { header })
    }

    /// Joins the session whose [`descriptor`](Self::descriptor) was inherited. Again is all right.
    ///
    /// # Errors
    /// When this is no arena of this version, or this process belongs to another session or pid namespace.
    pub fn attach(descriptor: OwnedFd) -> Result<Self, ArenaError> {
        Ok(Self { header: segment::attach(descriptor)? })
    }

    /// The descriptor that another process needs in order to join. It is closed on exec unless that is changed (in
    /// the new process, between fork and exec).
    ///
    /// # Errors
    /// When the program closed it, and there is no way to another one.
    pub fn descriptor(&self) -> Result<BorrowedFd<'static>, ArenaError> {
        Ok(reopen::file_or_new(self.header)?)
    }

    /// A random number that tells it from other sessions.
    pub fn id(&self) -> u64 {
        self.header.session.load(Ordering::Relaxed)
    }

    /// Limits the memory of the whole session, in bytes; None: only what the system has. What is in use stays so.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.header.limit.store(limit.map_or(0, |l| l.max(1)), Ordering::Relaxed);
    }

    /// How many bytes of freed memory are kept to be used again, beyond which it is given back to the system at once.
    pub fn set_warm_limit(&self, bytes: u64) {
        self.header.warm_limit.store(bytes, Ordering::Relaxed);
    }

    /// Frees what processes that ended had left behind, which also happens by itself before the arena grows, and gives
    /// the memory of everything that is free back to the system.
    ///
    /// # Errors
    /// When a part of the arena cannot be mapped here.
    pub fn reclaim(&self) -> Result<Reclaimed, ArenaError> {
        let before = resident();
        participants::find_the_dead(self.header);
        let mut reclaimed = recover::reclaim(self.header)?;
        Allocator::lock(self.header)?.trim()?;
        reclaimed.given_back = before.saturating_sub(resident());
        Ok(reclaimed)
    }

    /// How it is.
    ///
    /// # Errors
    /// When this process cannot register.
    pub fn statistics(&self) -> Result<Statistics, ArenaError> {
        let header = self.header;
        let participants = participants::alive(header);
        let allocator = Allocator::lock(header)?;
        let segments = segment::count(header)?;
        let pages = |count: &crate::atomics::AtomicU64| count.load(Ordering::Relaxed).saturating_mul(PAGE);
        Ok(Statistics {
            file_bytes: segment::end(header)?,
            resident_bytes: resident(),
            header_bytes: HEADER_LEN as u64,
            segments: segments - 1,
            allocated_bytes: pages(&header.counts.allocated_pages),
            warm_bytes: pages(&header.counts.warm_pages),
            cold_bytes: pages(&header.counts.cold_pages),
            objects: header.counts.objects.load(Ordering::Relaxed),
            in_queues: allocator.in_queues()?,
            pinned: header.counts.pinned.load(Ordering::Relaxed),
            participants,
            limit: Some(header.limit.load(Ordering::Relaxed)).filter(|&l| l != 0),
        })
    }

    /// For tests that write over them: the fields of the header, with place and length in bytes.
    #[doc(hidden)]
    pub fn layout() -> Vec<(&'static str, usize, usize)> {
        header::layout()
    }

    /// Walks through everything and compares it with the books, for tests.
    ///
    /// # Errors
    /// What does not agree.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        super::check::check(self.header)
    }
}

/// How much of the arena has memory behind it; 0 if that cannot be told.
fn resident() -> u64 {
    segment::resident().unwrap_or(0)
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:016x})", self.id())
    }
}

/// How an arena is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The length of the arena's file; most of it may have no memory behind it.
    pub file_bytes: u64,
    /// How much of it has.
    pub resident_bytes: u64,
    /// The part of the file that is not for objects.
    pub header_bytes: u64,
    /// Segments for objects.
    pub segments: usize,
    /// Pages in use.
    pub allocated_bytes: u64,
    /// Free pages kept to be used again.
    pub warm_bytes: u64,
    /// Free pages without memory.
    pub cold_bytes: u64,
    /// How many objects there are.
    pub objects: u64,
    /// What waits in queues.
    pub in_queues: InQueues,
    /// How many of them live as long as the session, since their tokens were given away otherwise than in a message.
    pub pinned: u64,
    /// Processes that live.
    pub participants: usize,
    /// The session's limit.
    pub limit: Option<u64>,
}
