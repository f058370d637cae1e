//! The page map: what each page of a segment is used for. It alone is authoritative.
//!
//! A segment begins with sixteen bytes for each of its pages. The pages form *runs*; the entry of a run's first page
//! holds its kind and length, so the runs are found by walking from the first page on. Every change of what is
//! allocated is one store to such a word:
//!
//! ```text
//! taking part of a free run      write the remainder's head, then the head: ALLOC, shorter
//! freeing                        the head: FREE
//! merging neighbours             the first head: FREE, longer; then clear the second
//! ```
//!
//! A process that dies between two stores leaves a map that can be walked and shows either the old or the new state.

use crate::atomics::AtomicU64;

/// The unit of allocation, independent of the kernel's page size.
pub(crate) const PAGE: u64 = 4096;
pub(crate) const ENTRY: u64 = size_of::<PageEntry>() as u64;

#[repr(C)]
pub(crate) struct PageEntry {
    /// A [`Run`] if this is the first page of one.
    pub run: AtomicU64,
    /// For a free run: the offset of the next one in its bin, or 0.
    pub link: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Free, with memory behind its pages.
    Warm,
    /// Free, and reads as zeros; without memory behind it, except perhaps for a page here and there.
    Cold,
    /// One object.
    Object,
    /// Many small objects of one size.
    Slab,
    /// The page map itself.
    Map,
}

/// ```text
/// 63         32 31     16 15    8 7    0
/// [   pages    ]    0     [class ][kind]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub kind: Kind,
    /// For a slab: the index of its size.
    pub class: u8,
    pub pages: u32,
}

impl Run {
    pub(crate) const fn new(kind: Kind, pages: u32) -> Self {
        Self { kind, class: 0, pages }
    }

    pub(crate) const fn is_free(self) -> bool {
        matches!(self.kind, Kind::Warm | Kind::Cold)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        let kind = match self.kind {
            Kind::Warm => 1,
            Kind::Cold => 2,
            Kind::Object => 3,
            Kind::Slab => 4,
            Kind::Map => 5,
        };
        (self.pages as u64) << 32 | (self.class as u64) << 8 | kind
    }

    pub(crate) const fn from_bits(bits: u64) -> Option<Self> {
        let kind = match bits as u8 {
            1 => Kind::Warm,
            2 => Kind::Cold,
            3 => Kind::Object,
            4 => Kind::Slab,
            5 => Kind::Map,
            _ => return None,
        };
        let pages = (bits >> 32) as u32;
        if pages == 0 { None } else { Some(Self { kind, class: (bits >> 8) as u8, pages }) }
    }
}

/// The number of pages of the map of a segment of `len` bytes.
pub(crate) const fn map_pages(len: u64) -> u64 {
    (len / PAGE * ENTRY).div_ceil(PAGE)
}
