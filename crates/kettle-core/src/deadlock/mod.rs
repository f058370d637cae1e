//! Threads that wait for each other, of whatever process.
//!
//! A thread that has waited for a lock longer than a [`threshold`] enters itself, and who holds the lock, among the
//! session's [`waiters`]. From then on, at the end of each slice of its sleep, it follows *I wait for
//! what he holds, he waits for what she holds …* If that leads back to itself, these threads wait for each other:
//!
//! ```text
//!   waits ──threshold──► entered ──comes back──► suspects, leaves its text ──again, all unchanged──► certain
//!                           ▲◄──────────────── somebody's wait is another, or over ──┘                   │
//!                           └◄── only reports ── [ the one that entered last tells, the others sleep ] ◄─┘
//!                                                                 └── raises: its wait ends
//! ```
//!
//! Whether it raises:
//!
//! ```text
//!   the locks of the circle                               report              raise
//!   all re-entrant                                        at once             at once
//!   some plain, each held for a scope                     (only reports)      at once
//!   a plain one that may be meant for another to leave    (only reports)      reports; PATIENCE thresholds later
//! ```
//!
//! *Why it is true.* Each says when its wait began, and when it last looked who holds its lock. A step from one to the
//! next counts only if that look came after the next one's wait had begun: since then the next one sleeps, and if
//! nobody but the holder may release the lock, he holds it still. All waits are looked at twice, so at any instant
//! between the two looks all steps of the way are true together.
//!
//! *What nobody can know.* Any thread may release a plain lock, now or in an hour, so a circle with one may still open;
//! therefore each must have looked again in between, and by default it is only reported. Where an error is wanted, it
//! counts how the lock was taken: for a scope ([`Lock::acquire_scoped`](crate::sync::Lock::acquire_scoped), what `with`
//! and guards do), and the holder, who waits in the middle of the scope, will leave it at its end; else it may be a
//! baton that somebody else is on the way to hand over, so that one is waited for longer.
//!
//! *What is not followed.* A wait with a time-out ends by itself, so it is no part of a circle, and neither are tasks of
//! an event loop, which do not sleep. A thread that waits for a plain lock that it holds itself may wait for another to release it,
//! which is a common use of such a lock: that counts only if there is no other thread. A plain lock that another thread
//! than its holder has ever released is left out from then on: it goes from hand to hand. All that this costs one who gets
//! his lock within the threshold is, when it is released, a look at whose it was.

mod ended;
mod report;

use core::cell::{Cell, RefCell};
use core::time::Duration;

use crate::arena::waiters::{self, Entry, Waiting};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Holder, Home};
use crate::sys::{Owner, clock, process, thread};
use crate::wait::{Deadline, Patience, Scope};

pub use report::{Deadlock, Ended, Member, Text};

/// What is done about threads that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// One of them is told by an error, whatever their locks are. Where a plain lock was not taken for a scope, it is
    /// reported first, and the error comes only if nobody released the lock for some time after that.
    Raise = 1,
    /// One of them is told by an error if it is certain that none can go on; else it is reported once.
    Report = 2,
    /// Nothing.
    Off = 3,
}

static POLICY: AtomicU32 = AtomicU32::new(Policy::Report as u32);
static THRESHOLD: AtomicU64 = AtomicU64::new(1_000_000_000);

/// What this process does.
pub fn policy() -> Policy {
    match POLICY.load(Ordering::Relaxed) {
        1 => Policy::Raise,
        2 => Policy::Report,
        _ => Policy::Off,
    }
}

/// Says what this process does from now on.
pub fn set_policy(policy: Policy) {
    POLICY.store(policy as u32, Ordering::Relaxed);
}

/// How long a thread waits before it asks whether it will ever end.
pub fn threshold() -> Duration {
    Duration::from_nanos(THRESHOLD.load(Ordering::Relaxed))
}

/// Sets it, for this process.
pub fn set_threshold(threshold: Duration) {
    THRESHOLD.store(u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// What the one who waits tells of itself.
pub trait Teller {
    /// Its name, what it waits for, and where it is. None: somebody wants it to stop waiting.
    fn text(&self) -> Option<Text>;
    /// Reports what was found, once, without stopping. False: somebody wants it to stop waiting.
    fn report(&self, found: &Deadlock) -> bool;
}

/// The lock that is waited for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Who holds the lock.
    pub holder: Holder<'a>,
    /// Whether nobody but its holder may release it.
    pub reentrant: bool,
    /// Whether the thread cannot be refused: a condition's wait takes its lock again in any case.
    pub insists: bool,
}

const REENTRANT: u32 = 1;
const ON_HEAP: u32 = 2;
/// Can be told by an error, if it is certain.
const RAISES: u32 = 4;
/// The same, if it is not.
const RAISES_ALWAYS: u32 = 8;
const IS_ALONE: u32 = 16;

/// In the word that says who holds a lock: until the end of a scope.
const SCOPED: u64 = Owner::FLAG_LOW;

/// For so many thresholds a circle stands, and is reported, before one is refused a lock that another thread might be
/// about to release.
const PATIENCE: u32 = 4;

/// After so many looks a circle is told even if somebody in it has not said where it is.
const LOOKS_FOR_TEXTS: u32 = 10;

/// Runs `acquire`, which waits for what is wanted, and keeps an eye on whether that can ever end.
///
/// # Errors
/// When it cannot, and this thread is the one that is to be told. `acquire` was interrupted then.
pub fn watch<H: Home, T>(
    wanted: &Wanted<'_>,
    teller: &dyn Teller,
    patience: &Patience<'_>,
    acquire: impl FnOnce(&Patience<'_>) -> T,
) -> Result<T, Deadlock> {
    if patience.deadline() != Deadline::NEVER {
        return Ok(acquire(patience));
    }
    let watch = Watch {
        wanted,
        on_heap: H::SCOPE == Scope::Private,
        teller,
        since: clock::now(),
        entry: RefCell::new(None),
        suspected: RefCell::new(Vec::new()),
        first_look: Cell::new(0),
        looks: Cell::new(0),
        has_told: Cell::new(false),
        reported: Cell::new(0),
        ended_since: Cell::new(0),
        found: RefCell::new(None),
    };
    let result = acquire(&patience.watched_by(&|| watch.slept()));
    match watch.found.take() {
        Some(found) => Err(found),
        None => Ok(result),
    }
}

struct Watch<'a> {
    wanted: &'a Wanted<'a>,
    on_heap: bool,
    teller: &'a dyn Teller,
    since: u64,
    entry: RefCell<Option<Entry>>,
    /// The circle of the last look, this thread first.
    suspected: RefCell<Vec<Waiting>>,
    first_look: Cell<u64>,
    looks: Cell<u32>,
    has_told: Cell<bool>,
    /// The number of its own wait, if it reported a circle.
    reported: Cell<u64>,
    /// When it was first seen that the holder has ended; 0: it has not.
    ended_since: Cell<u64>,
    found: RefCell<Option<Deadlock>>,
}

impl Watch<'_> {
    /// At the end of each slice: true ends the wait.
    fn slept(&self) -> bool {
        let policy = policy();
        if policy == Policy::Off || self.wanted.holder.is_passed_on() {
            self.entry.replace(None);
            return false;
        }
        if u128::from(clock::now().saturating_sub(self.since)) < threshold().as_nanos() {
            return false;
        }
        let holder = self.holder();
        if let Some(stop) = self.has_ended(holder, policy) {
            return stop;
        }
        let mut entry = self.entry.borrow_mut();
        if entry.is_none() {
            *entry = Entry::new(thread::number(), self.flags(policy), self.since);
            // What an earlier entry told went with it.
            self.has_told.set(false);
            if entry.is_some() {
                crate::crash_point("deadlock.entered");
            }
        }
        match entry.as_ref() {
            Some(entry) => {
                entry.look(|| self.held_by());
                self.follow(entry)
            }
            None => false,
        }
    }

    fn holder(&self) -> Owner {
        Owner::from_bits(self.held_by())
    }

    /// The bits of the holder, and whether it is [`SCOPED`].
    fn held_by(&self) -> u64 {
        self.wanted.holder.now().map_or(0, |held| held.by.to_bits() | if held.scoped { SCOPED } else { 0 })
    }

    fn flags(&self, policy: Policy) -> u32 {
        let raises = !self.wanted.insists;
        let flags = [
            (self.wanted.reentrant, REENTRANT),
            (self.on_heap, ON_HEAP),
            (raises, RAISES),
            (raises && policy == Policy::Raise, RAISES_ALWAYS),
            (self.on_heap && process::thread_count() == Some(1), IS_ALONE),
        ];
        flags.into_iter().filter_map(|(is_so, flag)| is_so.then_some(flag)).sum()
    }

    fn follow(&self, entry: &Entry) -> bool {
        let circle = entry.read().and_then(circle_from).unwrap_or_default();
        if circle.is_empty() {
            self.suspected.take();
            return false;
        }
        let before = self.suspected.replace(circle.clone());
        let is_the_same = before.len() == circle.len() && before.iter().zip(&circle).all(|(a, b)| a.is(b));
        if !is_the_same {
            self.first_look.set(clock::now());
            self.looks.set(0);
        }
        if !self.has_told.replace(true) {
            match self.teller.text() {
                Some(text) => drop(entry.tell(&text.to_bytes())),
                None => return true,
            }
        }
        if !is_the_same {
            return false;
        }
        self.looks.set(self.looks.get() + 1);
        let certain = circle.iter().all(|w| w.flags & REENTRANT != 0);
        let all_looked_again = circle.iter().all(|w| w.looked > self.first_look.get());
        let all_told = circle.iter().all(Waiting::has_text);
        if !(all_told || self.looks.get() >= LOOKS_FOR_TEXTS) || !(certain || all_looked_again) {
            return false;
        }
        let (teller, raises) = choose(&circle, certain);
        let was_reported = self.reported.get() >= teller.number();
        let raises = raises && (circle.iter().all(is_left_by_its_holder) || was_reported && self.stands_long());
        if !teller.is(&circle[0]) || was_reported && !raises {
            return false;
        }
        // Everything is read: if all are still in the same wait, all of it was true together.
        let members = circle.iter().map(report::member).collect::<Option<Vec<_>>>();
        let unchanged = circle.iter().all(|w| w.again().is_some());
        let Some(members) = members.filter(|_| unchanged) else { return false };
        self.reported.set(teller.number());
        let found = Deadlock::circle(members, certain);
        if raises {
            ended::note_told(&circle[0], &found.members[0].thread);
            self.found.replace(Some(found));
            return true;
        }
        !self.teller.report(&found)
    }

    /// Whether somebody else had time enough to release one of the locks of the circle.
    fn stands_long(&self) -> bool {
        let stands = Duration::from_nanos(clock::now().saturating_sub(self.first_look.get()));
        stands >= threshold().saturating_mul(PATIENCE)
    }
}

/// The way from `first` back to itself; None if it does not lead there.
fn circle_from(first: Waiting) -> Option<Vec<Waiting>> {
    let mut circle = vec![first];
    loop {
        let last = circle[circle.len() - 1];
        let next = waiters::find(|w| is_holder(&last, w))?;
        // Who holds the lock must have been asleep when its holder was looked up.
        if last.looked <= next.since {
            return None;
        }
        if next.is(&first) {
            break;
        }
        // Another circle further on, which is not ours.
        if circle.iter().any(|w| w.is(&next)) {
            return None;
        }
        circle.push(next);
    }
    let waits_for_itself = circle.len() == 1 && first.flags & (REENTRANT | IS_ALONE) == 0;
    (!waits_for_itself).then_some(circle)
}

/// Whether `holder` is the thread that holds what `waiting` waits for.
fn is_holder(waiting: &Waiting, holder: &Waiting) -> bool {
    let named = Owner::from_bits(waiting.holder);
    if waiting.flags & ON_HEAP == 0 {
        return holder.owner == named;
    }
    !named.is_nobody() && holder.participant() == waiting.participant() && holder.thread == named.thread()
}

/// Whether nobody but its holder is to release what `waiting` waits for.
fn is_left_by_its_holder(waiting: &Waiting) -> bool {
    waiting.flags & REENTRANT != 0 || waiting.holder & SCOPED != 0
}

/// Who is to tell, and whether by an error. All members come to the same answer: the last to enter that can be told so;
/// if there is none, the last to enter.
fn choose(circle: &[Waiting], certain: bool) -> (Waiting, bool) {
    let raises = |w: &&Waiting| w.flags & if certain { RAISES } else { RAISES_ALWAYS } != 0;
    match circle.iter().filter(raises).max_by_key(|w| w.number()) {
        Some(&told) => (told, true),
        None => (circle.iter().max_by_key(|w| w.number()).copied().unwrap_or(circle[0]), false),
    }
}
