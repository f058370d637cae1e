//! The objects of a session, as plain values.

use std::fs::File;
use std::io;

use super::file::{self, Copy, Viewed};
use super::processes::{Processes, Thread};
use super::walk::{Budget, Group, Site};
use crate::arena::Body;
use crate::arena::layout::object_header::{HEADER, ObjectHeader, Status};
use crate::arena::layout::page_map::PAGE;
use crate::atomics::Ordering;
use crate::queue;
use crate::shared::{Bytes, Lanes};
use crate::stats::{BarrierStatistics, QueueStatistics};
use crate::sync::{Barrier, Condition, Event, OwnedPermits, ReentrantLock, RwLock, Semaphore};
use crate::sys::owner::Owner;
use crate::wait::EventCount;

/// No body is longer.
const LONGEST: usize = 2 * PAGE as usize;
/// The most objects that a snapshot lists.
const MOST: usize = 1 << 18;

/// A primitive in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is: a segment and a byte, as in the `Debug` form of [`Off`](crate::arena::Off).
    pub place: u64,
    /// Unique in the session: the same number means the same object.
    pub generation: u32,
    /// The [`id`](super::Process::id)s of the processes that keep it alive; those beyond the first five are left out.
    pub holders: Vec<u32>,
    /// The number of messages that name it.
    pub names: u32,
    /// What it is, and its state.
    pub content: Content,
}

/// What an object is, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A lock, re-entrant or not.
    Lock(Lock),
    /// A semaphore.
    Semaphore {
        /// The number of free permits.
        value: u32,
        /// The highest number of permits.
        limit: u32,
        /// The number of threads that wait for a permit.
        waiting: u32,
        /// Those who hold permits, if permits have owners.
        owners: Vec<Thread>,
    },
    /// An event.
    Event {
        /// Whether it is set.
        set: bool,
        /// The number of threads that wait for it.
        waiting: u32,
    },
    /// A condition.
    Condition {
        /// The threads that wait.
        waiting: Vec<Thread>,
        /// The number of notifications sent.
        notified: u32,
    },
    /// A barrier.
    Barrier(BarrierStatistics),
    /// A lock for readers and writers.
    RwLock {
        /// The writer.
        writer: Option<Thread>,
        /// Whether a writer died with it.
        broken: bool,
        /// The readers.
        readers: Vec<Thread>,
        /// The number of threads that wait.
        waiting: u32,
    },
    /// A queue.
    Queue(Queue),
    /// What both ends of a pipe share.
    Pipe,
    /// Shared bytes.
    Bytes {
        /// Their number.
        len: u64,
    },
    /// A word to wait on, of a pool.
    EventCount {
        /// The number of threads that wait.
        waiting: u32,
    },
}

/// The state of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The holder, alive or dead.
    pub holder: Option<Thread>,
    /// How often the holder acquired it, if it is re-entrant.
    pub depth: Option<u32>,
    /// Whether the holder releases it at the end of a scope.
    pub scoped: bool,
    /// Whether its holder died with it, and it is not repaired.
    pub broken: bool,
    /// The number of threads that wait for it. Those that were killed while asleep stay counted.
    pub waiting: u32,
    /// The number of acquisitions that found it held.
    pub contended: u32,
}

/// The state of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its counters.
    pub counters: QueueStatistics,
    /// Whether it counts unfinished messages.
    pub joinable: bool,
    /// The processes that have received messages and not finished them, and how many.
    pub consumers: Vec<(Thread, u32)>,
    /// The number of threads that wait until all messages are finished.
    pub joiners: u32,
}

/// The objects found so far, and the bytes of those that are not listed.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) listed: Vec<Object>,
    /// Bytes of messages and of the chunks that queues keep them in.
    pub(super) message_bytes: u64,
}

impl Objects {
    /// Adds the objects of a run.
    pub(super) fn add(
        &mut self,
        file: &File,
        processes: &Processes,
        group: Group,
        budget: &mut Budget,
    ) -> io::Result<()> {
        // A page of small objects is read once; those in it that are listed are read again by themselves.
        let page = match &group {
            Group::Small { page, .. } => Some((page.at, file::copy(file, page.at, PAGE as usize)?)),
            Group::One(_) => None,
        };
        for site in group.sites() {
            let header = match &page {
                Some((at, page)) => header(page, (site.at - at) as usize),
                None => header(&file::copy(file, site.at, HEADER as usize)?, 0),
            };
            let Some(header) = header else { continue };
            if header.status != Status::Live {
                continue;
            }
            if !is_listed(header.kind) {
                self.message_bytes = self.message_bytes.saturating_add(header.len.min(site.room));
                continue;
            }
            match object(file, processes, site)? {
                Some(_) if self.listed.len() >= MOST => budget.miss(),
                Some(object) => self.listed.push(object),
                None => budget.miss(),
            }
        }
        Ok(())
    }
}

struct Header {
    status: Status,
    kind: u32,
    generation: u32,
    len: u64,
    holders: Vec<u32>,
    names: u32,
}

fn header(copy: &Copy, at: usize) -> Option<Header> {
    let header = copy.view::<ObjectHeader>(at)?;
    let state = header.state();
    let first = header.holders.first.iter().map(|holder| holder.load(Ordering::Relaxed));
    Some(Header {
        status: state.status(),
        kind: state.kind(),
        generation: state.generation(),
        len: header.len(),
        holders: first.filter(|&holder| holder != 0).collect(),
        names: header.holders.name_count(),
    })
}

/// Kinds below 16 are the arena's own: messages, and parts of other objects.
fn is_listed(kind: u32) -> bool {
    kind >= 16
}

/// The object there, if there still is one that can be read.
fn object(file: &File, processes: &Processes, site: Site) -> io::Result<Option<Object>> {
    let copy = file::steady_copy(file, site.at, (site.room as usize).min(LONGEST))?;
    let Some(header) = header(&copy, 0).filter(|header| header.status == Status::Live) else { return Ok(None) };
    if header.len > site.room - HEADER {
        return Ok(None);
    }
    let body = Bodies { copy: &copy, len: header.len, processes };
    Ok(body.content(header.kind).map(|content| Object {
        place: site.off,
        generation: header.generation,
        holders: header.holders,
        names: header.names,
        content,
    }))
}

/// A copied object whose kind is known from its header alone.
struct Bodies<'a> {
    copy: &'a Copy,
    len: u64,
    processes: &'a Processes,
}

impl Bodies<'_> {
    fn view<B: Viewed>(&self) -> Option<&B> {
        if (size_of::<B>() as u64) > self.len {
            return None;
        }
        self.copy.view::<B>(HEADER as usize)
    }

    fn thread(&self, owner: Owner) -> Thread {
        self.processes.thread(owner)
    }

    fn threads(&self, owners: impl Iterator<Item = Owner>) -> Vec<Thread> {
        owners.map(|owner| self.thread(owner)).collect()
    }

    fn content(&self, kind: u32) -> Option<Content> {
        const LOCK: u32 = crate::sync::Lock::KIND;
        Some(match kind {
            LOCK => Content::Lock(self.lock(self.view()?, None)),
            ReentrantLock::KIND => {
                let lock = self.view::<ReentrantLock>()?;
                Content::Lock(self.lock(lock.lock(), Some(lock.held())))
            }
            Semaphore::KIND => {
                let seen = self.view::<Semaphore>()?.statistics();
                let (value, limit, waiting) = (seen.value, seen.limit, seen.waiting);
                Content::Semaphore { value, limit, waiting, owners: Vec::new() }
            }
            OwnedPermits::KIND => {
                let permits = self.view::<OwnedPermits>()?;
                let (seen, owners) = (permits.statistics(), self.threads(permits.owners()));
                Content::Semaphore { value: seen.value, limit: seen.limit, waiting: seen.waiting, owners }
            }
            Event::KIND => {
                let seen = self.view::<Event>()?.statistics();
                Content::Event { set: seen.is_set, waiting: seen.waiting }
            }
            Condition::<crate::sync::Fixed>::KIND => {
                let condition = self.view::<Condition>()?;
                let waiting = self.threads(condition.waiters());
                Content::Condition { waiting, notified: condition.statistics().notified }
            }
            Barrier::KIND => Content::Barrier(self.view::<Barrier>()?.statistics()),
            queue::Queue::KIND => Content::Queue(self.queue(self.view()?)),
            RwLock::<crate::sync::Noted>::KIND => {
                let lock = self.view::<RwLock>()?;
                let seen = lock.statistics();
                Content::RwLock {
                    writer: seen.writer.map(|writer| self.thread(writer)),
                    broken: seen.broken,
                    readers: self.threads(lock.noted_readers()),
                    waiting: seen.waiting,
                }
            }
            Bytes::KIND => Content::Bytes { len: self.len },
            Lanes::KIND => Content::Pipe,
            EventCount::KIND => Content::EventCount { waiting: self.view::<EventCount>()?.sleepers() },
            _ => return None,
        })
    }

    fn lock(&self, lock: &crate::sync::Lock, depth: Option<u32>) -> Lock {
        let seen = lock.statistics();
        Lock {
            holder: seen.owner.map(|owner| self.thread(owner)),
            depth,
            scoped: lock.held().is_some_and(|held| held.scoped),
            broken: seen.broken,
            waiting: seen.waiting,
            contended: seen.contended,
        }
    }

    fn queue(&self, queue: &queue::Queue) -> Queue {
        Queue {
            counters: queue.counters(),
            joinable: queue.is_joinable(),
            consumers: queue.consumers().map(|loss| (self.thread(loss.consumer), loss.unfinished)).collect(),
            joiners: queue.finished().sleepers(),
        }
    }
}
