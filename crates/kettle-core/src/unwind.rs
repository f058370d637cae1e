//! What is put right when a thread unwinds in the middle of something.

use core::mem::ManuallyDrop;

/// Runs its closure when it is dropped before it was [`done`](Self::done): a panic, or an early return, in between.
///
/// A thread of a model that died runs no such closure: it stands for a process that was killed.
#[must_use]
pub(crate) struct OnUnwind<F: FnOnce()>(ManuallyDrop<F>);

impl<F: FnOnce()> OnUnwind<F> {
    #[inline(always)]
    pub(crate) fn new(undo: F) -> Self {
        Self(ManuallyDrop::new(undo))
    }

    /// There is nothing to put right any more.
    #[inline(always)]
    pub(crate) fn done(mut self) {
        // SAFETY: the closure is dropped once: `self` is forgotten.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        core::mem::forget(self);
    }
}

impl<F: FnOnce()> Drop for OnUnwind<F> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes it besides `done`, which forgets the value.
        let undo = unsafe { ManuallyDrop::take(&mut self.0) };
        if !crate::crash::has_died() {
            undo();
        }
    }
}
