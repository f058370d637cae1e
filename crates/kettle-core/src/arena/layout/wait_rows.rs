//! The table of threads that have waited for long; `waiters` describes it.

use crate::atomics::{AtomicU32, AtomicU64};

pub(crate) const ROWS: usize = 1024;
pub(crate) const PAGES: usize = 128;
pub(crate) const TEXT_WORDS: usize = 496;

/// The maximum number of scopes per thread.
pub const SCOPES: usize = 13;

/// The rows, and pages for the texts of those that have one.
#[repr(C)]
pub(crate) struct Waiters {
    /// The number of the last wait.
    pub numbers: AtomicU64,
    /// Rows from this index on were never used.
    pub used: AtomicU64,
    _pad: [AtomicU64; 6],
    pub rows: [Row; ROWS],
    pub pages: [Page; PAGES],
}

#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Row {
    pub owner: AtomicU64,
    /// Stored last when the row is filled, and cleared first.
    pub number: AtomicU64,
    /// See `waiters::Waiting::thread`.
    pub thread: AtomicU32,
    pub flags: AtomicU32,
    pub since: AtomicU64,
    pub holder: AtomicU64,
    pub looked: AtomicU64,
    /// The page that has its text, counted from 1; 0 for none.
    pub text: AtomicU64,
    /// The address of the word that it sleeps on, if that is on its process's heap, otherwise 0; combined with
    /// `waiters::CALLED`.
    pub sleeps_on: AtomicU64,
}

#[repr(C)]
pub(crate) struct Page {
    pub owner: AtomicU64,
    pub len: AtomicU64,
    pub wants: AtomicU64,
    pub scopes: [AtomicU64; SCOPES],
    pub words: [AtomicU64; TEXT_WORDS],
}
