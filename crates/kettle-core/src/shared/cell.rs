//! Plain data that processes share: whole words, each read and written in one step.
//!
//! What stands behind a placed body (its *tail*) is looked at here as atomic words and nothing else, so that any use
//! is free of data races, whoever else reads or writes meanwhile. Several words together are consistent only under a
//! lock; that is the caller's business.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arena::{ArenaError, Body, Handle};

/// How many bytes of tail `len` bytes of data need: whole words.
pub const fn tail_for(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

const WORD: usize = size_of::<u64>();

/// Places `make()` with room for `len` bytes of data behind it, all zero.
///
/// # Errors
/// When there is no room.
pub fn with_data<B: Body>(len: usize, make: impl FnOnce() -> B) -> Result<Handle<B>, ArenaError> {
    Handle::with_tail(tail_for(len), make)
}

/// The words behind a body. Whoever uses its tail by address at the same time must do so by such words too.
pub fn words<B: Body>(handle: &Handle<B>) -> &[AtomicU64] {
    let (start, len) = handle.tail();
    // SAFETY: the tail is `len` bytes, aligned to 64, mapped while the handle lives; any bits are a valid word.
    unsafe { core::slice::from_raw_parts(start.cast::<AtomicU64>().as_ptr(), len / WORD) }
}

/// Copies bytes out of the words, from byte `at` on.
///
/// # Panics
/// If there are not as many.
pub fn load(words: &[AtomicU64], at: usize, to: &mut [u8]) {
    assert!(at.checked_add(to.len()).is_some_and(|end| end <= words.len() * WORD), "beyond the end");
    for_each_piece(at, to.len(), |word, within, range| {
        let bytes = words[word].load(Ordering::Relaxed).to_ne_bytes();
        let n = range.len();
        to[range].copy_from_slice(&bytes[within..within + n]);
    });
}

/// Copies bytes into the words, from byte `at` on. Each word changes in one step; its other bytes stay.
///
/// # Panics
/// If there is no room for as many.
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

/// Calls `each` with a word's number, the first byte in it that is meant, and the bytes of the whole that these are.
fn for_each_piece(at: usize, len: usize, mut each: impl FnMut(usize, usize, core::ops::Range<usize>)) {
    let mut done = 0;
    while done < len {
        let within = (at + done) % WORD;
        let n = (WORD - within).min(len - done);
        each((at + done) / WORD, within, done..done + n);
        done += n;
    }
}
