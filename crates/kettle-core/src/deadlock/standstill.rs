//! Whether no thread of this process can continue, so that no lock on its heap is ever released again.
//!
//! Any thread may release a plain lock, so a cycle of plain locks is certain only if no thread is left to do that. This
//! is so when all threads of the process wait for locks on the heap without a timeout, except the main thread, which
//! waits for the others to end; no other process can reach the heap. As everywhere in this module, the state is checked
//! twice, with all threads looking up their locks' holders in between. All of them were then asleep at one instant, and
//! from then on none could wake another.
//!
//! A thread that does anything else (sleeps, waits for an event, or belongs to an extension with threads of its own)
//! may be about to help, and so may a signal handler. In that case nothing is certain.

use crate::arena::participants::{self, Participant};
use crate::arena::waiters::{self, Waiting};
use crate::sys::{Owner, clock, process};

use super::{ON_HEAP, Watch, call_late};

/// The state in which all threads were seen to wait.
pub(super) struct Standstill {
    /// When it was first seen.
    since: u64,
    /// All waits except the main thread's.
    waits: Vec<Waiting>,
    /// The number of the main thread's wait.
    main: u64,
}

/// What is known about the threads of this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// No thread can continue.
    NoThread,
    /// All threads seem to wait; further looks will show.
    Perhaps,
    /// Some thread may continue.
    AThread,
}

impl Standstill {
    fn is(&self, other: &Self) -> bool {
        self.main == other.main
            && self.waits.len() == other.waits.len()
            && self.waits.iter().zip(&other.waits).all(|(a, b)| a.is(b))
    }
}

impl Watch<'_> {
    /// Whether a thread of this process may continue.
    pub(super) fn who_is_left(&self) -> Left {
        let Some(now) = self.standstill_now() else {
            self.standstill.take();
            return Left::AThread;
        };
        let mut before = self.standstill.borrow_mut();
        match before.as_ref().filter(|before| before.is(&now)) {
            Some(before) if now.waits.iter().all(|wait| wait.looked > before.since) => Left::NoThread,
            Some(before) => {
                call_late(|wait| wait.looked <= before.since && before.waits.iter().any(|w| w.is(wait)));
                Left::Perhaps
            }
            None => {
                *before = Some(now);
                Left::Perhaps
            }
        }
    }

    fn standstill_now(&self) -> Option<Standstill> {
        let me = Participant::of(participants::me_if_any()?);
        let is_stuck =
            |w: &Waiting| w.participant() == me && w.flags & ON_HEAP != 0 && !Owner::from_bits(w.holder).is_none();
        let waits: Vec<Waiting> = waiters::those(is_stuck).collect();
        // The main thread waits for no lock.
        (process::thread_count()? == waits.len() + 1).then_some(())?;
        let main = self.teller.main_thread_waits()?;
        Some(Standstill { since: clock::now(), waits, main })
    }
}
