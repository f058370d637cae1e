//! The participant that this process is, if it has registered, for the cost of a few loads.
//!
//! This knowledge belongs to an epoch of the process ([`process::epoch`]), which ends with a fork of any kind: the
//! child finds that it knows nothing, and registers anew.

use core::sync::atomic::Ordering;

use crate::arena::layout::participant::Participant;
use crate::atomics::{AtomicU32, AtomicU64};
use crate::sys::process;

/// The epoch in which this process registered; 0 if it has not, or left.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// A [`Participant`], valid while `SINCE` is the current epoch.
static PARTICIPANT: AtomicU32 = AtomicU32::new(0);

/// Whether that is this process. Does not register it.
pub(in crate::arena) fn is(participant: Participant) -> bool {
    registered() == Some(participant)
}

/// This process, if it has registered.
#[inline]
pub(in crate::arena) fn registered() -> Option<Participant> {
    registered_in(process::epoch())
}

#[inline(always)]
pub(in crate::arena) fn registered_in(epoch: u64) -> Option<Participant> {
    // Acquire pairs with the release in `publish`.
    if SINCE.load(Ordering::Acquire) != epoch || epoch == 0 {
        return None;
    }
    Participant::from_bits(PARTICIPANT.load(Ordering::Relaxed))
}

/// Whether this process has registered.
#[inline(always)]
pub(in crate::arena) fn is_registered() -> bool {
    let since = SINCE.load(Ordering::Acquire);
    since != 0 && process::is_epoch(since)
}

/// Forgets which participant this process is, since it left.
pub(in crate::arena) fn forget() {
    SINCE.store(0, Ordering::Release);
}

/// Records which participant this process is; false if that would not be reliable, because no page detects forks. The
/// caller holds the lock of what this process holds.
pub(in crate::arena) fn publish(participant: Participant) -> bool {
    let epoch = process::epoch();
    if epoch == 0 {
        return false;
    }
    PARTICIPANT.store(participant.to_bits(), Ordering::Relaxed);
    SINCE.store(epoch, Ordering::Release);
    true
}
