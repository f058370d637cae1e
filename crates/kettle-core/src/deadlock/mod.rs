//! Deadlock detection: cycles of threads that wait for each other, within and across processes.
//!
//! A thread that has waited for a lock longer than a [`threshold`] enters itself, with the lock's holder, in the
//! session's list of [`waiters`]. From then on, at the end of each slice of its sleep, it follows the chain of holders:
//! it waits for its holder, which waits for another holder, and so on. If the chain leads back to the thread, these
//! threads are waiting for each other:
//!
//! ```text
//!   waits ──threshold──► entered ──cycle seen──► suspects, stores its text ──seen again unchanged──► found
//!                           ▲◄──────────────── some wait changed or ended ──────────┘                   │
//!                           └◄── only reports ── [ the last to enter reports, while the others sleep ] ◄─┘
//!                                                                 └── raises: its wait ends
//! ```
//!
//! Whether it raises:
//!
//! ```text
//!   the locks of the cycle                                   policy `Report`     policy `Raise`
//!   all re-entrant                                           raises              raises
//!   some plain, each in a scope that its holder waits in     reports             raises
//!   some plain, for at least one of which that is unknown    reports             reports; raises if no thread is left
//!                                                                                that could release it
//! ```
//!
//! *Frequency.* Slices last a fifth of a second until one second after the threshold, by which time everything has
//! settled, and again while there is a suspicion. A thread without a suspicion looks once a second; if many threads of
//! a process wait for the same lock, they share 64 looks a second. The thread that comes last completes the cycle, and
//! it looks often; if it needs a look from another thread of its process that looks rarely, it calls that thread.
//!
//! *Correctness.* Each entry records when its wait began, and when its thread last looked up the lock's holder. A step
//! from one thread to the next counts only if that lookup came after the next thread's wait had begun. Since then the
//! next thread has been asleep, so if only the holder may release the lock, it still holds it. All waits are checked
//! twice, so at every instant between the two checks all steps of the cycle hold at once.
//!
//! *Certainty.* A cycle shows which threads acquired the locks, not which will release them: any thread may release a
//! plain lock, now or in an hour. A plain lock therefore justifies an error only if its holder is the one that will
//! release it, and cannot do so before its own wait ends, because it waits in the middle of a scope. A guard declares
//! this by the mark that [`Lock::acquire_scoped`](crate::sync::Lock::acquire_scoped) sets. In a language whose scopes
//! can be left by another thread than the one that entered (a suspended generator holds one, and continues wherever it
//! is resumed), the [`Teller`] lists the scopes on the waiting thread's own stack, which only that thread can end by
//! continuing. For locks held in any other way, an error is raised only if no thread is left that could release them.
//! Otherwise the cycle is reported once, and all threads wait on.
//!
//! *Exclusions.* A wait with a timeout ends by itself, so it is not part of a cycle, and neither are the tasks of an
//! event loop, which do not sleep. A thread that waits for a plain lock that it holds itself may be waiting for another
//! thread to release it, which is a common use of such a lock. That counts only if it lists a scope of that lock, or if
//! there is no other thread; and it is an error only if the thread wants the lock for a scope, too. After a `release`
//! by another thread, the end of the second scope would leave nothing for the end of the first to release, whereas a
//! lock acquired outside a scope may be released by the end of the scope around it. A plain lock that was ever released
//! by a thread other than its holder is ignored from then on, since it serves as a signal between threads. For a thread
//! that gets its lock within the threshold, the only cost of all this is one comparison at release, of the holder with
//! the caller.

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

/// How cycles of waiting threads are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// One thread gets an error if no thread can continue: only the holders may release the locks, or each holder waits
    /// in the middle of the scope that will, or no thread is left that could. Otherwise the cycle is reported once.
    Raise = 1,
    /// One thread gets an error if only the holders may release their locks; otherwise the cycle is reported once.
    Report = 2,
    /// No detection.
    Off = 3,
}

static POLICY: AtomicU32 = AtomicU32::new(Policy::Report as u32);
static THRESHOLD: AtomicU64 = AtomicU64::new(1_000_000_000);

/// The policy of this process.
pub fn policy() -> Policy {
    match POLICY.load(Ordering::Relaxed) {
        1 => Policy::Raise,
        2 => Policy::Report,
        _ => Policy::Off,
    }
}

/// Sets the policy of this process.
pub fn set_policy(policy: Policy) {
    POLICY.store(policy as u32, Ordering::Relaxed);
}

/// How long a thread waits before it starts looking for a cycle.
pub fn threshold() -> Duration {
    Duration::from_nanos(THRESHOLD.load(Ordering::Relaxed))
}

/// Sets the threshold of this process.
pub fn set_threshold(threshold: Duration) {
    THRESHOLD.store(u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// What a waiting thread discloses about itself.
pub trait Teller {
    /// The thread's name, what it waits for, and where it is. None if the thread is to stop waiting.
    fn text(&self) -> Option<Text>;
    /// Reports a finding, once, and waits on. False if the thread is to stop waiting.
    fn report(&self, found: &Deadlock) -> bool;

    /// Whether the scope mark on a lock held by a thread of this kind means that the thread itself will release it.
    /// Otherwise the thread lists its [`scopes`](Self::scopes).
    fn trusts_marks(&self) -> bool {
        true
    }

    /// A number by which other threads can list the lock that this thread waits for; 0 for none.
    fn wants(&self) -> u64 {
        0
    }

    /// The numbers of the locks in whose scopes this thread is waiting.
    fn scopes(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Whether anything other than this thread's continuing may end these scopes: a signal handler, which runs on top
    /// of them.
    fn may_be_interrupted(&self) -> bool {
        false
    }

    /// Whether this process may run a signal handler that releases a lock.
    fn has_handlers(&self) -> bool {
        false
    }

    /// If the main thread waits for other threads to end, and no signal would make it do anything else: a number that
    /// stays the same for the duration of that wait.
    fn main_thread_waits(&self) -> Option<u64> {
        None
    }
}

/// The lock that a thread waits for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The lock's holder.
    pub holder: Holder<'a>,
    /// Whether only the holder may release the lock.
    pub reentrant: bool,
    /// Whether the wait cannot fail: a condition's wait acquires its lock again in any case.
    pub insists: bool,
    /// Whether the end of a scope will release the lock.
    pub scoped: bool,
}

pub(crate) const REENTRANT: u32 = 1;
pub(crate) const ON_HEAP: u32 = 2;
/// Can receive an error for a certain deadlock.
const RAISES: u32 = 4;
/// Can receive an error for an uncertain one, too.
const RAISES_ALWAYS: u32 = 8;
const IS_ALONE: u32 = 16;
/// Scope marks on the locks it holds can be trusted.
const TRUSTS_MARKS: u32 = 32;

/// The bit in a holder's word that says that the lock is held for a scope.
pub(crate) const SCOPED: u64 = Owner::FLAG_LOW;

/// After this many looks a cycle is reported even if some of its threads have not stored their texts.
const LOOKS_FOR_TEXTS: u32 = 10;
/// After this many looks at the same cycle there is no hurry: it was reported, or another thread is about to report it.
const MANY_LOOKS: u32 = 2 * LOOKS_FOR_TEXTS;

/// The time between two looks of a thread without a suspicion.
const PAUSE: Duration = Duration::from_secs(1);
/// The number of looks per [`PAUSE`] that the waiters of one lock of this process share; a thread that needs another's
/// look calls it.
const LOOK_IN_A_PAUSE: u32 = 64;
/// How long a thread looks often after the threshold, in nanoseconds: the cycle may just have come into being.
const SETTLING: u64 = 1_000_000_000;
/// A thread whose last look is older than this, in nanoseconds, looks rarely.
const LATE: u64 = 300_000_000;

/// Runs `acquire`, which waits for `wanted`, and watches for a deadlock meanwhile.
///
/// # Errors
/// If there is a deadlock, and this thread is the one to report it by an error. `acquire` was interrupted then.
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
    /// The cycle seen by the last look, starting with this thread.
    suspected: RefCell<Vec<Waiting>>,
    first_look: Cell<u64>,
    looks: Cell<u32>,
    has_told: Cell<bool>,
    /// Whether the thread waits in a scope of the very lock it waits for, according to its own list. A mark cannot
    /// tell, since a guard may have moved to another thread, which will drop it.
    is_nested: Cell<bool>,
    /// The number of this thread's wait when it last reported a cycle; 0 if it has not.
    reported: Cell<u64>,
    /// When the holder was first seen to have ended while other threads may still help; 0 otherwise.
    ended_since: Cell<u64>,
    /// When all threads were first seen to wait.
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
            // The text stored in an earlier entry went with it.
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
    /// How long this thread may sleep while it has no suspicion.
    fn pause(&self) -> Duration {
        let looking = if self.on_heap { self.wanted.holder.sleepers() } else { 0 };
        PAUSE * (looking / LOOK_IN_A_PAUSE).max(1)
    }

    fn holder(&self) -> Owner {
        Owner::from_bits(self.held_by())
    }

    /// The bits of the holder, with [`SCOPED`] if the lock is held for a scope.
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
        // Everything has been read: if all threads are still in the same wait, it was all true at once.
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
        // Without room for the scopes the others do not know them, so for them nothing is certain.
        let _ = entry.tell(&Said { text: &text, wants, scopes });
    }
}

/// Calls for a look by the threads of this process that match `is` and look rarely.
fn call_late(is: impl Fn(&Waiting) -> bool) {
    let now = clock::now();
    waiters::call(|wait| now.saturating_sub(wait.looked) > LATE && is(wait));
}

/// The cycle from `first` back to itself; None if the chain does not lead back.
fn circle_from(first: Waiting) -> Option<Vec<Waiting>> {
    let mut circle = vec![first];
    loop {
        let last = circle[circle.len() - 1];
        let next = waiters::find(|w| is_holder(&last, w))?;
        // The next thread must have been asleep already when the holder was looked up.
        if last.looked <= next.since {
            call_late(|late| last.is(late));
            return None;
        }
        if next.is(&first) {
            break;
        }
        // The chain runs into a cycle that does not include this thread.
        if circle.iter().any(|w| w.is(&next)) {
            return None;
        }
        circle.push(next);
    }
    Some(circle)
}

/// Whether `holder` is the thread that holds the lock that `waiting` waits for.
fn is_holder(waiting: &Waiting, holder: &Waiting) -> bool {
    let named = Owner::from_bits(waiting.holder);
    if waiting.flags & ON_HEAP == 0 {
        return holder.owner == named;
    }
    !named.is_none() && holder.participant() == waiting.participant() && holder.thread == named.thread()
}

/// Whether each lock is released by its holder only, and not before the holder's own wait ends.
fn are_left_by_their_holders(circle: &[Waiting]) -> bool {
    let holders = circle.iter().cycle().skip(1);
    circle.iter().zip(holders).all(|(waiting, holder)| {
        waiting.flags & REENTRANT != 0
            || holder.flags & TRUSTS_MARKS != 0 && waiting.holder & SCOPED != 0
            || waiting.wants().is_some_and(|lock| holder.is_in_scope_of(lock))
    })
}

/// The thread that is to report, and whether by an error. All members agree on it: the last to enter that can receive
/// an error or, if none can, the last to enter.
fn choose(circle: &[Waiting], certain: bool) -> (Waiting, bool) {
    let raises = |w: &&Waiting| w.flags & if certain { RAISES } else { RAISES_ALWAYS } != 0;
    match circle.iter().filter(raises).max_by_key(|w| w.number()) {
        Some(&told) => (told, true),
        None => (circle.iter().max_by_key(|w| w.number()).copied().unwrap_or(circle[0]), false),
    }
}
