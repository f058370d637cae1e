//! Where something is, in words that hold in every process.

use core::fmt;
use core::num::NonZeroU64;

/// A place in the arena: which segment, and how far into it.
///
/// ```text
/// 63        48 47                    0
/// [ segment  ][  byte within it      ]
/// ```
///
/// Each process maps the segments wherever it likes, so shared memory holds offsets, never addresses. Zero would be
/// the first byte of the header, which nobody names; it stands for "nothing".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Off(NonZeroU64);

const PAGE: u64 = super::pages::PAGE;

impl Off {
    const BYTE: u64 = (1 << 48) - 1;

    pub(crate) const fn new(segment: usize, byte: u64) -> Self {
        debug_assert!(segment < 1 << 16 && byte <= Self::BYTE);
        match NonZeroU64::new((segment as u64) << 48 | byte) {
            Some(bits) => Self(bits),
            None => panic!("the first byte of the header has no offset"),
        }
    }

    /// The place that a word names, if any.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// As a word holds it.
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// As queues name their memory.
    pub(crate) const fn place(self) -> NonZeroU64 {
        self.0
    }

    /// From what [`place`](Self::place) gave.
    pub(crate) const fn from_place(place: NonZeroU64) -> Self {
        Self(place)
    }

    pub(crate) const fn segment(self) -> usize {
        (self.0.get() >> 48) as usize
    }

    pub(crate) const fn byte(self) -> u64 {
        self.0.get() & Self::BYTE
    }

    /// The beginning of the page in which it lies, which is none of the header's.
    #[inline(always)]
    pub(crate) fn page(self) -> Self {
        // The number of the segment is left, and it is not 0.
        Self(NonZeroU64::new(self.0.get() & !(PAGE - 1)).unwrap_or(self.0))
    }

    /// The place `n` bytes further on in the same segment.
    pub(crate) const fn plus(self, n: u64) -> Self {
        Self::new(self.segment(), self.byte() + n)
    }
}

impl fmt::Debug for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:#x}", self.segment(), self.byte())
    }
}
