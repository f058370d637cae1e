//! Reuses the memory of freed objects for new ones of the same class: a program creates and drops a handle for each
//! callback.
//!
//! A kept object is like a new one: its slots are empty, but it has no references. Without a GIL nothing is kept.

use std::cell::UnsafeCell;

use pyo3::ffi;
use pyo3::prelude::*;

pub(super) struct Spare(UnsafeCell<Vec<*mut ffi::PyObject>>);

// SAFETY: the list is used only in `take` and `keep`, by the one thread that has the GIL; neither calls anything that
// could let it go or come here again. Without a GIL both leave the list alone.
unsafe impl Sync for Spare {}

/// The maximum number of objects to keep.
const MOST: usize = 1024;

impl Spare {
    pub(super) const fn new() -> Self {
        Self(UnsafeCell::new(Vec::new()))
    }

    /// Returns a kept object, if there is one.
    #[inline(always)]
    pub(super) fn take(&self, _: Python<'_>) -> Option<*mut ffi::PyObject> {
        if cfg!(Py_GIL_DISABLED) {
            return None;
        }
        // SAFETY: this thread has the GIL, so there is no other reference.
        unsafe { (*self.0.get()).pop() }
    }

    /// Keeps an object. Returns false if there are enough.
    #[inline(always)]
    pub(super) fn keep(&self, _: Python<'_>, object: *mut ffi::PyObject) -> bool {
        if cfg!(Py_GIL_DISABLED) {
            return false;
        }
        // SAFETY: this thread has the GIL, so there is no other reference.
        let list = unsafe { &mut *self.0.get() };
        let has_room = list.len() < MOST;
        if has_room {
            list.push(object);
        }
        has_room
    }
}
