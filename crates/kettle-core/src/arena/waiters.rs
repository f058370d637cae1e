//! Threads that have waited for long, and for which holders: one row per thread, readable by all processes of the
//! session.
//!
//! ```text
//!   row:   [ owner: 0 ] ──enter──► [ owner, number: 0 ] ──filled──► [ owner, number ]
//!               ▲◄─────────────────── drop, found dead ───────────────────┘
//! ```
//!
//! Each wait has a number that is unique in the session. A reader reads it before and after: if it is the same, the
//! thread was in the same wait all the time in between.

use crate::arena::layout::participant::Participant;
use crate::arena::layout::wait_rows::{Page, ROWS, Row, TEXT_WORDS, Waiters};
use crate::arena::participants::this_process;
use crate::arena::{membership, participants, segment};
use crate::atomics::{AtomicU64, Ordering};
use crate::sys::{clock, futex, owner::Owner};

/// Set to ask for a look now. No word has an odd address.
const CALLED: u64 = 1;

/// The maximum length of a row's text.
pub const TEXT: usize = TEXT_WORDS * size_of::<u64>();

pub use super::layout::wait_rows::SCOPES;

/// What a thread discloses about itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// Human-readable text; only the first [`TEXT`] bytes are kept.
    pub text: &'a [u8],
    /// A number for the lock that it waits for, by which others may list that lock in their `scopes`; 0 for none.
    pub wants: u64,
    /// The numbers of the locks that no other thread can release while this one waits; only the first [`SCOPES`] are
    /// kept.
    pub scopes: &'a [u64],
}

/// A waiting thread, as read from its row.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    row: usize,
    number: u64,
    /// The thread's name in the arena.
    pub owner: Owner,
    /// The thread's name in its own process's memory.
    pub thread: u32,
    /// The flags that the thread set for its wait.
    pub flags: u32,
    /// When its wait began.
    pub since: u64,
    /// The holder of what it waits for, at some time after `looked`: the bits of an owner, whose flags belong to the
    /// caller.
    pub holder: u64,
    /// See `holder`.
    pub looked: u64,
    has_text: bool,
}

/// This thread's row. Dropping it frees the row.
#[derive(Debug)]
pub struct Entry {
    row: &'static Row,
    index: usize,
    number: u64,
}

fn table() -> Option<&'static Waiters> {
    segment::header_if_any().map(|header| &header.waiters)
}

/// Claims the word for `me` if it is free or its owner is dead; returns whether it did.
fn claim(word: &AtomicU64, me: Owner) -> bool {
    let owner = word.load(Ordering::Relaxed);
    (owner == 0 || participants::is_dead(Owner::from_bits(owner)))
        && word.compare_exchange(owner, me.to_bits(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

impl Entry {
    /// Records that this thread has been waiting since `since`. `sleeps_on`: the address of the word on which it
    /// sleeps, if that is on its heap. None if there is no session, or no free row.
    pub fn new(thread: u32, flags: u32, since: u64, sleeps_on: Option<usize>) -> Option<Self> {
        let me = membership::try_me().ok()?;
        let table = table()?;
        let (index, row) = table.rows.iter().enumerate().find(|(_, row)| claim(&row.owner, me))?;
        row.number.store(0, Ordering::SeqCst);
        row.thread.store(thread, Ordering::Relaxed);
        row.flags.store(flags, Ordering::Relaxed);
        row.since.store(since, Ordering::Relaxed);
        row.holder.store(0, Ordering::Relaxed);
        row.looked.store(0, Ordering::Relaxed);
        row.text.store(0, Ordering::Relaxed);
        row.sleeps_on.store(sleeps_on.unwrap_or(0) as u64, Ordering::Relaxed);
        let number = table.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        row.number.store(number, Ordering::SeqCst);
        table.used.fetch_max(index as u64 + 1, Ordering::SeqCst);
        Some(Self { row, index, number })
    }

    /// Looks up the holder of what it waits for, and records it.
    pub fn look(&self, holder: impl FnOnce() -> u64) {
        self.row.sleeps_on.fetch_and(!CALLED, Ordering::SeqCst);
        let now = clock::now();
        self.row.holder.store(holder(), Ordering::SeqCst);
        // Release: a reader that sees this time sees that holder, or a later one.
        self.row.looked.store(now, Ordering::SeqCst);
    }

    /// Whether another thread asked for a look.
    pub fn is_called(&self) -> bool {
        self.row.sleeps_on.load(Ordering::SeqCst) & CALLED != 0
    }

    /// Stores the text and scopes. False if there is no room.
    pub fn tell(&self, said: &Said<'_>) -> bool {
        let me = Owner::from_bits(self.row.owner.load(Ordering::Relaxed));
        let Some(table) = table() else { return false };
        let Some(index) = table.pages.iter().position(|page| claim(&page.owner, me)) else { return false };
        let page = &table.pages[index];
        let text = &said.text[..said.text.len().min(TEXT)];
        for (word, bytes) in page.words.iter().zip(text.chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        page.len.store(text.len() as u64, Ordering::Relaxed);
        page.wants.store(said.wants, Ordering::Relaxed);
        for (i, scope) in page.scopes.iter().enumerate() {
            scope.store(said.scopes.get(i).copied().unwrap_or(0), Ordering::Relaxed);
        }
        self.row.text.store(index as u64 + 1, Ordering::Release);
        true
    }

    /// The row as other threads see it.
    pub fn read(&self) -> Option<Waiting> {
        read(self.index).filter(|seen| seen.number == self.number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.row.number.store(0, Ordering::SeqCst);
        let text = self.row.text.swap(0, Ordering::SeqCst) as usize;
        if let Some(page) = text.checked_sub(1).and_then(|i| table()?.pages.get(i)) {
            page.owner.store(0, Ordering::Release);
        }
        self.row.owner.store(0, Ordering::Release);
    }
}

impl Waiting {
    /// The process of the thread.
    pub fn participant(&self) -> Participant {
        Participant::of(self.owner)
    }

    /// Whether it is the same wait.
    pub fn is(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// A number that is unique in the session; later waits have greater numbers.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether it has stored a text.
    pub fn has_text(&self) -> bool {
        self.has_text
    }

    /// The same wait as it is now; None if it is over.
    pub fn again(&self) -> Option<Self> {
        read(self.row).filter(|now| now.number == self.number && now.owner == self.owner)
    }

    /// The page with its text.
    fn page(&self) -> Option<&'static Page> {
        let table = table()?;
        let index = table.rows[self.row].text.load(Ordering::Acquire) as usize;
        table.pages.get(index.checked_sub(1)?)
    }

    /// The number of the lock that it waits for, if it gave one and the wait is not over.
    pub fn wants(&self) -> Option<u64> {
        let wants = self.page()?.wants.load(Ordering::Relaxed);
        self.again().and((wants != 0).then_some(wants))
    }

    /// Whether it listed a scope of the lock with that number, and the wait is not over.
    pub fn is_in_scope_of(&self, lock: u64) -> bool {
        let is_in = |page: &Page| page.scopes.iter().any(|scope| scope.load(Ordering::Relaxed) == lock);
        self.page().is_some_and(is_in) && self.again().is_some()
    }

    /// The text that it stored, if the wait is not over.
    pub fn text(&self) -> Option<Vec<u8>> {
        let page = self.page()?;
        let len = (page.len.load(Ordering::Relaxed) as usize).min(TEXT);
        let mut text: Vec<u8> = page.words.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes()).collect();
        text.truncate(len);
        self.again().map(|_| text)
    }
}

fn read(index: usize) -> Option<Waiting> {
    read_if(index, |_| true)
}

/// The content of the row, if it satisfies `is`. Whether its process is alive is checked last, since that is the most
/// expensive part.
fn read_if(index: usize, is: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
    let row = &table()?.rows[index];
    let number = row.number.load(Ordering::SeqCst);
    let owner = Owner::from_bits(row.owner.load(Ordering::SeqCst));
    // The time before the holder: the holder read after it is at least as new.
    let looked = row.looked.load(Ordering::SeqCst);
    let seen = Waiting {
        row: index,
        number,
        owner,
        thread: row.thread.load(Ordering::Relaxed),
        flags: row.flags.load(Ordering::Relaxed),
        since: row.since.load(Ordering::Relaxed),
        holder: row.holder.load(Ordering::SeqCst),
        looked,
        has_text: row.text.load(Ordering::SeqCst) != 0,
    };
    let is_whole = number != 0 && row.number.load(Ordering::SeqCst) == number;
    (is_whole && is(&seen) && !participants::is_dead(owner)).then_some(seen)
}

/// All waits that satisfy `is`.
pub fn those(is: impl Fn(&Waiting) -> bool) -> impl Iterator<Item = Waiting> {
    let used = table().map_or(0, |table| (table.used.load(Ordering::SeqCst) as usize).min(ROWS));
    (0..used).filter_map(move |index| read_if(index, &is))
}

/// The first wait that satisfies `is`.
pub fn find(is: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
    those(is).next()
}

/// Asks those threads of this process for a look that sleep on its heap and satisfy `is`. A thread that is just about
/// to fall asleep may miss that.
pub fn call(is: impl Fn(&Waiting) -> bool) {
    let Some(table) = table() else { return };
    let is_here = |waiting: &Waiting| this_process::is(waiting.participant()) && is(waiting);
    let mut words: Vec<u64> =
        those(is_here).map(|w| table.rows[w.row].sleeps_on.fetch_or(CALLED, Ordering::SeqCst) & !CALLED).collect();
    words.sort_unstable();
    words.dedup();
    words.into_iter().filter(|&word| word != 0).for_each(|word| futex::wake_at(word as usize));
}
