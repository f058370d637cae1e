//! Threads that wait for each other, of whatever process.
//!
//! A thread that has waited for a lock longer than a [`threshold`] enters itself, and who holds the lock, among the
//! session's [`waiters`]. From then on, at the end of each slice of its sleep, it follows *I wait for
//! what he holds, he waits for what she holds …* If that leads back to itself, these threads wait for each other:
//!
//! ```text
//!   waits ──threshold──► entered ──comes back──► suspects, leaves its text ──again, all unchanged──► found
//!                           ▲◄──────────────── a wait is another, or over ──────────┘                   │
//!                           └◄── only reports ── [ the one that entered last tells, the others sleep ] ◄─┘
//!                                                                 └── raises: its wait ends
//! ```
//!
//! Whether it raises:
//!
//! ```text
//!   the locks of the circle                                  where reports are asked for     where errors are
//!   all re-entrant                                           raises                          raises
//!   some plain, each in a scope that its holder waits in     reports                         raises
//!   a plain one of which that is not known                   reports                         reports, and raises
//!                                                                                            when no thread is left
//! ```
//!
//! *How often.* A slice is a fifth of a second until all is settled, a second after the threshold, and again as long as
//! there is a suspicion. A thread that suspects nothing looks once a second; if many wait for the same lock of a process, as
//! many of them as are needed for 64 looks a second. The thread that comes last makes the circle: its looks are fresh, and
//! where it needs a look of another thread of its process that looks seldom, it calls that one.
//!
//! *Why it is true.* Each says when its wait began, and when it last looked who holds its lock. A step from one to the
//! next counts only if that look came after the next one's wait had begun: since then the next one sleeps, and if
//! nobody but the holder may release the lock, he holds it still. All waits are looked at twice, so at any instant
//! between the two looks all steps of the way are true together.
//!
//! *What is certain.* A circle says who took the locks, and not who will release them: any thread may release a plain
//! lock, now or in an hour. So a plain lock counts for an error only if its holder is the one that will release it, and
//! cannot before its own wait ends: it waits in the middle of a scope. A guard says so by the mark that
//! [`Lock::acquire_scoped`](crate::sync::Lock::acquire_scoped) leaves. A language whose scopes can be left by another
//! thread than the one that entered (a suspended generator holds one, and goes on wherever it is resumed) has its
//! [`Teller`] list the scopes that are on the waiting thread's own stack: those that nothing but its going on will end.
//! For what is held in any other way, an error comes only if there is no thread left that could release it.
//! Else the circle is reported once, and all wait on.
//!
//! *What is not followed.* A wait with a time-out ends by itself, so it is no part of a circle, and neither are tasks of
//! an event loop, which do not sleep. A thread that waits for a plain lock that it holds itself may wait for another to
//! release it, which is a common use of such a lock: that counts only if it lists a scope of that lock, or if there is no
//! other thread. It is an error only if it wants the lock for a scope, too: after a `release` by another thread the end of
//! the second scope would leave nothing for the end of the first, but a lock that is wanted by itself may be given back by
//! the end of the scope around it. A plain lock that another thread than its holder has ever released is left out from then
//! on: it goes from hand to hand. All that this costs one who gets his lock within the threshold is, when it is released, a
//! look at whose it was.

mod ended;
mod report;
mod standstill;

use core::cell::{Cell, RefCell};
use core::time::Duration;

use crate::arena::waiters::{self, Entry, Said, Waiting};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Holder, Home};
use crate::sys::{Owner, clock, process, thread};
use crate::wait::{Deadline, Next, Patience, Scope, Watcher};

pub use report::{Deadlock, Ended, Member, Text};

use standstill::{Left, Standstill};

/// What is done about threads that wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// One of them is told by an error if none can go on: nobody but its holder may release the lock, or its holder waits
    /// in the middle of the scope that will, or there is no thread left to do it. Else it is reported once.
    Raise = 1,
    /// One of them is told by an error if nobody but the holders may release their locks; else it is reported once.
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

    /// Whether the mark of a scope in a lock says that its holder, a thread such as this, will leave it. If not, this
    /// thread lists its [`scopes`](Self::scopes).
    fn trusts_marks(&self) -> bool {
        true
    }

    /// A number for the lock that it waits for, by which others may list that lock; 0 is none.
    fn wants(&self) -> u64 {
        0
    }

    /// The locks whose scopes this thread waits in the middle of, by their numbers.
    fn scopes(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Whether something else than its going on may end these scopes: a signal handler, which runs on top of them.
    fn may_be_interrupted(&self) -> bool {
        false
    }

    /// Whether this process may run a signal handler that releases a lock.
    fn has_handlers(&self) -> bool {
        false
    }

    /// If the main thread waits for other threads to end, and no signal would have it do anything else: a number that
    /// stays the same while it does.
    fn main_thread_waits(&self) -> Option<u64> {
        None
    }
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
    /// Whether the end of a scope will give it back.
    pub scoped: bool,
}

const REENTRANT: u32 = 1;
const ON_HEAP: u32 = 2;
/// Can be told by an error, if it is certain.
const RAISES: u32 = 4;
/// The same, if it is not.
const RAISES_ALWAYS: u32 = 8;
const IS_ALONE: u32 = 16;
/// Holds for a scope what is marked so.
const TRUSTS_MARKS: u32 = 32;

/// In the word that says who holds a lock: until the end of a scope.
const SCOPED: u64 = Owner::FLAG_LOW;

/// After so many looks a circle is told even if somebody in it has not said where it is.
const LOOKS_FOR_TEXTS: u32 = 10;
/// After so many looks at the same circle there is no hurry: it is told, or another thread is about to.
const MANY_LOOKS: u32 = 2 * LOOKS_FOR_TEXTS;

/// A thread that does not suspect anything looks so often.
const PAUSE: Duration = Duration::from_secs(1);
/// Of those who wait for the same lock of this process, so many look in such a pause: one that has a reason calls others.
const LOOK_IN_A_PAUSE: u32 = 64;
/// For so long a thread looks often, in nanoseconds, once it has waited for the threshold: a circle has just come about.
const SETTLING: u64 = 1_000_000_000;
/// A thread that has not looked for so long, in nanoseconds, does not by itself.
const LATE: u64 = 300_000_000;

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
        is_nested: Cell::new(false),
        reported: Cell::new(0),
        ended_since: Cell::new(0),
        standstill: RefCell::new(None),
        found: RefCell::new(None),
    };
    let result = acquire(&patience.watched_by(&watch));
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
    /// Whether it waits in the middle of a scope of the very lock, by its own list. A mark does not say so: a guard may
    /// have gone to another thread, which will drop it.
    is_nested: Cell<bool>,
    /// The number of its own wait, if it reported a circle.
    reported: Cell<u64>,
    /// When it was first seen that the holder has ended, and others may help; 0: it is not so.
    ended_since: Cell<u64>,
    /// Since when all threads are seen to wait.
    standstill: RefCell<Option<Standstill>>,
    found: RefCell<Option<Deadlock>>,
}

impl Watcher for Watch<'_> {
    fn look(&self) -> Next {
        let policy = policy();
        if policy == Policy::Off || self.wanted.holder.is_passed_on() {
            self.entry.replace(None);
            return Next::Later(self.pause());
        }
        let (waited, threshold) = (clock::now().saturating_sub(self.since), threshold());
        let until_then = threshold.saturating_sub(Duration::from_nanos(waited));
        if !until_then.is_zero() {
            return Next::Later(until_then.min(PAUSE));
        }
        let mut entry = self.entry.borrow_mut();
        if entry.is_none() {
            let sleeps_on = self.on_heap.then(|| self.wanted.holder.sleepers_word());
            *entry = Entry::new(thread::number(), self.flags(policy), self.since, sleeps_on);
            // What an earlier entry told went with it.
            self.has_told.set(false);
            if entry.is_some() {
                crate::crash_point("deadlock.entered");
            }
        }
        if let Some(entry) = entry.as_ref() {
            entry.look(|| self.held_by());
        }
        if let Some(next) = self.has_ended(self.holder(), policy) {
            return next;
        }
        match entry.as_ref().map_or(Next::Later(self.pause()), |entry| self.follow(entry)) {
            Next::Later(_) if u128::from(waited) < threshold.as_nanos() + u128::from(SETTLING) => Next::Soon,
            next => next,
        }
    }

    fn is_called(&self) -> bool {
        self.entry.borrow().as_ref().is_some_and(Entry::is_called)
    }
}

impl Watch<'_> {
    /// How long this thread may sleep while it suspects nothing.
    fn pause(&self) -> Duration {
        let looking = if self.on_heap { self.wanted.holder.sleepers() } else { 0 };
        PAUSE * (looking / LOOK_IN_A_PAUSE).max(1)
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
            (self.teller.trusts_marks(), TRUSTS_MARKS),
        ];
        flags.into_iter().filter_map(|(is_so, flag)| is_so.then_some(flag)).sum()
    }

    fn follow(&self, entry: &Entry) -> Next {
        let later = Next::Later(self.pause());
        let circle = entry.read().and_then(circle_from).unwrap_or_default();
        if circle.is_empty() {
            self.suspected.take();
            return later;
        }
        let before = self.suspected.replace(circle.clone());
        let is_the_same = before.len() == circle.len() && before.iter().zip(&circle).all(|(a, b)| a.is(b));
        if !is_the_same {
            self.first_look.set(clock::now());
            self.looks.set(0);
        }
        if !self.has_told.replace(true) {
            match self.teller.text() {
                Some(text) => self.tell(entry, &text),
                None => return Next::Stop,
            }
        }
        if !is_the_same {
            return Next::Soon;
        }
        self.looks.set(self.looks.get().saturating_add(1));
        let again = if self.looks.get() < MANY_LOOKS { Next::Soon } else { later };
        let certain = circle.iter().all(|w| w.flags & REENTRANT != 0);
        let all_looked_again = circle.iter().all(|w| w.looked > self.first_look.get());
        let all_told = circle.iter().all(Waiting::has_text);
        if !(all_told || self.looks.get() >= LOOKS_FOR_TEXTS) || !(certain || all_looked_again) {
            call_late(|late| circle.iter().any(|w| w.is(late)));
            return again;
        }
        let (teller, may_raise) = choose(&circle, certain);
        if !teller.is(&circle[0]) {
            return again;
        }
        let waits_for_itself = circle.len() == 1 && circle[0].flags & (REENTRANT | IS_ALONE) == 0;
        let is_nested = self.is_nested.get();
        let is_left = are_left_by_their_holders(&circle) && (!waits_for_itself || is_nested && self.wanted.scoped);
        let none_is_left = match may_raise && !is_left {
            true => self.who_is_left(),
            false => Left::AThread,
        };
        if waits_for_itself && !is_nested && none_is_left != Left::NoThread {
            return if none_is_left == Left::Perhaps { again } else { later };
        }
        let raises = may_raise && (none_is_left == Left::NoThread || is_left);
        let was_reported = self.reported.get() >= teller.number();
        if !raises && (was_reported || none_is_left == Left::Perhaps) {
            return again;
        }
        // Everything is read: if all are still in the same wait, all of it was true together.
        let members = circle.iter().map(report::member).collect::<Option<Vec<_>>>();
        let unchanged = circle.iter().all(|w| w.again().is_some());
        let Some(members) = members.filter(|_| unchanged) else { return again };
        self.reported.set(teller.number());
        let is_taken_twice = members.len() == 1 && is_left && self.wanted.scoped;
        let found = Deadlock::circle(members, certain || none_is_left == Left::NoThread || is_taken_twice);
        if raises {
            ended::note_told(&circle[0], &found.members[0].thread);
            self.found.replace(Some(found));
            return Next::Stop;
        }
        if self.teller.report(&found) { again } else { Next::Stop }
    }

    fn tell(&self, entry: &Entry, text: &Text) {
        let (text, wants, all) = (text.to_bytes(), self.teller.wants(), self.teller.scopes());
        self.is_nested.set(wants != 0 && all.contains(&wants));
        let scopes = if self.teller.may_be_interrupted() { &[][..] } else { &all };
        // Without room for it the scopes are unknown to the others, so nothing is certain for them.
        let _ = entry.tell(&Said { text: &text, wants, scopes });
    }
}

/// Has those of this process look that would not do so soon by themselves, and for which `is` holds.
fn call_late(is: impl Fn(&Waiting) -> bool) {
    let now = clock::now();
    waiters::call(|wait| now.saturating_sub(wait.looked) > LATE && is(wait));
}

/// The way from `first` back to itself; None if it does not lead there.
fn circle_from(first: Waiting) -> Option<Vec<Waiting>> {
    let mut circle = vec![first];
    loop {
        let last = circle[circle.len() - 1];
        let next = waiters::find(|w| is_holder(&last, w))?;
        // Who holds the lock must have been asleep when its holder was looked up.
        if last.looked <= next.since {
            call_late(|late| last.is(late));
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
    Some(circle)
}

/// Whether `holder` is the thread that holds what `waiting` waits for.
fn is_holder(waiting: &Waiting, holder: &Waiting) -> bool {
    let named = Owner::from_bits(waiting.holder);
    if waiting.flags & ON_HEAP == 0 {
        return holder.owner == named;
    }
    !named.is_nobody() && holder.participant() == waiting.participant() && holder.thread == named.thread()
}

/// Whether each of the locks is released by its holder alone, and not before the holder's own wait is over.
fn are_left_by_their_holders(circle: &[Waiting]) -> bool {
    let holders = circle.iter().cycle().skip(1);
    circle.iter().zip(holders).all(|(waiting, holder)| {
        waiting.flags & REENTRANT != 0
            || holder.flags & TRUSTS_MARKS != 0 && waiting.holder & SCOPED != 0
            || waiting.wants().is_some_and(|lock| holder.is_in_scope_of(lock))
    })
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
