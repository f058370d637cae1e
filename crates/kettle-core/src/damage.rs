//! Impossible values in shared memory, and how every process of a session learns that one was found.
//!
//! A process that writes out of bounds can leave any bit pattern anywhere in the arena. Lengths, addresses, links and
//! indexes are therefore checked where they are read, and a value that no code of this crate writes there is *damage*.
//! The session is then marked, and every later call that uses it, in any process, is refused. The extent of the damage
//! is unknown, so nothing is repaired; but no process follows such a word out of the arena, and none waits for what it
//! promises.
//!
//! Memory of a single process ([`Scope::Private`]) has no such mark: no other process can write to it.

use core::fmt;
use core::ptr;
use core::sync::atomic::AtomicPtr;

use crate::atomics::{AtomicU64, Ordering};
use crate::sys::futex::Scope;

/// The mark of a session: all zeros while no damage has been found. It has a cache line to itself, which is otherwise
/// never written.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Mark {
    /// Which [`What`] it was, counted from 1; stored last.
    what: AtomicU64,
    place: AtomicU64,
    value: AtomicU64,
}

impl Mark {
    /// The damage that it records, if any.
    pub(crate) fn read(&self) -> Option<Damage> {
        let what = self.what.load(Ordering::Acquire);
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        (what != 0).then(|| Damage { what, place: word(&self.place), value: word(&self.value) })
    }

    /// The first finding stays.
    pub(crate) fn set(&self, what: What, place: u64, value: u64) {
        if self.what.load(Ordering::Relaxed) == 0 {
            self.place.store(place, Ordering::Relaxed);
            self.value.store(value, Ordering::Relaxed);
            // Two threads may race here and mix the place of one with the kind of the other; both are true findings.
            let _ = self.what.compare_exchange(0, what as u64, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// The kind of word that has an impossible value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum What {
    /// A lock word that names no possible thread.
    Owner = 1,
    /// The header of a message.
    Message,
    /// The name of a message's block.
    Block,
    /// The header of a queue's chunk, or its position in the chain.
    Chunk,
    /// A queue's read and write cursors.
    Cursor,
    /// A counter of a barrier or a semaphore.
    Count,
    /// An address outside all segments.
    Place,
    /// The segment table.
    Segments,
    /// The page map.
    Pages,
    /// A free list.
    Bins,
    /// The header of an object.
    Object,
    /// The list of an object's holders.
    Holders,
    /// The counters of a pool's result ring.
    Ring,
    /// The header of a pool's message.
    Letter,
    /// An entry of a barrier's list of parties or of a queue's list of consumers, or the list itself.
    Entry,
    /// No word: the session moved to other memory, and this process was not registered in it.
    Moved,
}

const TEXTS: [&str; 15] = [
    "a lock word names an impossible thread",
    "a message has an invalid header",
    "a message names an invalid block",
    "a queue links to an invalid chunk",
    "a queue's head and tail are inconsistent",
    "a counter exceeds its maximum",
    "an address is outside the shared memory",
    "the segment table does not match the file",
    "the page map does not match the pages",
    "a free list links to memory that is in use",
    "an object has an invalid header",
    "an object's list of holders has no end",
    "the counters of a pool's result ring are inconsistent",
    "a pool's message has an invalid header",
    "a barrier's list of parties or a queue's list of consumers has an invalid entry",
];

/// The damage with which a session is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    what: u64,
    place: u64,
    value: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what == What::Moved as u64 {
            return write!(
                f,
                "process {} moved the session to other memory, and this process was not registered, because it was \
                 created behind the C library's back; create it by fork, or do not use the session in it",
                self.value
            );
        }
        let text = (self.what as usize).checked_sub(1).and_then(|i| TEXTS.get(i));
        let text = text.copied().unwrap_or("the record of the damage was overwritten");
        let Self { place, value, .. } = *self;
        write!(f, "the session's shared memory is damaged: {text} ({value:#x}")?;
        if place != 0 {
            write!(f, ", at {}:{:#x}", place >> 48, place & ((1 << 48) - 1))?;
        }
        f.write_str(
            "). A process of this program wrote out of bounds. End all processes of the program and start it again",
        )
    }
}

impl std::error::Error for Damage {}

#[cfg(not(loom))]
mod place {
    use super::{AtomicPtr, AtomicU64, Mark};

    /// The mark that is checked before there is a session.
    static SOUND: Mark = Mark { what: AtomicU64::new(0), place: AtomicU64::new(0), value: AtomicU64::new(0) };
    pub(super) static MARK: AtomicPtr<Mark> = AtomicPtr::new((&raw const SOUND).cast_mut());
}
#[cfg(loom)]
mod place {
    use super::{AtomicPtr, Mark, ptr};

    pub(super) static MARK: AtomicPtr<Mark> = AtomicPtr::new(ptr::null_mut());
}

/// Sets the mark of the session that this process belongs to.
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
    // SAFETY: the pointer is null only in a model, which returned above; otherwise it was made from a `&'static`
    // reference.
    Some(unsafe { &*mark })
}

/// Whether the session is marked; always false for words of [`Scope::Private`].
#[inline(always)]
pub fn is_marked(scope: Scope) -> bool {
    mark_of(scope).is_some_and(|mark| mark.what.load(Ordering::Relaxed) != 0)
}

/// The damage with which the session is marked, if any.
pub fn found() -> Option<Damage> {
    mark_of(Scope::Shared)?.read()
}

/// As [`found`], but returns the damage as an error.
///
/// # Errors
/// If the session is marked.
#[inline]
pub fn check() -> Result<(), Damage> {
    if is_marked(Scope::Shared) { Err(marked()) } else { Ok(()) }
}

/// The damage of a session that is known to be marked.
#[cold]
pub fn marked() -> Damage {
    found().unwrap_or(Damage { what: 0, place: 0, value: 0 })
}

/// Marks the session: the word at `place` (0 if unknown) holds the impossible value `value`. The first mark is kept.
#[cold]
pub fn mark(scope: Scope, what: What, place: u64, value: u64) -> Damage {
    if let Some(mark) = mark_of(scope) {
        mark.set(what, place, value);
    }
    Damage { what: what as u64, place, value }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_text() {
        assert_eq!(What::Entry as usize, TEXTS.len());
        let moved = mark(Scope::Private, What::Moved, 0, 77).to_string();
        assert!(moved.starts_with("process 77 moved"), "{moved}");
        let damage = mark(Scope::Private, What::Owner, 1 << 48 | 0x40, 7);
        let text = damage.to_string();
        assert!(text.contains(TEXTS[0]) && text.contains("(0x7, at 1:0x40)"), "{text}");
        assert!(found().is_none(), "what is private marks nothing");
    }

    #[test]
    fn a_mark_that_was_written_over_has_a_text_too() {
        assert!(Damage { what: 99, place: 0, value: 0 }.to_string().contains("overwritten"));
    }
}
