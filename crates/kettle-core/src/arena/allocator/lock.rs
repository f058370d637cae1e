//! The allocator's lock, whose holder may die.
//!
//! ```text
//! 0                       free
//! owner                   held by that thread
//! owner | FLAG_HIGH       held, and others may be asleep on the low half
//! ```
//!
//! Acquiring the lock and naming the holder are one compare-exchange. Sleeps are cut into slices, and after each
//! slice the waiter checks that the holder is alive. A dead holder's lock is taken over as it is, and the allocator
//! learns that its hints cannot be trusted ([`Header::stale`]).

use crate::atomics::{AtomicU32, AtomicU64, Ordering, spin_hint};
use crate::damage::{self, What};
use crate::sys::owner::Owner;
use crate::wait::{Patience, Scope, Stopped};

use crate::arena::error::ArenaError;
use crate::arena::layout::header::Header;
use crate::arena::{membership, participants};

const WAITED: u64 = Owner::FLAG_HIGH;
/// Critical sections are short: a few hundred iterations outlast most of them.
const SPINS: u32 = 200;

/// Holds the lock until it is dropped.
pub(in crate::arena) struct Guard {
    header: &'static Header,
}

impl Guard {
    pub(in crate::arena) fn take(header: &'static Header) -> Result<Self, ArenaError> {
        let me = membership::try_me()?.to_bits();
        // Acquire pairs with the release in `drop`, so that the maps are seen as the last holder left them.
        if header.lock.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            take_contended(header, me)?;
        }
        let guard = Self { header };
        crate::crash_point("arena.lock.taken");
        Ok(guard)
    }
}

#[cold]
fn take_contended(header: &'static Header, me: u64) -> Result<(), ArenaError> {
    let lock = &header.lock;
    for _ in 0..SPINS {
        spin_hint();
        if lock.load(Ordering::Relaxed) == 0
            && lock.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            return Ok(());
        }
    }
    // If a short critical section takes this long, its holder is most likely dead: check often.
    let patience = Patience::forever();
    let mut asked = patience.naps();
    loop {
        let seen = lock.load(Ordering::Relaxed);
        // A thread that slept acquires the lock with the mark, since others may still be asleep.
        if seen == 0 {
            if lock.compare_exchange(0, me | WAITED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
            continue;
        }
        if patience.naps() != asked {
            asked = patience.naps();
            let holder = Owner::from_bits(seen);
            if holder.slot() == 0 {
                return Err(damage::mark(Scope::Shared, What::Owner, 0, seen).into());
            }
            if participants::is_dead(holder) || participants::has_lost_thread(holder) {
                // Before the take-over, so that no new holder misses it.
                header.stale.store(1, Ordering::Relaxed);
                if lock.compare_exchange(seen, me | WAITED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return Ok(());
                }
                continue;
            }
        }
        let marked = seen | WAITED;
        if seen == marked || lock.compare_exchange(seen, marked, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // Only damage can stop this wait; any other outcome is a reason to look again.
            if patience.sleep(low_half(lock), marked as u32, Scope::Shared) == Err(Stopped::Damaged) {
                return Err(damage::marked().into());
            }
        }
    }
}

/// The half of the word with thread and flags, which is the one to sleep on.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let half = usize::from(cfg!(target_endian = "big"));
    // SAFETY: both halves of a live 64-bit word are live, aligned 32-bit words. This one is only passed to the kernel,
    // which compares it; our own loads and stores access all 64 bits.
    unsafe { &*core::ptr::from_ref(word).cast::<AtomicU32>().add(half) }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.header.stale.store(1, Ordering::Relaxed);
        }
        if self.header.lock.swap(0, Ordering::Release) & WAITED != 0 {
            crate::sys::futex::wake(low_half(&self.header.lock), 1, Scope::Shared);
        }
    }
}
