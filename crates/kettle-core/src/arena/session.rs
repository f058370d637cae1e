//! A session: a root process and everything that it started.

use core::fmt;
use core::sync::atomic::Ordering;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::arena::allocator::alloc::Allocator;
use crate::arena::allocator::check;
use crate::arena::error::{ArenaError, InQueues};
use crate::arena::fork;
use crate::arena::layout::header::{self, HEADER_LEN, Header};
use crate::arena::layout::page_map::PAGE;
use crate::arena::membership;
use crate::arena::objects::in_queues;
use crate::arena::participants;
use crate::arena::reclaim::{self, Reclaimed};
use crate::arena::relocate;
use crate::arena::reopen;
use crate::arena::segment;

/// The session that this process belongs to. A process belongs to at most one session during its life.
#[derive(Clone, Copy)]
pub struct Session {
    header: &'static Header,
}

impl Session {
    /// The session of this process; begins one if there is none.
    ///
    /// # Errors
    /// If the arena cannot be created.
    pub fn get() -> Result<Self, ArenaError> {
        Ok(Self { header: membership::header()? })
    }

    /// The session of this process, if it belongs to one.
    pub fn current() -> Option<Self> {
        segment::header_if_any().map(|header| Self { header })
    }

    /// Joins the session of the inherited [`descriptor`](Self::descriptor). Joining the same session again has no
    /// effect.
    ///
    /// # Errors
    /// If this is not an arena of this version, or if this process belongs to another session or PID namespace.
    pub fn attach(descriptor: OwnedFd) -> Result<Self, ArenaError> {
        Ok(Self { header: segment::attach(descriptor, fork::install_handlers)? })
    }

    /// The descriptor that another process needs in order to join. It is close-on-exec unless that is changed (in the
    /// new process, between fork and exec).
    ///
    /// # Errors
    /// If the program closed it and no other descriptor can be opened.
    pub fn descriptor(&self) -> Result<BorrowedFd<'static>, ArenaError> {
        Ok(reopen::file_or_else(self.header, relocate::to_new_file)?)
    }

    /// A random number that identifies the session.
    pub fn id(&self) -> u64 {
        self.header.session.load(Ordering::Relaxed)
    }

    /// Limits the memory of the whole session, in bytes; None leaves only the system's limits. Memory in use is not
    /// affected.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.header.limit.store(limit.map_or(0, |l| l.max(1)), Ordering::Relaxed);
    }

    /// How many bytes of freed memory are kept for reuse; memory beyond that is returned to the system at once.
    pub fn set_warm_limit(&self, bytes: u64) {
        self.header.warm_limit.store(bytes, Ordering::Relaxed);
    }

    /// Frees what processes that ended left behind, which also happens automatically before the arena grows, and
    /// returns the memory of everything that is free to the system.
    ///
    /// # Errors
    /// If a part of the arena cannot be mapped here.
    pub fn reclaim(&self) -> Result<Reclaimed, ArenaError> {
        let before = resident();
        participants::find_the_dead(self.header);
        let mut reclaimed = reclaim::reclaim(self.header)?;
        Allocator::lock(self.header)?.trim()?;
        reclaimed.given_back = before.saturating_sub(resident());
        Ok(reclaimed)
    }

    /// A snapshot of its counters.
    ///
    /// # Errors
    /// If this process cannot register.
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
            in_queues: in_queues::in_queues(&allocator)?,
            pinned: header.counts.pinned.load(Ordering::Relaxed),
            participants,
            limit: Some(header.limit.load(Ordering::Relaxed)).filter(|&l| l != 0),
        })
    }

    /// The fields of the header with offset and length in bytes, for tests that overwrite them.
    #[doc(hidden)]
    pub fn layout() -> Vec<(&'static str, usize, usize)> {
        header::layout()
    }

    /// Walks through everything and compares it with the counters, for tests.
    ///
    /// # Errors
    /// Any inconsistency.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        check::check(self.header)
    }
}

/// How much of the arena is backed by memory; 0 if unknown.
fn resident() -> u64 {
    segment::resident().unwrap_or(0)
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:016x})", self.id())
    }
}

/// Counters of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The length of the arena's file, which may be backed by memory only in part.
    pub file_bytes: u64,
    /// How much of it is backed by memory.
    pub resident_bytes: u64,
    /// The part of the file that is not for objects.
    pub header_bytes: u64,
    /// The number of segments for objects.
    pub segments: usize,
    /// Bytes of pages in use.
    pub allocated_bytes: u64,
    /// Bytes of free pages that are kept for reuse.
    pub warm_bytes: u64,
    /// Bytes of free pages that are not backed by memory.
    pub cold_bytes: u64,
    /// The number of objects.
    pub objects: u64,
    /// The content of all queues.
    pub in_queues: InQueues,
    /// The number of objects that live as long as the session, since their tokens were given away by other means than a
    /// message.
    pub pinned: u64,
    /// The number of live processes.
    pub participants: usize,
    /// The session's limit.
    pub limit: Option<u64>,
}
