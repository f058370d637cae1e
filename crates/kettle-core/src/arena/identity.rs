//! Which participant this process is, at the price of two loads.
//!
//! The answer stands in a page that the kernel wipes in a forked child, so any kind of fork forgets it by itself and
//! the child registers anew. Each thread keeps a copy together with the page's epoch; a copy is good while the epoch
//! is the same. Epochs count upwards through forks, so a child never meets an epoch of one of its ancestors.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicPtr;

use crate::atomics::{AtomicU64, Ordering};
use crate::sys::owner::Owner;
use crate::sys::{memory, process};

use super::error::ArenaError;
use super::participants::{self, Participant, Ticket};
use super::{registry, segment};

#[repr(C)]
struct Page {
    /// 0: this process has not registered.
    epoch: AtomicU64,
    /// A [`Participant`], valid while `epoch` is not 0.
    participant: AtomicU64,
}

static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());
/// The last epoch used by this process or, by inheritance, one of its ancestors.
static EPOCHS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CACHED: Cell<(u64, Owner)> = const { Cell::new((0, Owner::from_bits(0))) };
}

fn page() -> Option<&'static Page> {
    let page = NonNull::new(PAGE.load(Ordering::Acquire))?;
    // SAFETY: PAGE is null or a mapping that is never taken back; zeros (as after a fork) are a valid Page.
    Some(unsafe { page.as_ref() })
}

#[inline]
pub(super) fn current() -> Result<Owner, ArenaError> {
    if let Some(page) = page() {
        let epoch = page.epoch.load(Ordering::Acquire);
        let (cached, owner) = CACHED.get();
        if epoch != 0 && epoch == cached {
            return Ok(owner);
        }
    }
    find_out()
}

/// Whether that is this process. Does not register.
pub(super) fn is_me(participant: Participant) -> bool {
    registered() == Some(participant)
}

/// This process, if it has registered.
pub(super) fn registered() -> Option<Participant> {
    let page = page()?;
    if page.epoch.load(Ordering::Acquire) == 0 {
        return None;
    }
    Participant::from_bits(page.participant.load(Ordering::Relaxed) as u32)
}

/// The first call in a thread, or in a process.
#[cold]
fn find_out() -> Result<Owner, ArenaError> {
    let header = segment::header()?;
    let participant = match registered() {
        Some(participant) => participant,
        None => {
            let mut registry = registry::lock_unregistered();
            match registered() {
                Some(participant) => participant,
                None => {
                    let page = make_page()?;
                    let participant = participants::register(header)?;
                    publish(page, participant);
                    // What a fork without our handlers left here is not ours yet.
                    registry.hold_again(participant);
                    participant
                }
            }
        }
    };
    Ok(cache(participant))
}

fn cache(participant: Participant) -> Owner {
    let owner = Owner::from_bits(participant.owner().to_bits() | u64::from(process::thread_id()));
    if let Some(page) = page() {
        CACHED.set((page.epoch.load(Ordering::Acquire), owner));
    }
    owner
}

/// See [`participants::adopt`].
pub(super) fn adopt(ticket: Ticket) -> Result<(), ArenaError> {
    let _registry = registry::lock_unregistered();
    adopt_locked(ticket)
}

/// The same for a caller that holds the registry's lock.
pub(super) fn adopt_locked(ticket: Ticket) -> Result<(), ArenaError> {
    match registered() {
        Some(mine) if mine == ticket.participant() => return Ok(()),
        Some(_) => return Err(ArenaError::AlreadyRegistered),
        None => {}
    }
    let page = make_page()?;
    let participant = participants::occupy(segment::header()?, ticket)?;
    publish(page, participant);
    Ok(())
}

/// Forgets who this process is: it left, or is a forked child where the kernel cannot wipe the page.
pub(super) fn forget() {
    if let Some(page) = page() {
        page.epoch.store(0, Ordering::Release);
    }
}

fn publish(page: &Page, participant: Participant) {
    page.participant.store(u64::from(participant.to_bits()), Ordering::Relaxed);
    let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed) + 1;
    // Release: whoever sees the epoch sees the participant.
    page.epoch.store(epoch, Ordering::Release);
}

/// The caller holds the registry's lock. Where the kernel cannot wipe the page, the fork handler of [`super::fork`]
/// does; a child made behind the C library's back then goes unnoticed, for which there is no remedy.
fn make_page() -> Result<&'static Page, ArenaError> {
    if let Some(page) = page() {
        return Ok(page);
    }
    let address = memory::wiped_on_fork().map_err(ArenaError::Map)?;
    PAGE.store(address.cast().as_ptr(), Ordering::Release);
    // SAFETY: a fresh mapping of zeros, which is a valid Page, and never taken back.
    Ok(unsafe { address.cast::<Page>().as_ref() })
}
