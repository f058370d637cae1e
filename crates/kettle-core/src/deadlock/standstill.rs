//! Whether no thread of this process can go on, so that no lock on its heap is ever released again.
//!
//! A plain lock may be released by any thread, so a circle of these stands for certain only if there is no thread that
//! could do it. That is so where all threads of the process wait for locks on the heap, without a time-out, except the
//! main one, which waits for the others to end: what is on the heap nobody else can reach. As everywhere here it is
//! looked at twice, and all must have looked again who holds their locks in between: then all of them slept at one
//! instant, and from then on none could wake another.
//!
//! A thread that does anything else (sleeps, waits for an event, is of an extension that has threads of its own) may be
//! about to help, and so may a signal handler: then nothing is certain.

use crate::arena::participants::{self, Participant};
use crate::arena::waiters::{self, Waiting};
use crate::sys::{Owner, clock, process};

use super::{ON_HEAP, Watch, call_late};

/// What was seen when all threads were seen to wait.
pub(super) struct Standstill {
    /// When this was seen first.
    since: u64,
    /// All waits but the main thread's.
    waits: Vec<Waiting>,
    /// What the main thread waits in.
    main: u64,
}

/// What is known of the threads of this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// None can go on.
    NoThread,
    /// All seem to wait; the next looks tell.
    Perhaps,
    /// One may go on.
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
    /// Whether a thread of this process may go on.
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
            |w: &Waiting| w.participant() == me && w.flags & ON_HEAP != 0 && !Owner::from_bits(w.holder).is_nobody();
        let waits: Vec<Waiting> = waiters::those(is_stuck).collect();
        // The main thread waits for no lock.
        (process::thread_count()? == waits.len() + 1).then_some(())?;
        let main = self.teller.main_thread_waits()?;
        Some(Standstill { since: clock::now(), waits, main })
    }
}
