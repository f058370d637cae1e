//! Cleanup for a thread that unwinds halfway through an operation.

use core::mem::ManuallyDrop;

/// Runs its closure when it is dropped before [`done`](Self::done) is called, that is, on a panic or an early return.
///
/// A model thread that died does not run the closure: it stands for a process that was killed.
#[must_use]
pub(crate) struct OnUnwind<F: FnOnce()>(ManuallyDrop<F>);

impl<F: FnOnce()> OnUnwind<F> {
    #[inline(always)]
    pub(crate) fn new(undo: F) -> Self {
        Self(ManuallyDrop::new(undo))
    }

    /// The operation is complete: disarms the cleanup.
    #[inline(always)]
    pub(crate) fn done(mut self) {
        // SAFETY: the closure is dropped only once: `self` is forgotten below, so its `Drop` does not run.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        core::mem::forget(self);
    }
}

impl<F: FnOnce()> Drop for OnUnwind<F> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: only `done` also consumes the closure, and it forgets the value, so this runs at most once per value.
        let undo = unsafe { ManuallyDrop::take(&mut self.0) };
        if !crate::crash::has_died() {
            undo();
        }
    }
}
