//! A descriptor that may be closed while other threads use it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use kettle_core::sys::descriptor::KnownFd;

/// ```text
/// 31        30               0
/// [ CLOSED ][ in use by ...  ]
/// ```
///
/// Closing a number that another thread is about to hand to the kernel would have it use whatever is opened next under
/// the same number. So if there are users, closing puts an empty file in the descriptor's place, and the last user closes
/// that. (In a forked child, users that it does not have keep the number taken; what it led to is closed all the same.)
pub(super) struct Descriptor {
    fd: KnownFd,
    hollow: OnceLock<KnownFd>,
    state: AtomicU32,
}

const CLOSED: u32 = 1 << 31;

impl Descriptor {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd: KnownFd::new(fd, "a connection"), hollow: OnceLock::new(), state: AtomicU32::new(0) }
    }

    /// The descriptor, whose number keeps its meaning while the result lives. None when it is closed.
    pub(super) fn enter(&self) -> Option<InUse<'_>> {
        let enter = |state| (state & CLOSED == 0).then_some(state + 1);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok().map(|_| InUse(self))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Closes it, unless it is closed. Errors are for nobody: the number is free in any case.
    pub(super) fn close(&self) {
        // Who closes is a user too, so that no other one closes the number meanwhile.
        let close = |state| (state & CLOSED == 0).then_some((state | CLOSED) + 1);
        let Ok(before) = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, close) else { return };
        let in_use = InUse(self);
        if before != 0
            && let Some(hollow) = self.fd.hollow()
        {
            // Without a descriptor to spare, what it leads to stays open until its users have left.
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

/// A descriptor while somebody uses it.
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
