//! A descriptor that may be closed while other threads use it.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use kettle_core::sys::socket;

/// ```text
/// 31        30               0
/// [ CLOSED ][ in use by ...  ]
/// ```
///
/// Closing a number that another thread is about to hand to the kernel would have it use whatever is opened next under
/// the same number. So if there are users, closing puts `/dev/null` in the descriptor's place, and the last user closes
/// that. (In a forked child, users that it does not have keep the number taken; what it led to is closed all the same.)
pub(super) struct Descriptor {
    fd: RawFd,
    state: AtomicU32,
}

const CLOSED: u32 = 1 << 31;

impl Descriptor {
    pub(super) fn new(fd: RawFd) -> Self {
        Self { fd, state: AtomicU32::new(0) }
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
        match self.state.fetch_or(CLOSED, Ordering::AcqRel) {
            0 => drop(socket::close(self.fd)),
            state if state & CLOSED != 0 => {}
            // Without a descriptor to spare, what it leads to stays open until its users have left.
            _ => drop(socket::hollow(self.fd)),
        }
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
    pub(super) fn fd(&self) -> RawFd {
        self.0.fd
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1 {
            let _ = socket::close(self.0.fd);
        }
    }
}
