//! `fork`, done exactly.
//!
//! A forked child has all handles that its parent had, so it must be a holder of each object before the parent can
//! release it. The handlers that the C library runs around every `fork` ensure that: before the fork, a row is reserved
//! for the child, and everything held here is held for it too; in the child, the row is taken.
//!
//! A caller that needs the child's ticket (to name the child in tokens, or to report that it was reaped) gets it from
//! [`before_fork`]; the handlers then use that ticket. Children created without the C library's handlers (by a plain
//! `clone`) register by themselves at first use, and become holders of what still exists then.

use core::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::atomics::{AtomicBool, Ordering};
use crate::sys::process;

use crate::arena::held;
use crate::arena::layout::participant::Ticket;
use crate::arena::membership;
use crate::arena::participants;
use crate::arena::segment;

thread_local! {
    /// Reserved by [`before_fork`] for the fork that this thread is about to make.
    static ASKED_FOR: Cell<Option<Ticket>> = const { Cell::new(None) };
    /// Set while this thread is between the handlers, with the locks held.
    static UNDER_WAY: Cell<Option<UnderWay>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct UnderWay {
    /// The ticket for the child; None if the table of participants is full.
    ticket: Option<Ticket>,
}

/// The ticket of the child that this thread is about to fork. None if there is no session.
///
/// Must be followed by [`after_fork_parent`] and [`after_fork_child`], or by [`release`](participants::release). If the
/// parent cannot tell which child it was, the row is freed some seconds after a child died without taking it.
pub fn before_fork() -> Option<Ticket> {
    segment::header_if_any()?;
    let ticket = membership::expect_child().ok()?;
    ASKED_FOR.set(Some(ticket));
    Some(ticket)
}

/// Sets the ticket of the child that this thread forks next, after a signal handler forked between [`before_fork`] and
/// the fork itself.
pub fn is_about_to_fork(ticket: Option<Ticket>) {
    ASKED_FOR.set(ticket);
}

/// In the parent, after the fork: records which process is the child.
pub fn after_fork_parent(ticket: Ticket, child: u32) {
    ASKED_FOR.set(None);
    participants::child_started(ticket, child);
}

/// In the child, after the fork: takes its row, if the handlers have not done so.
///
/// # Errors
/// If the row was given up in the meantime.
pub fn after_fork_child(ticket: Ticket) -> Result<(), crate::arena::ArenaError> {
    ASKED_FOR.set(None);
    membership::adopt(ticket)
}

/// Installs the handlers, which run around every fork from now on. Called before the first session of this process
/// begins, by the thread that holds [`segment::JOINING`]; forked children inherit the handlers, and this flag with
/// them.
pub(in crate::arena) fn install_handlers() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.load(Ordering::Relaxed) {
        // Handlers run in the order of their registration, so in a child the new epoch begins before ours run.
        process::epoch();
        // If this fails (no memory for three pointers), children register by themselves at first use.
        let _ = process::at_fork(prepare, parent, child);
        INSTALLED.store(true, Ordering::Relaxed);
    }
}

extern "C" fn prepare() {
    if segment::header_if_any().is_none() {
        return;
    }
    // Registers the parent, so that the child does not take itself to be alone. If this fails, the child gets no row
    // either.
    caught(|| membership::try_me().ok());
    let ticket = caught(|| ASKED_FOR.take().or_else(|| membership::expect_child().ok())).flatten();
    core::mem::forget(segment::JOINING.lock());
    held::lock_before_fork();
    UNDER_WAY.set(Some(UnderWay { ticket }));
    if let Some(ticket) = ticket {
        // SAFETY: the lock was acquired above.
        let held = caught(|| unsafe { held::hold_all_for(ticket.participant()) });
        if held.is_none() {
            // As if the table were full: the child registers by itself at first use.
            UNDER_WAY.set(Some(UnderWay { ticket: None }));
            caught(|| participants::release(ticket));
        }
    }
}

extern "C" fn parent() {
    unlock(false);
}

extern "C" fn child() {
    if let Some(UnderWay { ticket: Some(ticket) }) = UNDER_WAY.get() {
        // If this fails, the child registers by itself at first use.
        let _ = caught(|| membership::adopt_locked(ticket));
    }
    unlock(true);
}

/// The handlers are called by the C library, through which no panic may propagate. None if `body` panicked.
fn caught<R>(body: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}

/// Undoes what [`prepare`] did, if it did anything: a session may have begun in another thread since.
fn unlock(in_child: bool) {
    if UNDER_WAY.take().is_some() {
        // SAFETY: `prepare` acquired both in this thread, or in the one that this process was forked from.
        unsafe {
            held::unlock_after_fork(in_child);
            if in_child {
                segment::JOINING.unlock_in_child();
            } else {
                segment::JOINING.unlock_forgotten();
            }
        }
    }
}
