//! Copies of parts of the arena's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::arena::Body;
use crate::arena::layout::object_header::ObjectHeader;
use crate::arena::layout::participant_rows::Slot;
use crate::arena::layout::wait_rows::Row;
use crate::atomics::{AtomicU64, Ordering};
use crate::damage::Mark;

const WORD: usize = size_of::<u64>();

/// How often an object that keeps changing is read.
const ATTEMPTS: usize = 6;

/// As aligned as anything in the arena.
#[repr(C, align(64))]
#[derive(Debug, Default)]
struct Line([AtomicU64; 8]);

/// A copy of a part of the file.
#[derive(Debug)]
pub(super) struct Copy {
    lines: Vec<Line>,
    len: usize,
}

/// A type that a [`Copy`] can be viewed as.
///
/// # Safety
/// It consists of atomics, is valid whatever its bits, and its alignment is at most 64.
pub(super) unsafe trait Viewed {}

// SAFETY: what a `Body` promises: only atomics and offsets, and no bytes that another process may leave in it make its
// methods do what Rust forbids. The arena aligns bodies to 64 bytes.
unsafe impl<B: Body> Viewed for B {}

macro_rules! viewed {
    ($($type:ty),*) => {
        $(
            const _: () = assert!(align_of::<$type>() <= 64);
            // SAFETY: consists of atomics; its alignment is checked above.
            unsafe impl Viewed for $type {}
        )*
    };
}

viewed!(ObjectHeader, Slot, Row, Mark);

impl Copy {
    fn of(bytes: &[u8]) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        lines.resize_with(bytes.len().div_ceil(size_of::<Line>()), Line::default);
        let words = lines.iter_mut().flat_map(|line| line.0.iter_mut());
        for (word, chunk) in words.zip(bytes.chunks(WORD)) {
            let mut whole = [0; WORD];
            whole[..chunk.len()].copy_from_slice(chunk);
            *word = AtomicU64::new(u64::from_ne_bytes(whole));
        }
        Self { lines, len: bytes.len() }
    }

    /// The word at byte `at`, which is a multiple of 8; 0 beyond the end.
    pub(super) fn word(&self, at: usize) -> u64 {
        let line = self.lines.get(at / size_of::<Line>());
        line.map_or(0, |line| line.0[at % size_of::<Line>() / WORD].load(Ordering::Relaxed))
    }

    /// The value at byte `at`, if all of it is in the copy, and `at` is a multiple of 64.
    pub(super) fn view<T: Viewed>(&self, at: usize) -> Option<&T> {
        let end = at.checked_add(size_of::<T>())?;
        if at % size_of::<Line>() != 0 || end > self.len || align_of::<T>() > align_of::<Line>() {
            return None;
        }
        // The slice from that line on: the pointer may be used for all of it.
        let rest = self.lines.get(at / size_of::<Line>()..)?;
        // SAFETY: `T` consists of atomics and is valid whatever its bits; all of it is inside the lines, as atomic
        // words, and its alignment is at most that of a line.
        Some(unsafe { &*rest.as_ptr().cast::<T>() })
    }
}

/// `len` bytes of the file from `offset` on. They may come from different instants.
pub(super) fn copy(file: &File, offset: u64, len: usize) -> io::Result<Copy> {
    Ok(Copy::of(&bytes(file, offset, len)?))
}

fn bytes(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The same, read until two copies in a row agree. If the part keeps changing, the last one; each of its words is whole
/// where the kernel copies aligned words whole.
pub(super) fn steady_copy(file: &File, offset: u64, len: usize) -> io::Result<Copy> {
    let mut last = bytes(file, offset, len)?;
    for _ in 0..ATTEMPTS {
        let now = bytes(file, offset, len)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(Copy::of(&last))
}
