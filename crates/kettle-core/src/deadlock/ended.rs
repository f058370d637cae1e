//! Locks whose holder has ended while its process lives on.
//!
//! Only its holder may release a re-entrant lock, so a thread that waits for such a lock would wait forever. A plain
//! lock may have been acquired for another thread to release (a gate that a starter closes), so nothing is reported
//! while a thread exists that could release it. If [none is left](super::standstill), or if this thread is the only one
//! of its process and there are no signal handlers, the wait is reported: by an error if the policy asks for errors on
//! plain locks. It is also reported if the holder ended after a deadlock error had been raised in it: then the error
//! went on to end the thread, and the lock was hardly meant to stay held.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::arena::participants;
use crate::arena::waiters::Waiting;
use crate::sys::{Owner, clock, process, thread};
use crate::wait::Next;

use super::report::{Ended, Member};
use super::standstill::Left;
use super::{Deadlock, Policy, Watch, call_late};

/// How long, in nanoseconds, a process that lost a thread may take to end, as may a thread that received a deadlock
/// error.
const ENDING: u64 = 1_000_000_000;

/// When many threads wait for the same lock, the minimum distance of their errors in nanoseconds. Each may end with a
/// traceback, and those should be readable.
const APART: u64 = 15_000_000;
/// The maximum delay of an error for that reason.
const PATIENCE: u64 = 500_000_000;

/// What this process knows about its own threads and locks.
#[derive(Default)]
struct Known {
    /// Threads that received a deadlock error: their names, by both of their numbers.
    told: HashMap<u64, String>,
    /// Locks whose holder's end was reported, with that holder.
    reported: HashSet<(usize, u64)>,
    /// When the next error may be raised.
    next_turn: u64,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known<R>(f: impl FnOnce(&mut Known) -> R) -> R {
    let mut known: MutexGuard<'_, _> = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    f(known.get_or_insert_default())
}

/// Records that this thread receives a deadlock error.
pub(super) fn note_told(me: &Waiting, name: &str) {
    told(me.owner, me.thread, name);
}

fn told(owner: Owner, thread: u32, name: &str) {
    let numbers = [owner.to_bits(), Owner::new(0, 0, thread).to_bits()];
    known(|k| k.told.extend(numbers.map(|number| (number, name.to_owned()))));
}

/// Sleeps until this thread may raise its error.
fn wait_for_turn() {
    let now = clock::now();
    let turn = known(|k| {
        let turn = k.next_turn.clamp(now, now + PATIENCE);
        k.next_turn = turn + APART;
        turn
    });
    std::thread::sleep(Duration::from_nanos(turn - now));
}

impl Watch<'_> {
    /// Whether the holder's end was first seen at least this long ago.
    fn has_been_so_for(&self, nanoseconds: u64) -> bool {
        let now = clock::now();
        if self.ended_since.get() == 0 {
            self.ended_since.set(now);
        }
        now - self.ended_since.get() >= nanoseconds
    }

    /// Whether anything in this process could release the lock on the holder's behalf.
    fn who_helps(&self) -> Left {
        let is_alone = || process::thread_count() == Some(1) && !self.teller.has_handlers();
        match self.on_heap {
            _ if self.wanted.reentrant => Left::NoThread,
            true if is_alone() => Left::NoThread,
            true => self.who_is_left(),
            false => Left::AThread,
        }
    }

    /// None if the holder is alive; otherwise what to do next.
    pub(super) fn has_ended(&self, holder: Owner, policy: Policy) -> Option<Next> {
        let (pid, tid) = if holder.is_none() {
            return None;
        } else if self.on_heap {
            (process::id(), thread::kernel_id(holder.thread()))
        } else {
            (participants::pid_of(holder)?, holder.thread())
        };
        // The holder may have released the lock just before it ended.
        if process::thread_exists(pid, tid) || self.holder() != holder {
            self.ended_since.set(0);
            return None;
        }
        let later = Some(Next::Later(self.pause()));
        // A process that is ending loses one thread after another; once it is gone, the lock itself reports the death.
        if pid != process::id() && !self.has_been_so_for(ENDING) {
            return Some(Next::Soon);
        }
        let told_as = known(|k| k.told.get(&holder.to_bits()).cloned());
        let who_helps = self.who_helps();
        let certain = who_helps == Left::NoThread;
        if who_helps == Left::Perhaps {
            self.ended_since.set(0);
            return Some(Next::Soon);
        }
        if !certain && told_as.is_none() {
            return later;
        }
        if !certain && !self.has_been_so_for(ENDING) {
            return Some(Next::Soon);
        }
        if self.on_heap {
            call_late(|wait| Owner::from_bits(wait.holder) == holder);
        }
        let raises = certain && (self.wanted.reentrant || policy == Policy::Raise) && !self.wanted.insists;
        let place = self.wanted.holder.place();
        if !raises && !known(|k| k.reported.insert((place, holder.to_bits()))) {
            return later;
        }
        if raises {
            wait_for_turn();
            // In the meantime a plain lock may have been released, or another thread may have received an error and be
            // about to release it.
            if self.holder() != holder || self.who_helps() != Left::NoThread {
                return Some(Next::Soon);
            }
        }
        let Some(text) = self.teller.text() else { return Some(Next::Stop) };
        let me = participants::try_me().unwrap_or(Owner::new(0, 0, process::thread_id()));
        let mut member = Member::new(me, text);
        member.pid = process::id();
        if raises {
            told(me, thread::number(), &member.thread);
        }
        let found = Deadlock { members: vec![member], certain, ended: Some(Ended { pid, tid, told_as }) };
        if raises {
            self.found.replace(Some(found));
            return Some(Next::Stop);
        }
        if self.teller.report(&found) { later } else { Some(Next::Stop) }
    }
}
