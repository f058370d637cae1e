//! Locks whose holder has ended, while its process goes on.
//!
//! Only its holder may release a re-entrant lock, so a thread that waits for it waits for ever. A plain lock may have been
//! taken for another thread to release, a gate that a starter shuts, so as long as there is one that could, nothing is said. Where
//! [none is left](super::standstill), or this thread is the process's only one and has no signal handlers, it is told: by
//! an error if errors are wanted for plain locks. It is reported, too, if the holder ended after it was told of a
//! deadlock: then the error went on to end the thread, and no one meant that lock to stay behind.

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

/// For so long a process may be about to end that lost a thread, and a thread that was told of a deadlock.
const ENDING: u64 = 1_000_000_000;

/// Of many who wait for the same lock one after another is told, so far apart: each may well end with a traceback, and
/// people are to read those.
const APART: u64 = 15_000_000;
/// Nobody is told later than this for that.
const PATIENCE: u64 = 500_000_000;

/// What this process knows of its own threads and locks.
#[derive(Default)]
struct Known {
    /// Threads that were told of a deadlock by an error: by both their numbers, what each called itself.
    told: HashMap<u64, String>,
    /// Locks, and their holders, of which it was reported that the holder has ended.
    reported: HashSet<(usize, u64)>,
    /// When the next one may be told by an error.
    next_turn: u64,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

fn known<R>(f: impl FnOnce(&mut Known) -> R) -> R {
    let mut known: MutexGuard<'_, _> = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    f(known.get_or_insert_default())
}

/// This thread is told of a deadlock by an error.
pub(super) fn note_told(me: &Waiting, name: &str) {
    told(me.owner, me.thread, name);
}

fn told(owner: Owner, thread: u32, name: &str) {
    let numbers = [owner.to_bits(), Owner::new(0, 0, thread).to_bits()];
    known(|k| k.told.extend(numbers.map(|number| (number, name.to_owned()))));
}

/// Sleeps until it is this thread's turn to be told.
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
    /// Whether it is so long since what this thread sees of the holder's end was seen first.
    fn has_been_so_for(&self, nanoseconds: u64) -> bool {
        let now = clock::now();
        if self.ended_since.get() == 0 {
            self.ended_since.set(now);
        }
        now - self.ended_since.get() >= nanoseconds
    }

    /// Whether anything in this process could release the lock in the holder's place.
    fn who_helps(&self) -> Left {
        let is_alone = || process::thread_count() == Some(1) && !self.teller.has_handlers();
        match self.on_heap {
            _ if self.wanted.reentrant => Left::NoThread,
            true if is_alone() => Left::NoThread,
            true => self.who_is_left(),
            false => Left::AThread,
        }
    }

    /// None: the holder lives. Else what to do next.
    pub(super) fn has_ended(&self, holder: Owner, policy: Policy) -> Option<Next> {
        let (pid, tid) = if holder.is_nobody() {
            return None;
        } else if self.on_heap {
            (process::id(), thread::kernel_id(holder.thread()))
        } else {
            (participants::pid_of(holder)?, holder.thread())
        };
        // It may have released the lock just before it ended.
        if process::thread_exists(pid, tid) || self.holder() != holder {
            self.ended_since.set(0);
            return None;
        }
        let later = Some(Next::Later(self.pause()));
        // A process that ends loses one thread after another, and the lock's own way to tell of its death comes then.
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
            // A plain lock may have been released meanwhile; or another one was told, and may be about to do that.
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
