//! Plain data shared by processes: words that are read and written atomically, one at a time.
//!
//! The data behind a placed primitive (its *tail*) is accessed here as atomic words only, so any use is free of data
//! races, whatever other processes do meanwhile. Several words together are consistent only under a lock, which is up
//! to the caller.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arena::{ArenaError, Body, Handle};

/// The length of the tail that holds `len` bytes of data: whole words.
pub const fn tail_for(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

const WORD: usize = size_of::<u64>();

/// Places `make()` with a tail for `len` bytes of data, all zero.
///
/// # Errors
/// If there is no room.
pub fn with_data<B: Body>(len: usize, make: impl FnOnce() -> B) -> Result<Handle<B>, ArenaError> {
    Handle::with_tail(tail_for(len), make)
}

/// The words behind a primitive. Other code that accesses the same tail by address meanwhile must use such atomic
/// words, too.
pub fn words<B: Body>(handle: &Handle<B>) -> &[AtomicU64] {
    let (start, len) = handle.tail();
    // SAFETY: the tail is `len` bytes, aligned to 64, mapped while the handle lives; any bits are a valid word.
    unsafe { core::slice::from_raw_parts(start.cast::<AtomicU64>().as_ptr(), len / WORD) }
}

/// Copies bytes out of the words, starting at byte `at`.
///
/// # Panics
/// If the words are too short.
pub fn load(words: &[AtomicU64], at: usize, to: &mut [u8]) {
    assert!(at.checked_add(to.len()).is_some_and(|end| end <= words.len() * WORD), "beyond the end");
    for_each_piece(at, to.len(), |word, within, range| {
        let bytes = words[word].load(Ordering::Relaxed).to_ne_bytes();
        let n = range.len();
        to[range].copy_from_slice(&bytes[within..within + n]);
    });
}

/// Copies bytes into the words, starting at byte `at`. Each word changes atomically; its other bytes are preserved.
///
/// # Panics
/// If the words are too short.
pub fn store(words: &[AtomicU64], at: usize, from: &[u8]) {
    assert!(at.checked_add(from.len()).is_some_and(|end| end <= words.len() * WORD), "beyond the end");
    for_each_piece(at, from.len(), |word, within, range| {
        let piece = &from[range];
        if let Ok(whole) = piece.try_into() {
            words[word].store(u64::from_ne_bytes(whole), Ordering::Relaxed);
            return;
        }
        let _ = words[word].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            let mut bytes = old.to_ne_bytes();
            bytes[within..within + piece.len()].copy_from_slice(piece);
            Some(u64::from_ne_bytes(bytes))
        });
    });
}

/// Calls `each` for every word concerned, with its index, the first byte in it, and the corresponding range of the
/// data.
fn for_each_piece(at: usize, len: usize, mut each: impl FnMut(usize, usize, core::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let within = (at + done) % WORD;
        let n = (WORD - within).min(len - done);
        each((at + done) / WORD, within, done..done + n);
        done += n;
    }
}
