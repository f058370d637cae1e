//! Freeing objects.

use crate::arena::allocator::alloc::Allocator;
use crate::arena::layout::participant::Participant;
use crate::arena::objects::holders;
use crate::arena::objects::raw::Raw;
use crate::arena::{membership, segment};
use crate::damage;

/// Frees an object. On errors it is left to a later reclaim; in a damaged arena everything is left as it is.
///
/// # Safety
/// The caller has the right to free it, and it is no longer in use.
pub(in crate::arena) unsafe fn free(raw: &Raw) {
    let Ok(me) = membership::try_me() else { return };
    if damage::check().is_err() || holders::condemn(raw.header(), Participant::of(me)).is_err() {
        return;
    }
    crate::crash_point("arena.object.dying");
    let Some(header) = segment::header_if_any() else { return };
    let Ok(allocator) = Allocator::lock(header) else { return };
    allocator.free_and_cool(raw.off(), raw.header());
}

impl Raw {
    /// Frees it. On errors it is left to a later reclaim.
    ///
    /// # Safety
    /// The caller has the right to free it, and it is no longer in use.
    pub unsafe fn free(&self) {
        // SAFETY: the caller guarantees what `free` requires.
        unsafe { free(self) };
    }
}
