//! Words in shared memory that cannot be, and how all processes of a session learn that one was found.
//!
//! A process that writes where it must not can leave any bit pattern anywhere in the arena. So a length, a place, a link
//! or an index is checked where it is read, and a value that none of our code writes there is *damage*: the session is
//! marked, and from then on every call of every process that uses it is refused. What was damaged besides is not known,
//! so there is nothing to repair; but nobody follows such a word out of the arena, and nobody waits for what it promises.
//!
//! Memory of one process ([`Scope::Private`]) has no such mark: it is not shared with anybody who could write there.

use core::fmt;
use core::ptr;
use core::sync::atomic::AtomicPtr;

use crate::atomics::{AtomicU64, Ordering};
use crate::sys::futex::Scope;

/// The mark of a session: zeros while no damage was found. It has a cache line to itself, which nobody writes to.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Mark {
    /// Which [`What`] it was, from 1 on; stored last.
    what: AtomicU64,
    place: AtomicU64,
    value: AtomicU64,
}

/// What kind of word it was that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum What {
    /// A word of a lock that names no thread.
    Owner = 1,
    /// The beginning of a message.
    Message,
    /// The name of a message's block.
    Block,
    /// The header of a queue's chunk, or its place in the chain.
    Chunk,
    /// How far a queue was read and written.
    Cursor,
    /// A word of a barrier or a semaphore.
    Count,
    /// A place outside of all segments.
    Place,
    /// The table of segments.
    Segments,
    /// The page map.
    Pages,
    /// A list of free memory.
    Bins,
    /// The header of an object.
    Object,
    /// The list of an object's holders.
    Holders,
    /// The counts of a pool's ring of outcomes.
    Ring,
    /// The beginning of a pool's message.
    Letter,
    /// An entry of a barrier's list of parties or of a queue's consumers, or that list.
    Entry,
}

const TEXTS: [&str; 15] = [
    "the word of a lock names no thread that can be",
    "a message does not begin as messages do",
    "a message names a block that is none",
    "a queue leads to a chunk that is none",
    "a queue's head and tail do not fit together",
    "a count is greater than it can be",
    "a word names a place outside of the shared memory",
    "the table of segments does not describe the file",
    "the map of pages does not describe the pages",
    "a list of free memory leads to memory that is not free",
    "an object does not begin as objects do",
    "the list of an object's holders has no end",
    "the counts of a pool's outcomes do not fit together",
    "a message of a pool does not begin as its messages do",
    "the list of those who use a barrier or a queue names what cannot use it",
];

/// The damage that a session is marked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    what: u64,
    place: u64,
    value: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = (self.what as usize).checked_sub(1).and_then(|i| TEXTS.get(i));
        let text = text.copied().unwrap_or("the words that tell of damage were written over");
        let Self { place, value, .. } = *self;
        write!(f, "the session's shared memory is damaged: {text} ({value:#x}")?;
        if place != 0 {
            write!(f, ", at {}:{:#x}", place >> 48, place & ((1 << 48) - 1))?;
        }
        f.write_str(
            "). A process of this program wrote where it must not. End all processes of the program and start it again",
        )
    }
}

impl std::error::Error for Damage {}

#[cfg(not(loom))]
mod place {
    use super::{AtomicPtr, AtomicU64, Mark};

    /// What is looked at before there is a session.
    static SOUND: Mark = Mark { what: AtomicU64::new(0), place: AtomicU64::new(0), value: AtomicU64::new(0) };
    pub(super) static MARK: AtomicPtr<Mark> = AtomicPtr::new((&raw const SOUND).cast_mut());
}
#[cfg(loom)]
mod place {
    use super::{AtomicPtr, Mark, ptr};

    pub(super) static MARK: AtomicPtr<Mark> = AtomicPtr::new(ptr::null_mut());
}

/// Says where the mark of this process's session is.
pub fn watch(mark: &'static Mark) {
    place::MARK.store(ptr::from_ref(mark).cast_mut(), core::sync::atomic::Ordering::Release);
}

#[inline(always)]
fn mark_of(scope: Scope) -> Option<&'static Mark> {
    if scope == Scope::Private {
        return None;
    }
    let mark = place::MARK.load(core::sync::atomic::Ordering::Acquire);
    if cfg!(loom) && mark.is_null() {
        return None;
    }
    // SAFETY: it is null in a model alone; else it was made of a reference that lives as long as the process.
    Some(unsafe { &*mark })
}

/// Whether the session is marked, for whom lives in `scope`.
#[inline(always)]
pub fn is_marked(scope: Scope) -> bool {
    mark_of(scope).is_some_and(|mark| mark.what.load(Ordering::Relaxed) != 0)
}

/// What the session is marked with, if it is.
pub fn found() -> Option<Damage> {
    let mark = mark_of(Scope::Shared)?;
    let what = mark.what.load(Ordering::Acquire);
    let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
    (what != 0).then(|| Damage { what, place: word(&mark.place), value: word(&mark.value) })
}

/// As [`found`], as an error.
///
/// # Errors
/// When the session is marked.
#[inline]
pub fn check() -> Result<(), Damage> {
    if is_marked(Scope::Shared) { Err(marked()) } else { Ok(()) }
}

/// What a session is marked with that was seen to be marked.
#[cold]
pub fn marked() -> Damage {
    found().unwrap_or(Damage { what: 0, place: 0, value: 0 })
}

/// Marks the session: at `place`, if that is known (0 is not), stands `value`, which cannot be. What was found first
/// stays.
#[cold]
pub fn mark(scope: Scope, what: What, place: u64, value: u64) -> Damage {
    if let Some(mark) = mark_of(scope) {
        if mark.what.load(Ordering::Relaxed) == 0 {
            mark.place.store(place, Ordering::Relaxed);
            mark.value.store(value, Ordering::Relaxed);
            // Two may come here at once: then it is the place of one and the kind of the other, both of them true.
            let _ = mark.what.compare_exchange(0, what as u64, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
    Damage { what: what as u64, place, value }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_text() {
        assert_eq!(What::Entry as usize, TEXTS.len());
        let damage = mark(Scope::Private, What::Owner, 1 << 48 | 0x40, 7);
        let text = damage.to_string();
        assert!(text.contains(TEXTS[0]) && text.contains("(0x7, at 1:0x40)"), "{text}");
        assert!(found().is_none(), "what is private marks nothing");
    }

    #[test]
    fn a_mark_that_was_written_over_has_a_text_too() {
        assert!(Damage { what: 99, place: 0, value: 0 }.to_string().contains("written over"));
    }
}
