//! A session as it is at the moment.

use core::mem::offset_of;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::WatchError;
use super::file::{self, Copy};
use super::objects::{Object, Objects};
use super::processes::{self, Process};
use super::waits::{self, Wait};
use super::walk::{self, Budget, Segment};
use crate::arena::layout::header::{Counts, HEADER_LEN, Header, LAYOUT, MAGIC, SEGMENTS, SegmentEntry};
use crate::arena::layout::page_map::PAGE;
use crate::damage::{Damage, Mark};
use crate::sys::{clock, process};

/// The file of a session, opened for reading.
#[derive(Debug)]
pub struct Arena {
    file: File,
}

/// A session as it was at an instant; see the module about how exact that is.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken, in nanoseconds on `CLOCK_MONOTONIC`.
    pub taken: u64,
    /// A random number that identifies the session.
    pub session: u64,
    /// Whether its process IDs mean the same to the reader. Otherwise all its processes count as alive.
    pub same_namespace: bool,
    /// The damage with which it is marked.
    pub damage: Option<Damage>,
    /// The use of its memory.
    pub memory: Memory,
    /// Its processes.
    pub processes: Vec<Process>,
    /// Its primitives.
    pub objects: Vec<Object>,
    /// Its threads that have waited for a lock for long.
    pub waits: Vec<Wait>,
    /// The number of places that could not be read: they were being changed, are damaged, or are too many.
    pub unread: u32,
}

/// The use of a session's memory, in bytes unless noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the system has given to the file.
    pub resident: u64,
    /// Allocated to objects.
    pub allocated: u64,
    /// Free, and kept for reuse.
    pub kept: u64,
    /// In messages, and in the chunks of queues.
    pub messages: u64,
    /// The limit set by the program; 0 for none.
    pub limit: u64,
    /// The number of objects, messages included.
    pub objects: u64,
}

/// The words of a header before the segment table.
struct Beginning(Copy);

impl Beginning {
    fn read(file: &File) -> Result<Self, WatchError> {
        let copy = match file::copy(file, 0, offset_of!(Header, doorbells)) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(WatchError::NotAnArena),
            copy => copy?,
        };
        let beginning = Self(copy);
        if beginning.word(offset_of!(Header, magic)) != MAGIC {
            return Err(WatchError::NotAnArena);
        }
        match beginning.half(offset_of!(Header, layout)) {
            LAYOUT => Ok(beginning),
            found => Err(WatchError::OtherVersion { found, expected: LAYOUT }),
        }
    }

    fn word(&self, at: usize) -> u64 {
        self.0.word(at)
    }

    /// The 32-bit word at `at`.
    fn half(&self, at: usize) -> u32 {
        let bytes = self.word(at & !7).to_ne_bytes();
        let from = at % size_of::<u64>();
        u32::from_ne_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]])
    }

    fn count(&self, at: usize) -> u64 {
        self.word(offset_of!(Header, counts) + at)
    }
}

impl Arena {
    /// The session whose memory the file is.
    ///
    /// # Errors
    /// If it is not one, is one of another version, or cannot be read.
    pub fn new(file: File) -> Result<Self, WatchError> {
        Beginning::read(&file)?;
        Ok(Self { file })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// If the file cannot be read, or is not an arena any more. Damage inside it is no error.
    pub fn snapshot(&self) -> Result<Snapshot, WatchError> {
        let taken = clock::now();
        let beginning = Beginning::read(&self.file)?;
        let namespace = beginning.word(offset_of!(Header, namespace));
        let same_namespace = namespace == 0 || process::namespace().is_none_or(|mine| mine == namespace);
        let processes = processes::read(&self.file, same_namespace)?;
        let mut budget = Budget::new();
        let mut objects = Objects::default();
        for segment in self.segments(&beginning, &mut budget)? {
            let mut add = |group, budget: &mut Budget| objects.add(&self.file, &processes, group, budget);
            if walk::walk(&self.file, segment, &mut budget, &mut add).is_err() {
                budget.miss();
            }
        }
        let waits = waits::read(&self.file, &processes)?;
        let mark = beginning.0.view::<Mark>(offset_of!(Header, damage));
        Ok(Snapshot {
            taken,
            session: beginning.word(offset_of!(Header, session)),
            same_namespace,
            damage: mark.and_then(Mark::read),
            memory: Memory {
                resident: self.file.metadata()?.blocks().saturating_mul(512),
                allocated: bytes(beginning.count(offset_of!(Counts, allocated_pages))),
                kept: bytes(beginning.count(offset_of!(Counts, warm_pages))),
                messages: objects.message_bytes,
                limit: beginning.word(offset_of!(Header, limit)),
                objects: beginning.count(offset_of!(Counts, objects)),
            },
            processes: processes.all,
            objects: objects.listed,
            waits,
            unread: budget.unread,
        })
    }

    /// The segments that lie inside the file, one after the other.
    fn segments(&self, beginning: &Beginning, budget: &mut Budget) -> Result<Vec<Segment>, WatchError> {
        let count = (beginning.half(offset_of!(Header, segment_count)) as usize).min(SEGMENTS);
        let len = count * size_of::<SegmentEntry>();
        let table = file::steady_copy(&self.file, offset_of!(Header, segments) as u64, len)?;
        let length = self.file.metadata()?.len();
        let mut segments = Vec::new();
        let mut end = HEADER_LEN as u64;
        // The first is the header.
        for number in 1..count {
            let at = number * size_of::<SegmentEntry>();
            let offset = table.word(at + offset_of!(SegmentEntry, offset));
            let len = table.word(at + offset_of!(SegmentEntry, len));
            let inside = offset.checked_add(len).is_some_and(|end| end <= length);
            if offset != end || len == 0 || len % PAGE != 0 || !inside {
                budget.miss();
                break;
            }
            end = offset + len;
            segments.push(Segment { number: number as u64, offset, len });
        }
        Ok(segments)
    }
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE)
}
