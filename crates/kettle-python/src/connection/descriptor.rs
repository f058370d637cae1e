//! A descriptor that may be closed while other threads use it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use kettle_core::sys::descriptor::KnownFd;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// ```text
/// 31        30               0
/// [ CLOSED ][ in use by ...  ]
/// ```
///
/// If a number were closed while another thread is about to pass it to the kernel, that thread would use whatever is
/// opened next under the same number. So if there are users, closing replaces the descriptor by an empty file, and the
/// last user closes that. (In a forked child, users that exist only in the parent keep the number taken; the original
/// file is closed all the same.)
pub(super) struct Descriptor {
    fd: KnownFd,
    hollow: OnceLock<KnownFd>,
    state: AtomicU32,
}

const CLOSED: u32 = 1 << 31;

/// The error of a call on a connection that was closed.
pub(super) fn closed() -> PyErr {
    PyOSError::new_err("handle is closed")
}

impl Descriptor {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd: KnownFd::new(fd, "a connection"), hollow: OnceLock::new(), state: AtomicU32::new(0) }
    }

    /// Starts a use of the descriptor, whose number keeps its meaning while the result lives. None if it is closed.
    pub(super) fn enter(&self) -> Option<InUse<'_>> {
        let enter = |state| (state & CLOSED == 0).then_some(state + 1);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok().map(|_| InUse(self))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes it, unless it is closed already. Errors are ignored: the number is free in any case.
    pub(super) fn close(&self) {
        // The closing thread counts as a user, so that no other one closes the number meanwhile.
        let close = |state| (state & CLOSED == 0).then_some((state | CLOSED) + 1);
        let Ok(before) = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, close) else { return };
        let in_use = InUse(self);
        if before != 0
            && let Some(hollow) = self.fd.hollow()
        {
            // If no descriptor is available for that, the file stays open until its users have left.
            let _ = self.hollow.set(hollow);
        }
        drop(in_use);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.close();
    }
}

/// A descriptor in use.
pub(super) struct InUse<'a>(&'a Descriptor);

impl InUse<'_> {
    pub(super) fn known(&self) -> &KnownFd {
        &self.0.fd
    }

    pub(super) fn number(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl AsFd for InUse<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            self.0.hollow.get().unwrap_or(&self.0.fd).close();
        }
    }
}
