//! Addresses that are valid in every process.

use core::fmt;
use core::num::NonZeroU64;

/// An address in the arena: a segment, and a position in it.
///
/// ```text
/// 63        48 47                    0
/// [ segment  ][  byte within it      ]
/// ```
///
/// Each process maps the segments at addresses of its own, so shared memory holds offsets, never addresses. Zero would
/// be the first byte of the header, which is never named; it stands for "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Off(NonZeroU64);

use super::page_map::PAGE;

impl Off {
    const BYTE: u64 = (1 << 48) - 1;

    pub(crate) const fn new(segment: usize, byte: u64) -> Self {
        debug_assert!(segment < 1 << 16 && byte <= Self::BYTE);
        match NonZeroU64::new((segment as u64) << 48 | byte) {
            Some(bits) => Self(bits),
            None => panic!("the first byte of the header has no offset"),
        }
    }

    /// The offset in a word, if any.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The representation in a word.
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The representation used by queues.
    pub(crate) const fn place(self) -> NonZeroU64 {
        self.0
    }

    /// The inverse of [`place`](Self::place).
    pub(crate) const fn from_place(place: NonZeroU64) -> Self {
        Self(place)
    }

    pub(crate) const fn segment(self) -> usize {
        (self.0.get() >> 48) as usize
    }

    pub(crate) const fn byte(self) -> u64 {
        self.0.get() & Self::BYTE
    }

    /// The beginning of the page that contains it, which is not a page of the header.
    #[inline(always)]
    pub(crate) fn page(self) -> Self {
        // The segment number remains, and it is not 0.
        Self(NonZeroU64::new(self.0.get() & !(PAGE - 1)).unwrap_or(self.0))
    }

    /// The offset `n` bytes further in the same segment.
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self::new(self.segment(), self.byte() + n)
    }
}

impl fmt::Debug for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:#x}", self.segment(), self.byte())
    }
}
