//! Threads that have waited for a lock for long.

use core::mem::offset_of;
use std::fs::File;
use std::io;

use super::file;
use super::processes::{Processes, Thread};
use crate::arena::layout::header::Header;
use crate::arena::layout::wait_rows::{PAGES, Page, ROWS, Row, Waiters};
use crate::arena::waiters::TEXT;
use crate::atomics::Ordering;
use crate::deadlock::{ON_HEAP, REENTRANT, SCOPED, Text};
use crate::sys::owner::Owner;

/// A thread that has waited for a lock for long (a second, unless its program set another threshold).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Unique in the session: the same number means the same wait.
    pub number: u64,
    /// The thread.
    pub thread: Thread,
    /// When the wait began, in nanoseconds on `CLOCK_MONOTONIC`.
    pub since: u64,
    /// The thread that holds the lock, when the waiting thread last looked.
    pub holder: Option<Thread>,
    /// When it last looked; 0 for never.
    pub looked: u64,
    /// Whether the holder releases the lock at the end of a scope.
    pub scoped: bool,
    /// Whether only the holder may release the lock.
    pub reentrant: bool,
    /// Whether the lock is between the threads of one process, and not in the arena.
    pub private: bool,
    /// The thread's number in its process's memory.
    number_in_process: u32,
    /// What the thread said of itself, which it does once it suspects a deadlock: its name, the lock's name, and where
    /// it is.
    pub text: Option<Text>,
}

/// Reads the table of waiters.
pub(super) fn read(file: &File, processes: &Processes) -> io::Result<Vec<Wait>> {
    let table = offset_of!(Header, waiters);
    let used = file::copy(file, (table + offset_of!(Waiters, used)) as u64, size_of::<u64>())?.word(0);
    let used = usize::try_from(used).map_or(ROWS, |used| used.min(ROWS));
    let rows = table + offset_of!(Waiters, rows);
    let mut waits = Vec::new();
    for index in 0..used {
        let at = (rows + index * size_of::<Row>()) as u64;
        if let Some(wait) = wait(file, at, processes)? {
            waits.push(wait);
        }
    }
    Ok(waits)
}

/// The wait in the row at `at`, if there is one, and it is not over.
fn wait(file: &File, at: u64, processes: &Processes) -> io::Result<Option<Wait>> {
    let copy = file::steady_copy(file, at, size_of::<Row>())?;
    let Some(row) = copy.view::<Row>(0) else { return Ok(None) };
    let number = row.number.load(Ordering::Relaxed);
    let owner = Owner::from_bits(row.owner.load(Ordering::Relaxed));
    if number == 0 || owner.is_none() {
        return Ok(None);
    }
    let text = text(file, row.text.load(Ordering::Relaxed))?;
    // The text belongs to this wait if the wait is not over after it was read.
    let still = file::copy(file, at + offset_of!(Row, number) as u64, size_of::<u64>())?.word(0);
    if still != number {
        return Ok(None);
    }
    let flags = row.flags.load(Ordering::Relaxed);
    let (private, holder) = (flags & ON_HEAP != 0, row.holder.load(Ordering::Relaxed));
    let named = Owner::from_bits(holder);
    let thread = processes.thread(owner);
    // A lock on the heap names a thread by the number that it has there, which is the kernel's except after a fork.
    let holder_thread = match private {
        true => Thread { tid: named.thread(), ..thread },
        false => processes.thread(named),
    };
    Ok(Some(Wait {
        number,
        thread,
        since: row.since.load(Ordering::Relaxed),
        holder: (!named.is_none()).then_some(holder_thread),
        looked: row.looked.load(Ordering::Relaxed),
        scoped: holder & SCOPED != 0,
        reentrant: flags & REENTRANT != 0,
        private,
        number_in_process: row.thread.load(Ordering::Relaxed),
        text,
    }))
}

/// The text in the page with this number, which is counted from 1.
fn text(file: &File, number: u64) -> io::Result<Option<Text>> {
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let Some(index) = index.filter(|&index| index < PAGES) else { return Ok(None) };
    let at = offset_of!(Header, waiters) + offset_of!(Waiters, pages) + index * size_of::<Page>();
    let copy = file::copy(file, at as u64, size_of::<Page>())?;
    let len = (copy.word(offset_of!(Page, len)) as usize).min(TEXT);
    let words = (0..TEXT / size_of::<u64>()).map(|i| copy.word(offset_of!(Page, words) + i * size_of::<u64>()));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
    bytes.truncate(len);
    Ok(Some(Text::from_bytes(&bytes)))
}

impl Wait {
    /// Whether the thread of `other` holds the lock that this one waits for.
    pub fn is_for(&self, other: &Self) -> bool {
        let Some(holder) = self.holder else { return false };
        if self.private {
            return self.thread.process == other.thread.process && holder.tid == other.number_in_process;
        }
        (holder.process, holder.tid) == (other.thread.process, other.thread.tid)
    }
}
