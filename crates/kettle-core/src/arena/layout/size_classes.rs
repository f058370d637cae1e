//! The sizes of small objects, which share pages.

use crate::arena::layout::page_map::Run;

/// Sizes of small objects, including the header. Each divides a page.
const CLASSES: [u64; 5] = [128, 256, 512, 1024, 2048];

/// Whether this run of small objects is a single page of a valid size.
pub(crate) const fn is_class(run: Run) -> bool {
    (run.class as usize) < CLASSES.len() && run.pages == 1
}

/// The smallest class with room for `total` bytes, including the header.
pub(crate) fn class_of(total: u64) -> Option<u8> {
    CLASSES.iter().position(|&size| total <= size).map(|class| class as u8)
}

/// The size of the small objects of a class, including the header.
pub(crate) const fn small_size(class: u8) -> u64 {
    CLASSES[class as usize]
}

/// The number of lists.
pub(crate) const CLASS_COUNT: u8 = CLASSES.len() as u8;
