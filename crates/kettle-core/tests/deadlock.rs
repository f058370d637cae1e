//! Threads that wait for each other. The looks of a sleeping thread are triggered here one by one by the test, so
//! nothing depends on timing.

mod conformance;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use conformance::support::{Child, Gate, alone};
use kettle_core::arena::participants;
use kettle_core::arena::waiters::{self, Entry, Said, TEXT};
use kettle_core::deadlock::{self, Deadlock, Ended, Member, Policy, Teller, Text, Wanted};
use kettle_core::shared::{self, InArena, OnHeap, Placement};
use kettle_core::sync::{Home, Lock, OnOwnerDeath};
use kettle_core::sys::{clock, futex, process};
use kettle_core::wait::{Deadline, Patience, Scope, Stopped};

type Held<P> = <P as Placement>::Ref<Lock>;

fn lock<P: Placement>() -> Held<P> {
    shared::init();
    P::place(Lock::new(OnOwnerDeath::Raise)).unwrap()
}

/// Runs a case in a process of its own, with a threshold of zero.
fn case(policy: Policy, body: impl FnOnce()) {
    alone(|| {
        deadlock::set_policy(policy);
        deadlock::set_threshold(Duration::ZERO);
        body();
    });
}

/// The same, for locks on the heap and in the arena.
macro_rules! in_both_places {
    ($($name:ident: $policy:ident => $case:ident),* $(,)?) => {
        mod heap {
            $(#[test] fn $name() { super::case(super::Policy::$policy, super::$case::<super::OnHeap>); })*
        }
        mod arena {
            $(#[test] fn $name() { super::case(super::Policy::$policy, super::$case::<super::InArena>); })*
        }
    };
}

in_both_places! {
    the_last_to_enter_is_told_when_all_have_looked_twice: Report => the_last_is_told,
    who_looked_before_the_others_wait_began_does_not_count: Report => looks_in_order,
    plain_locks_are_reported_once: Report => reported_once,
    plain_locks_are_looked_at_again_by_all: Report => looked_at_again,
    a_thread_that_tells_nothing_is_waited_for_ten_looks: Report => says_nothing,
    scopes_raise_at_once: Raise => scopes_raise,
    one_of_each_raises_at_once: Raise => one_of_each,
    other_plain_locks_are_reported_only: Raise => reported_only,
    marks_count_for_those_only_whose_scopes_stay: Raise => marks_are_not_trusted,
    scopes_that_are_listed_raise_at_once: Raise => scopes_listed,
    a_scope_of_another_lock_is_no_scope: Raise => scope_of_another,
    the_first_is_told_where_the_last_insists: Report => first_is_told,
    where_all_insist_it_is_reported: Report => all_insist,
    a_scope_counts_only_for_those_who_want_errors: Raise => mixed_policies,
    the_circle_of_others_is_theirs: Report => circle_of_others,
    another_circle_is_looked_at_anew: Report => another_circle,
    a_wait_with_a_limit_is_not_watched: Report => with_a_limit,
    off_is_off: Report => off,
    a_lock_that_is_passed_on_is_left_out: Report => passed_on,
    what_is_told_is_whole: Report => whole_texts,
    who_does_not_want_to_wait_any_more_stops: Report => stops,
    who_waits_for_a_dead_ones_reentrant_lock_is_told_at_once: Report => dead_reentrant,
    of_a_dead_ones_plain_lock_nothing_is_said: Report => dead_plain,
    nor_is_it_an_error_where_others_may_release_it: Raise => dead_plain,
    who_insists_reads_that_the_holder_has_ended: Raise => dead_and_insists,
    who_is_to_stop_stops_at_a_dead_ones_lock: Report => dead_and_stops,
    a_living_holder_has_not_ended: Raise => living,
    many_are_told_of_a_dead_ones_lock_one_after_another: Report => one_after_another,
}

/// How a thread holds its lock and waits for another.
#[derive(Clone, Copy, Default)]
struct How {
    scoped: bool,
    /// It waits for the other lock for a scope.
    wants_scope: bool,
    reentrant: bool,
    insists: bool,
    limited: bool,
    /// Its thread ends while it holds its lock.
    dies: bool,
}

const REENTRANT: How =
    How { scoped: false, wants_scope: false, reentrant: true, insists: false, limited: false, dies: false };
const PLAIN: How = How { reentrant: false, ..REENTRANT };
const SCOPED: How = How { scoped: true, ..PLAIN };
const INSISTS: How = How { insists: true, ..REENTRANT };

/// What a thread discloses, and what it was asked to report.
#[derive(Clone)]
struct Says {
    text: Text,
    is_silent: Arc<AtomicBool>,
    is_stopped: Arc<AtomicBool>,
    reports: Arc<Mutex<Vec<Deadlock>>>,
    /// Its own list of scopes and the number of the lock that it waits for; None if its marks can be trusted.
    scopes: Option<(Vec<u64>, u64)>,
    /// What else its process may do.
    process: Process,
}

/// What a process may do besides waiting for locks.
#[derive(Clone, Copy, Default)]
struct Process {
    has_handlers: bool,
    main_thread_waits: Option<u64>,
}

impl Says {
    fn named(thread: &str, lock: &str) -> Self {
        let text = Text { thread: thread.into(), lock: lock.into(), stack: format!("stack of {thread}\n") };
        let (is_silent, is_stopped, reports) = Default::default();
        Self { text, is_silent, is_stopped, reports, scopes: None, process: Process::default() }
    }

    fn reported(&self) -> Vec<Deadlock> {
        std::mem::take(&mut self.reports.lock().unwrap())
    }
}

impl Teller for Says {
    fn text(&self) -> Option<Text> {
        (!self.is_silent.load(Ordering::Relaxed)).then(|| self.text.clone())
    }

    fn report(&self, found: &Deadlock) -> bool {
        self.reports.lock().unwrap().push(found.clone());
        !self.is_stopped.load(Ordering::Relaxed)
    }

    fn trusts_marks(&self) -> bool {
        self.scopes.is_none()
    }

    fn wants(&self) -> u64 {
        self.scopes.as_ref().map_or(0, |(_, wants)| *wants)
    }

    fn scopes(&self) -> Vec<u64> {
        self.scopes.as_ref().map(|(scopes, _)| scopes.clone()).unwrap_or_default()
    }

    fn may_be_interrupted(&self) -> bool {
        self.process.has_handlers
    }

    fn has_handlers(&self) -> bool {
        self.process.has_handlers
    }

    fn main_thread_waits(&self) -> Option<u64> {
        self.process.main_thread_waits
    }
}

/// Watches a wait for `wanted` in this thread. `body` is called with a function that takes one look and returns whether
/// the wait continues.
fn watch<P: Placement>(
    wanted: &Held<P>,
    how: How,
    says: &Says,
    body: impl FnOnce(&dyn Fn() -> bool),
) -> Result<(), Deadlock> {
    let (holder, reentrant, insists) = (wanted.holder(), how.reentrant, how.insists);
    let wanted = Wanted { holder, reentrant, insists, scoped: how.wants_scope };
    let patience =
        if how.limited { Patience::until(Deadline::after(Duration::from_secs(3600))) } else { Patience::forever() };
    deadlock::watch::<P::Home, _>(&wanted, says, &patience, |patience| {
        body(&|| match patience.slept() {
            Ok(()) => true,
            Err(Stopped::Interrupted) => false,
            Err(Stopped::TimedOut | Stopped::Damaged | Stopped::NoPart) => unreachable!(),
        });
    })
}

/// A thread that holds a lock and waits for another.
struct Waiter {
    says: Says,
    tid: u32,
    look: Option<Sender<()>>,
    goes_on: Receiver<bool>,
    thread: JoinHandle<Result<(), Deadlock>>,
}

impl Waiter {
    /// Acquires `mine`, if given, and begins to wait for `theirs`; it looks on demand.
    fn new<P: Placement>(name: &str, mine: Option<&Held<P>>, theirs: &Held<P>, how: How) -> Self {
        Self::saying::<P>(Says::named(name, &format!("what {name} wants")), mine, theirs, how)
    }

    fn saying<P: Placement>(says: Says, mine: Option<&Held<P>>, theirs: &Held<P>, how: How) -> Self {
        let (look, looks) = channel();
        let (answer, goes_on) = channel();
        let (begun, begins) = channel();
        let (own, mine, theirs) = (says.clone(), mine.cloned(), theirs.clone());
        let thread = thread::spawn(move || {
            match &mine {
                Some(mine) if how.scoped => assert!(mine.try_acquire_scoped::<P::Home>()),
                Some(mine) => assert!(mine.try_acquire_now::<P::Home>()),
                None => {}
            }
            let result = watch::<P>(&theirs, how, &own, |look| {
                begun.send(process::thread_id()).unwrap();
                while looks.recv().is_ok() {
                    answer.send(look()).unwrap();
                }
            });
            if let Some(mine) = mine.filter(|_| !how.dies) {
                let _ = mine.release::<P::Home>();
            }
            result
        });
        let tid = begins.recv().unwrap();
        Self { says, tid, look: Some(look), goes_on, thread }
    }

    /// Takes a look; returns whether the wait continues.
    fn looks(&self) -> bool {
        self.look.as_ref().unwrap().send(()).unwrap();
        self.goes_on.recv().unwrap()
    }

    /// Ends its wait; returns the error, if it got one.
    fn ends(mut self) -> Result<(), Deadlock> {
        self.look = None;
        self.thread.join().unwrap()
    }

    /// Expects an error from its next look.
    fn told(self) -> Deadlock {
        assert!(!self.looks(), "it waits on");
        assert_eq!(self.says.reported(), [], "an error is not reported as well");
        self.ends().expect_err("it gets an error")
    }

    fn has_text(&self) -> bool {
        waiters::find(|w| w.owner.thread() == self.tid).is_some_and(|w| w.has_text())
    }

    fn has_entered(&self) -> bool {
        waiters::find(|w| w.owner.thread() == self.tid).is_some()
    }
}

/// Two threads that wait for each other: the second to begin is the second to enter.
fn two<P: Placement>(how: [How; 2]) -> [Waiter; 2] {
    let (one, other) = (lock::<P>(), lock::<P>());
    // Held before any thread waits, so that there is a cycle from the first look on.
    let first = Waiter::new::<P>("first", Some(&one), &other, how[0]);
    let second = Waiter::new::<P>("second", Some(&other), &one, how[1]);
    [first, second]
}

fn member(waiter: &Waiter, holds: &str) -> Member {
    Member {
        pid: process::id(),
        tid: waiter.tid,
        thread: waiter.says.text.thread.clone(),
        waits_for: waiter.says.text.lock.clone(),
        holds: holds.to_owned(),
        stack: waiter.says.text.stack.clone(),
    }
}

fn the_last_is_told<P: Placement>() {
    let [first, second] = two::<P>([REENTRANT; 2]);
    assert!(first.looks() && !first.has_text(), "the second has not entered");
    assert!(second.looks() && second.has_text(), "suspects");
    assert!(second.looks(), "the first has not stored its text");
    assert!(first.looks() && first.has_text());
    assert!(first.looks(), "the last to enter gets the error, not this one");
    let members = vec![member(&second, "what first wants"), member(&first, "what second wants")];
    assert_eq!(second.told(), Deadlock { members, certain: true, ended: None });
    assert!(first.looks() && first.looks(), "there is no cycle any more");
    assert_eq!((first.says.reported(), first.ends()), (vec![], Ok(())));
}

fn looks_in_order<P: Placement>() {
    let (one, other) = (lock::<P>(), lock::<P>());
    let first = Waiter::new::<P>("first", Some(&one), &other, REENTRANT);
    assert!(first.looks());
    // The holder was looked up before this wait began.
    let second = Waiter::new::<P>("second", Some(&other), &one, REENTRANT);
    assert!(second.looks() && second.looks() && !second.has_text());
    assert!(first.looks() && first.has_text());
    assert!(second.looks() && second.has_text());
    assert_eq!(second.told().members.len(), 2);
}

fn reported_once<P: Placement>() {
    let [first, second] = two::<P>([PLAIN; 2]);
    for _ in 0..2 {
        assert!(first.looks() && second.looks());
    }
    // By now both threads have looked twice.
    assert!(first.looks() && second.looks());
    let found = second.says.reported();
    let members = vec![member(&second, "what first wants"), member(&first, "what second wants")];
    assert_eq!(found, [Deadlock { members, certain: false, ended: None }]);
    for _ in 0..12 {
        assert!(first.looks() && second.looks());
    }
    assert_eq!((first.says.reported(), second.says.reported()), (vec![], vec![]));
}

fn looked_at_again<P: Placement>() {
    let [first, second] = two::<P>([PLAIN; 2]);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(second.looks(), "both looked again and stored their texts");
    assert_eq!(second.says.reported().len(), 1);

    let [first, second] = two::<P>([PLAIN; 2]);
    assert!(first.looks());
    for _ in 0..20 {
        assert!(second.looks());
    }
    assert_eq!(second.says.reported(), [], "the first may have acquired its lock since");
    assert!(first.looks() && second.looks());
    assert_eq!(second.says.reported().len(), 1);
}

fn says_nothing<P: Placement>() {
    let [first, second] = two::<P>([REENTRANT; 2]);
    assert!(first.looks());
    for _ in 0..10 {
        assert!(second.looks());
    }
    let mut unknown = member(&first, "what second wants");
    (unknown.thread, unknown.waits_for) = (String::new(), String::new());
    unknown.stack = "(no stack trace available)\n".to_owned();
    assert_eq!(second.says.text.stack, "stack of second\n");
    let known = member(&second, "");
    assert_eq!(second.told().members, [known, unknown]);
}

fn scopes_raise<P: Placement>() {
    let [first, second] = two::<P>([SCOPED; 2]);
    assert!(first.looks() && second.looks() && first.looks());
    let found = second.told();
    assert!(!found.certain && found.members.len() == 2);
}

fn one_of_each<P: Placement>() {
    // The first holds a plain lock for a scope, the second a re-entrant one outside a scope, which is allowed.
    let (plain, reentrant) = (lock::<P>(), lock::<P>());
    let first = Waiter::new::<P>("first", Some(&plain), &reentrant, How { scoped: true, ..REENTRANT });
    let second = Waiter::new::<P>("second", Some(&reentrant), &plain, PLAIN);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(!second.told().certain);
}

fn reported_only<P: Placement>() {
    for scoped in [PLAIN, SCOPED] {
        only_reported(two::<P>([scoped, PLAIN]));
    }
}

/// It never becomes certain, however often they look.
fn only_reported([first, second]: [Waiter; 2]) {
    for _ in 0..20 {
        assert!(first.looks() && second.looks());
    }
    let reports = [first, second].map(|waiter| {
        let reports = waiter.says.reported();
        assert_eq!(waiter.ends(), Ok(()));
        reports
    });
    assert!(reports[0].is_empty() && reports[1].len() == 1 && !reports[1][0].certain, "{reports:?}");
}

/// Two threads that wait for each other and list these scopes; the locks have the numbers 1 and 2.
fn two_that_list<P: Placement>(scopes: [&[u64]; 2]) -> [Waiter; 2] {
    let (one, other) = (lock::<P>(), lock::<P>());
    let saying = |name, scopes: &[u64], wants| Says {
        scopes: Some((scopes.to_vec(), wants)),
        ..Says::named(name, &format!("what {name} wants"))
    };
    let first = Waiter::saying::<P>(saying("first", scopes[0], 2), Some(&one), &other, SCOPED);
    let second = Waiter::saying::<P>(saying("second", scopes[1], 1), Some(&other), &one, SCOPED);
    [first, second]
}

fn marks_are_not_trusted<P: Placement>() {
    only_reported(two_that_list::<P>([&[], &[]]));
    // For one lock it is known, for the other it is not.
    only_reported(two_that_list::<P>([&[1], &[]]));
    only_reported(two_that_list::<P>([&[], &[2]]));
}

fn scopes_listed<P: Placement>() {
    let [first, second] = two_that_list::<P>([&[7, 1], &[2, 8]]);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(!second.told().certain, "another thread may still release it");
}

fn scope_of_another<P: Placement>() {
    // Each is in a scope of the lock it waits for, not of the one it holds.
    only_reported(two_that_list::<P>([&[2], &[1]]));
    // A lock without a number is in no listed scope.
    let (one, other) = (lock::<P>(), lock::<P>());
    let saying = |name| Says { scopes: Some((vec![0], 0)), ..Says::named(name, name) };
    let first = Waiter::saying::<P>(saying("first"), Some(&one), &other, SCOPED);
    only_reported([first, Waiter::saying::<P>(saying("second"), Some(&other), &one, SCOPED)]);
}

fn first_is_told<P: Placement>() {
    let [first, second] = two::<P>([REENTRANT, INSISTS]);
    assert!(first.looks() && second.looks() && second.looks() && first.looks());
    assert!(second.looks(), "it insists");
    assert!(first.told().certain);
    assert_eq!((second.says.reported(), second.ends()), (vec![], Ok(())));
}

fn all_insist<P: Placement>() {
    let [first, second] = two::<P>([INSISTS; 2]);
    for _ in 0..4 {
        assert!(first.looks() && second.looks());
    }
    assert_eq!(first.says.reported(), []);
    let reported = second.says.reported();
    assert!(reported.len() == 1 && reported[0].certain, "{reported:?}");
}

fn mixed_policies<P: Placement>() {
    let [first, second] = two::<P>([SCOPED; 2]);
    assert!(first.looks(), "it enters as one that accepts errors");
    deadlock::set_policy(Policy::Report);
    assert!(second.looks() && first.looks() && second.looks() && second.looks());
    assert_eq!(second.says.reported(), [], "another thread gets an error");
    assert_eq!(first.told().members.len(), 2);
}

fn circle_of_others<P: Placement>() {
    let (one, other) = (lock::<P>(), lock::<P>());
    let first = Waiter::new::<P>("first", Some(&one), &other, REENTRANT);
    let second = Waiter::new::<P>("second", Some(&other), &one, REENTRANT);
    let third = Waiter::new::<P>("third", None, &one, REENTRANT);
    for _ in 0..3 {
        assert!(first.looks() && third.looks());
        if !second.has_text() {
            assert!(second.looks());
        }
    }
    assert!(first.has_text() && !third.has_text(), "it is not in the cycle");
    assert_eq!(second.told().members.len(), 2);
}

fn another_circle<P: Placement>() {
    let (one, other) = (lock::<P>(), lock::<P>());
    let first = Waiter::new::<P>("first", Some(&one), &other, REENTRANT);
    let second = Waiter::new::<P>("second", Some(&other), &one, INSISTS);
    assert!(second.looks());
    for _ in 0..10 {
        assert!(first.looks(), "the other one has not stored its text");
    }
    // Another thread takes its place: again a cycle of two, but a different one, which starts over.
    second.ends().unwrap();
    let third = Waiter::new::<P>("third", Some(&other), &one, INSISTS);
    assert!(third.looks());
    for _ in 0..10 {
        assert!(first.looks());
    }
    assert_eq!(first.told().members.len(), 2);
    third.ends().unwrap();
}

fn with_a_limit<P: Placement>() {
    let [first, second] = two::<P>([How { limited: true, ..REENTRANT }, REENTRANT]);
    for _ in 0..12 {
        assert!(first.looks() && second.looks());
    }
    assert!(!first.has_entered() && second.has_entered() && !second.has_text());
    assert_eq!((first.ends(), second.ends()), (Ok(()), Ok(())));
}

fn off<P: Placement>() {
    deadlock::set_threshold(Duration::from_secs(3600));
    let [first, second] = two::<P>([REENTRANT; 2]);
    assert!(first.looks() && second.looks() && !first.has_entered() && !second.has_entered(), "too early");
    deadlock::set_threshold(Duration::ZERO);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(first.has_entered() && second.has_entered());
    deadlock::set_policy(Policy::Off);
    for _ in 0..12 {
        assert!(first.looks() && second.looks());
    }
    assert!(!first.has_entered() && !second.has_entered());
    deadlock::set_policy(Policy::Report);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(second.told().certain);
}

fn passed_on<P: Placement>() {
    let (one, other) = (lock::<P>(), lock::<P>());
    let first = Waiter::new::<P>("first", Some(&one), &other, PLAIN);
    let second = Waiter::new::<P>("second", Some(&other), &one, PLAIN);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(first.has_entered());
    // A thread other than the holder releases the lock that the first waits for.
    other.release::<P::Home>().unwrap();
    assert!(first.looks() && !first.has_entered() && second.looks() && second.has_entered());
}

/// Three threads, to show which of them holds what; and texts that have to be truncated.
fn whole_texts<P: Placement>() {
    let locks = [lock::<P>(), lock::<P>(), lock::<P>()];
    let stack: String = (0..2_000).map(|i| format!("<{i}>\n")).collect();
    let long = Says {
        text: Text { thread: format!("a\0b{}", "x".repeat(300)), lock: format!("c\0d{}", "y".repeat(400)), stack },
        ..Says::named("", "")
    };
    let first = Waiter::saying::<P>(long, Some(&locks[0]), &locks[1], REENTRANT);
    let second = Waiter::new::<P>("second", Some(&locks[1]), &locks[2], REENTRANT);
    let third = Waiter::new::<P>("third", Some(&locks[2]), &locks[0], REENTRANT);
    for _ in 0..2 {
        assert!(first.looks() && second.looks());
        if !third.has_text() {
            assert!(third.looks());
        }
    }
    let whole = first.says.text.stack.clone();
    let others = [member(&third, ""), member(&second, "")];
    let found = third.told();
    let [of_third, of_first, of_second] = <[Member; 3]>::try_from(found.members).unwrap();
    assert_eq!(of_first.thread, format!("ab{}", "x".repeat(198)));
    assert_eq!(of_first.waits_for, format!("cd{}", "y".repeat(298)));
    assert!(whole.ends_with(&of_first.stack), "the innermost calls: {:?}", of_first.stack);
    let kept = of_first.stack.lines().count();
    assert!(of_first.stack.starts_with(&format!("<{}>\n", 2_000 - kept)), "whole lines: {:.20}", of_first.stack);
    let room = TEXT - of_first.thread.len() - of_first.waits_for.len() - 2;
    let line = "<1999>\n".len();
    assert!((room - line..=room).contains(&of_first.stack.len()), "{} of {room} bytes", of_first.stack.len());
    assert_eq!((of_third.stack, of_second.stack), (others[0].stack.clone(), others[1].stack.clone()));
    assert_eq!((of_third.waits_for, of_second.waits_for), (others[0].waits_for.clone(), others[1].waits_for.clone()));
    assert_eq!((of_third.holds, of_first.holds), (others[1].waits_for.clone(), others[0].waits_for.clone()));
    assert_eq!(of_second.holds, of_first.waits_for);
}

fn stops<P: Placement>() {
    // Stopped when asked for its text.
    let [first, second] = two::<P>([REENTRANT; 2]);
    assert!(first.looks());
    second.says.is_silent.store(true, Ordering::Relaxed);
    assert!(!second.looks());
    assert_eq!(second.ends(), Ok(()));
    // Stopped when asked to report.
    let [first, second] = two::<P>([PLAIN; 2]);
    second.says.is_stopped.store(true, Ordering::Relaxed);
    assert!(first.looks() && second.looks() && first.looks());
    assert!(!second.looks());
    assert_eq!((second.says.reported().len(), second.ends()), (1, Ok(())));
}

#[test]
fn begins_with_reports_after_a_second() {
    alone(|| {
        assert_eq!((deadlock::policy(), deadlock::threshold()), (Policy::Report, Duration::from_secs(1)));
        for policy in [Policy::Raise, Policy::Off, Policy::Report] {
            deadlock::set_policy(policy);
            assert_eq!(deadlock::policy(), policy);
        }
        deadlock::set_threshold(Duration::MAX);
        assert_eq!(deadlock::threshold(), Duration::from_nanos(u64::MAX));
    });
}

/// A single thread that waits for a plain lock that it holds itself.
fn own_lock<P: Placement>(how: How, looks: u32) -> (Result<(), Deadlock>, Vec<Deadlock>, u32) {
    own_lock_of::<P>(&Says::named("me", "mine"), how, looks)
}

fn own_lock_of<P: Placement>(says: &Says, how: How, looks: u32) -> (Result<(), Deadlock>, Vec<Deadlock>, u32) {
    let (own, goes_on) = (lock::<P>(), Cell::new(0));
    assert!(if how.scoped { own.try_acquire_scoped::<P::Home>() } else { own.try_acquire_now::<P::Home>() });
    let result = watch::<P>(&own, how, says, |look| {
        while goes_on.get() < looks && look() {
            goes_on.set(goes_on.get() + 1);
        }
    });
    (result, says.reported(), goes_on.get())
}

#[test]
fn the_only_thread_waits_in_vain_for_its_own_lock() {
    case(Policy::Report, || {
        let (result, reports, _) = own_lock::<OnHeap>(PLAIN, 12);
        assert!(result.is_ok() && reports.len() == 1);
        assert!(!reports[0].certain && reports[0].members[0].holds == "mine");
    });
    case(Policy::Raise, || {
        // A signal handler may release it, or do all the work while this thread is parked.
        let (result, reports, goes_on) = own_lock::<OnHeap>(PLAIN, 12);
        assert!(result.is_ok() && reports.len() == 1 && !reports[0].certain && goes_on == 12);
        // In a scope, this thread is the one to release it.
        let (result, reports, goes_on) = own_lock::<OnHeap>(SCOPED, 12);
        assert_eq!(result.unwrap_err().members.len(), 1);
        assert!(reports.is_empty() && goes_on == 1, "after {goes_on}");
    });
}

#[test]
fn another_thread_may_release_what_one_waits_for_that_holds_it() {
    case(Policy::Raise, || {
        let over = Arc::new(AtomicBool::new(false));
        let another = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Acquire) {
                    thread::park_timeout(Duration::from_millis(1));
                }
            })
        };
        assert_eq!(own_lock::<OnHeap>(PLAIN, 12), (Ok(()), vec![], 12));
        let (result, reports, goes_on) = own_lock::<OnHeap>(REENTRANT, 12);
        assert!(result.unwrap_err().certain && reports.is_empty() && goes_on == 1);
        over.store(true, Ordering::Release);
        another.join().unwrap();
        // In the arena, another process may release it.
        assert_eq!(own_lock::<InArena>(PLAIN, 12), (Ok(()), vec![], 12));
    });
}

#[test]
fn a_scope_of_a_lock_in_the_middle_of_another_never_begins() {
    let nested = |process| Says { scopes: Some((vec![6, 7], 7)), process, ..Says::named("me", "mine") };
    let (quiet, handles) = (Process::default(), Process { has_handlers: true, ..Process::default() });
    let twice = How { wants_scope: true, ..SCOPED };
    case(Policy::Raise, || {
        let (result, reports, goes_on) = own_lock_of::<InArena>(&nested(quiet), twice, 12);
        let found = result.unwrap_err();
        assert!(found.certain && found.members.len() == 1 && reports.is_empty() && goes_on == 1);
        // The lock may have been released by another thread and reacquired by this one; the end of the first scope
        // would then release it.
        let (result, reports, goes_on) = own_lock_of::<InArena>(&nested(quiet), SCOPED, 12);
        assert!(result.is_ok() && reports.len() == 1 && !reports[0].certain && goes_on == 12);
        // A signal handler may leave the scope.
        let (result, reports, goes_on) = own_lock_of::<InArena>(&nested(handles), twice, 12);
        assert!(result.is_ok() && reports.len() == 1 && !reports[0].certain && goes_on == 12);
        // A scope of another lock does not count.
        let other = Says { scopes: Some((vec![6], 7)), ..nested(quiet) };
        assert_eq!(own_lock_of::<InArena>(&other, twice, 12), (Ok(()), vec![], 12));
        // The mark alone may be that of a guard that has moved to another thread.
        assert_eq!(own_lock::<InArena>(twice, 12), (Ok(()), vec![], 12));
    });
    case(Policy::Report, || {
        let (result, reports, _) = own_lock_of::<InArena>(&nested(quiet), twice, 12);
        assert!(result.is_ok() && reports.len() == 1);
    });
}

#[test]
fn rows_of_others_are_told_from_those_of_this_process() {
    case(Policy::Report, || {
        let (held, says) = (lock::<OnHeap>(), Says::named("me", "what I want"));
        const LIKE_MINE: u32 = 1 + 2 + 4; // like those of a re-entrant lock on the heap
        // A lock without a holder, and an entry of a thread that has no number.
        let me = kettle_core::sync::Heap::me();
        let unowned = Entry::new(0, LIKE_MINE, 1, None).unwrap();
        unowned.look(|| me.to_bits());
        watch::<OnHeap>(&held, REENTRANT, &says, |look| {
            for _ in 0..12 {
                assert!(look());
            }
        })
        .unwrap();
        drop(unowned);
        // The holder's number is also that of a thread of another process, which waits for this thread.
        let (holder, over) = channel::<()>();
        let (number, numbers) = channel();
        let theirs = held.clone();
        let thread = thread::spawn(move || {
            assert!(theirs.try_acquire_now::<kettle_core::sync::Heap>());
            number.send(kettle_core::sys::thread::number()).unwrap();
            assert!(over.recv().is_err());
        });
        let its_number = numbers.recv().unwrap();
        watch::<OnHeap>(&held, REENTRANT, &says, |look| {
            assert!(look());
            let mine = participants::try_me().unwrap();
            let (ready, done) = (Gate::new(), Gate::new());
            for (flags, who) in [(LIKE_MINE, me), (1 + 4, mine)] {
                let other = Child::fork(|| {
                    let row = Entry::new(its_number, flags, 1, None).unwrap();
                    row.look(|| who.to_bits());
                    row.tell(&Said { text: b"a\0b\0c", ..Said::default() });
                    ready.open();
                    done.pass();
                });
                ready.pass();
                for _ in 0..12 {
                    assert!(look());
                }
                done.open();
                other.succeeds();
            }
        })
        .unwrap();
        assert_eq!(says.reported(), []);
        drop(holder);
        thread.join().unwrap();
    });
}

/// A thread that looks rarely is called by one that needs its look.
#[test]
fn who_sleeps_for_long_is_called() {
    case(Policy::Report, || {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&word);
        let ((called, calls), (silent, silence)) = (channel::<()>(), channel::<()>());
        let sleeper = thread::spawn(move || {
            let entry = Entry::new(4321, 0, 1, Some(theirs.as_ptr().addr())).unwrap();
            while !entry.is_called() {
                let slept = futex::wait(&theirs, 0, clock::now() + 60_000_000_000, Scope::Private);
                assert_ne!(slept, futex::Slept::TimedOut);
            }
            drop(called);
            assert!(silence.recv().is_err(), "no further call is on its way");
            entry.look(|| 0);
            assert!(!entry.is_called(), "it looked already");
        });
        // It may be about to fall asleep and miss a call.
        while calls.try_recv() == Err(TryRecvError::Empty) {
            waiters::call(|waiting| waiting.thread == 4321);
            thread::yield_now();
        }
        drop(silent);
        sleeper.join().unwrap();
    });
}

#[test]
fn a_circle_may_lead_through_two_processes() {
    case(Policy::Report, || {
        let (mine, theirs) = (lock::<InArena>(), lock::<InArena>());
        assert!(mine.try_acquire_now::<shared::Processes>());
        let (begun, look, looked) = (Gate::new(), Gate::new(), Gate::new());
        let other = Child::fork(|| {
            assert!(theirs.try_acquire_now::<shared::Processes>());
            watch::<InArena>(&mine, REENTRANT, &Says::named("other", "what other wants"), |look_once| {
                begun.open();
                while look.hear() != 0 {
                    assert!(look_once());
                    looked.open();
                }
            })
            .unwrap();
        });
        begun.pass();
        let other_looks = || {
            look.tell(1);
            looked.pass();
        };
        let found = watch::<InArena>(&theirs, REENTRANT, &Says::named("me", "what I want"), |look_once| {
            other_looks();
            assert!(look_once(), "suspects");
            other_looks();
            assert!(!look_once(), "the last to enter gets the error");
        });
        let members = found.unwrap_err().members;
        assert_eq!([members[0].pid, members[1].pid], [process::id(), other.pid()]);
        assert_eq!([&*members[0].thread, &*members[1].thread], ["me", "other"]);
        look.tell(0);
        other.succeeds();
    });
}

// ---------------------------------------------------------------- holders that have ended

/// A lock whose holder has ended, and the kernel's ID of that thread.
fn left_by_the_dead<P: Placement>() -> (Held<P>, u32) {
    let left = lock::<P>();
    let theirs = left.clone();
    let holder = thread::spawn(move || {
        assert!(theirs.try_acquire_now::<P::Home>());
        process::thread_id()
    });
    let tid = holder.join().unwrap();
    // The thread may exist in the kernel for a moment after it was joined.
    while process::thread_exists(process::id(), tid) {
        thread::yield_now();
    }
    (left, tid)
}

/// A single look by this thread at a lock whose holder has ended.
fn one_look<P: Placement>(left: &Held<P>, how: How) -> (Result<(), Deadlock>, Vec<Deadlock>, bool) {
    looks_saying::<P>(left, how, &Says::named("me", "mine"))
}

fn looks_saying<P: Placement>(left: &Held<P>, how: How, says: &Says) -> (Result<(), Deadlock>, Vec<Deadlock>, bool) {
    let goes_on = Cell::new(false);
    let result = watch::<P>(left, how, says, |look| goes_on.set(look()));
    (result, says.reported(), goes_on.get())
}

/// The only member is this thread, and the holder belonged to this process.
fn of_the_dead(certain: bool, tid: u32, told_as: Option<&str>) -> Deadlock {
    let ended = Some(Ended { pid: process::id(), tid, told_as: told_as.map(str::to_owned) });
    let (thread, waits_for, stack) = ("me".to_owned(), "mine".to_owned(), "stack of me\n".to_owned());
    let me = Member { pid: process::id(), tid: process::thread_id(), thread, waits_for, holds: String::new(), stack };
    Deadlock { members: vec![me], certain, ended }
}

/// Keeps another thread alive while `body` runs.
fn beside_another_thread(body: impl FnOnce()) {
    let (over, ends) = channel::<()>();
    let (begun, begins) = channel();
    let another = thread::spawn(move || {
        begun.send(()).unwrap();
        assert!(ends.recv().is_err());
    });
    begins.recv().unwrap();
    body();
    drop(over);
    another.join().unwrap();
}

fn dead_reentrant<P: Placement>() {
    beside_another_thread(|| {
        let (left, tid) = left_by_the_dead::<P>();
        for _ in 0..2 {
            assert_eq!(one_look::<P>(&left, REENTRANT), (Err(of_the_dead(true, tid, None)), vec![], false));
        }
    });
}

/// Another thread may be about to release it: a gate need not be opened by the thread that closed it.
fn dead_plain<P: Placement>() {
    beside_another_thread(|| {
        let (left, _) = left_by_the_dead::<P>();
        for _ in 0..3 {
            assert_eq!(one_look::<P>(&left, PLAIN), (Ok(()), vec![], true));
        }
    });
}

fn dead_and_insists<P: Placement>() {
    beside_another_thread(|| {
        let (left, tid) = left_by_the_dead::<P>();
        assert_eq!(one_look::<P>(&left, INSISTS), (Ok(()), vec![of_the_dead(true, tid, None)], true));
        assert_eq!(one_look::<P>(&left, INSISTS), (Ok(()), vec![], true));
    });
}

fn dead_and_stops<P: Placement>() {
    let says = Says::named("me", "mine");
    says.is_silent.store(true, Ordering::Relaxed);
    let (left, _) = left_by_the_dead::<P>();
    assert_eq!(looks_saying::<P>(&left, REENTRANT, &says), (Ok(()), vec![], false));
    says.is_silent.store(false, Ordering::Relaxed);
    says.is_stopped.store(true, Ordering::Relaxed);
    let (result, reports, goes_on) = looks_saying::<P>(&left, INSISTS, &says);
    assert_eq!((result, reports.len(), goes_on), (Ok(()), 1, false));
}

fn living<P: Placement>() {
    let held = lock::<P>();
    let other = lock::<P>();
    let holder = Waiter::new::<P>("holder", Some(&held), &other, PLAIN);
    assert_eq!(one_look::<P>(&held, REENTRANT), (Ok(()), vec![], true));
    assert_eq!(one_look::<P>(&other, REENTRANT), (Ok(()), vec![], true), "it is free");
    holder.ends().unwrap();
}

fn one_after_another<P: Placement>() {
    let (left, _) = left_by_the_dead::<P>();
    let begun = Instant::now();
    for _ in 0..6 {
        assert!(one_look::<P>(&left, REENTRANT).0.is_err());
    }
    assert!(begun.elapsed() >= Duration::from_millis(5 * 15), "each may print a traceback meanwhile");
}

#[test]
fn only_the_last_thread_can_release_a_dead_ones_lock() {
    case(Policy::Report, || {
        let (left, tid) = left_by_the_dead::<OnHeap>();
        assert_eq!(one_look::<OnHeap>(&left, PLAIN), (Ok(()), vec![of_the_dead(true, tid, None)], true));
        assert_eq!(one_look::<OnHeap>(&left, PLAIN), (Ok(()), vec![], true), "only once");
        // It was reported already, and is an error nevertheless.
        deadlock::set_policy(Policy::Raise);
        assert_eq!(one_look::<OnHeap>(&left, PLAIN), (Err(of_the_dead(true, tid, None)), vec![], false));
        let (another, tid) = left_by_the_dead::<OnHeap>();
        assert_eq!(one_look::<OnHeap>(&another, PLAIN), (Err(of_the_dead(true, tid, None)), vec![], false));
        // Except for a signal handler.
        let process = Process { has_handlers: true, ..Process::default() };
        let says = Says { process, ..Says::named("me", "mine") };
        assert_eq!(looks_saying::<OnHeap>(&left, PLAIN, &says), (Ok(()), vec![], true));
        // Another process may be about to release a shared lock.
        let (left, _) = left_by_the_dead::<InArena>();
        assert_eq!(one_look::<InArena>(&left, PLAIN), (Ok(()), vec![], true));
    });
}

// ---------------------------------------------------------------- where no thread is left

/// Like the main thread of a process that waits for the others to end.
fn beside_one_that_waits(says: Says) -> Says {
    Says { process: Process { main_thread_waits: Some(7), has_handlers: true }, scopes: Some((vec![], 0)), ..says }
}

/// Two threads that wait for each other's plain locks, next to this thread.
fn two_beside_one_that_waits<P: Placement>(names: [&str; 2]) -> [Waiter; 2] {
    let (one, other) = (lock::<P>(), lock::<P>());
    let saying = |name: &str| beside_one_that_waits(Says::named(name, &format!("what {name} wants")));
    let first = Waiter::saying::<P>(saying(names[0]), Some(&one), &other, PLAIN);
    [first, Waiter::saying::<P>(saying(names[1]), Some(&other), &one, PLAIN)]
}

#[test]
fn where_all_threads_wait_none_is_left_to_release_a_plain_lock() {
    case(Policy::Raise, || {
        let [first, second] = two_beside_one_that_waits::<OnHeap>(["first", "second"]);
        assert!(first.looks() && second.looks() && first.looks());
        assert!(second.looks(), "seen for the first time");
        assert!(second.looks(), "the other one has not looked again");
        assert!(first.looks());
        assert!(second.told().certain);
    });
}

#[test]
fn where_one_does_anything_else_it_may_help() {
    case(Policy::Raise, || {
        beside_another_thread(|| only_reported(two_beside_one_that_waits::<OnHeap>(["first", "second"])));
    });
    case(Policy::Raise, || {
        // If the locks are shared, another process may release them.
        only_reported(two_beside_one_that_waits::<InArena>(["first", "second"]));
    });
    case(Policy::Raise, || {
        // So may the main thread, if it waits for nothing.
        only_reported(two_that_list::<OnHeap>([&[], &[]]));
    });
}

#[test]
fn where_one_may_help_that_begins_later_it_is_reported_then() {
    case(Policy::Raise, || {
        let [first, second] = two_beside_one_that_waits::<OnHeap>(["first", "second"]);
        assert!(first.looks() && second.looks() && first.looks() && second.looks());
        beside_another_thread(|| {
            assert!(first.looks() && second.looks());
            let reports = second.says.reported();
            assert!(reports.len() == 1 && !reports[0].certain, "{reports:?}");
            for _ in 0..6 {
                assert!(first.looks() && second.looks());
            }
        });
        // It has ended without changing anything: two looks are needed again.
        while process::thread_count() != Some(3) {
            thread::yield_now();
        }
        assert!(first.looks() && second.looks() && first.looks());
        assert!(second.told().certain);
    });
}

#[test]
fn where_all_threads_wait_a_dead_ones_lock_is_lost() {
    case(Policy::Raise, || {
        let (left, dead) = left_by_the_dead::<OnHeap>();
        let saying = |name: &str| beside_one_that_waits(Says::named(name, name));
        let first = Waiter::saying::<OnHeap>(saying("first"), None, &left, PLAIN);
        let second = Waiter::saying::<OnHeap>(saying("second"), None, &left, PLAIN);
        assert!(first.looks() && second.looks(), "seen for the first time");
        assert!(first.looks());
        let found = second.told();
        assert_eq!((found.certain, found.ended.unwrap().tid), (true, dead));
        // It could have released the lock, but it has ended, too.
        while process::thread_count() != Some(2) {
            thread::yield_now();
        }
        assert!(first.looks(), "seen for the first time");
        assert!(first.told().certain);
    });
}

#[test]
fn of_a_holder_that_ended_since_it_was_told_of_a_deadlock_it_is_reported() {
    case(Policy::Raise, || {
        beside_another_thread(|| {
            told_and_ended::<OnHeap>();
            told_and_ended::<InArena>();
        });
    });
}

fn told_and_ended<P: Placement>() {
    let (one, other) = (lock::<P>(), lock::<P>());
    let first = Waiter::new::<P>("first", Some(&one), &other, SCOPED);
    let second = Waiter::new::<P>("second", Some(&other), &one, How { dies: true, ..SCOPED });
    assert!(first.looks() && second.looks() && first.looks());
    let tid = second.tid;
    second.told();
    while process::thread_exists(process::id(), tid) {
        thread::yield_now();
    }
    // It ended with its lock because of the error, not to let another thread release it. Another thread may still do
    // so, and what the ending thread does on its way out may take a second.
    let says = Says::named("me", "mine");
    let begun = Instant::now();
    let result = watch::<P>(&other, PLAIN, &says, |look| {
        while says.reports.lock().unwrap().is_empty() {
            assert!(look());
            thread::sleep(Duration::from_millis(1));
        }
        assert!(look() && look());
    });
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((result, says.reported()), (Ok(()), vec![of_the_dead(false, tid, Some("second"))]));
    first.ends().unwrap();
}

#[test]
fn a_thread_of_another_process_has_ended_when_its_process_goes_on_for_a_second() {
    case(Policy::Report, || {
        let left = lock::<InArena>();
        let (ended, over) = (Gate::new(), Gate::new());
        let theirs = left.clone();
        let other = Child::fork(|| {
            let holder = thread::spawn(move || {
                assert!(theirs.try_acquire_now::<shared::Processes>());
                process::thread_id()
            });
            let tid = holder.join().unwrap();
            while process::thread_exists(process::id(), tid) {
                thread::yield_now();
            }
            ended.tell(tid.into());
            over.pass();
        });
        let tid = ended.hear() as u32;
        let says = Says::named("me", "mine");
        let begun = Instant::now();
        let result = watch::<InArena>(&left, REENTRANT, &says, |look| {
            while look() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(begun.elapsed() >= Duration::from_secs(1), "it may be about to end");
        let mut found = of_the_dead(true, tid, None);
        found.ended.as_mut().unwrap().pid = other.pid();
        assert_eq!((result, says.reported()), (Err(found), vec![]));
        over.open();
        other.succeeds();
    });
}

// ---------------------------------------------------------------- in words

fn told(members: &[(&str, &str, &str)], certain: bool, ended: Option<Option<&str>>) -> String {
    let members = members.iter().zip(10..).map(|(&(thread, waits_for, holds), tid)| Member {
        pid: 1,
        tid,
        thread: thread.into(),
        waits_for: waits_for.into(),
        holds: holds.into(),
        stack: "outer\ninner\n\n".into(),
    });
    let ended = ended.map(|told_as| Ended { pid: 2, tid: 3, told_as: told_as.map(str::to_owned) });
    Deadlock { members: members.collect(), certain, ended }.to_string()
}

#[test]
fn is_told_in_words() {
    assert_eq!(
        told(&[("Ann", "tea", "milk"), ("", "", "tea")], true, None),
        "deadlock: 2 threads wait for each other\n\
         \n\
         Ann (pid 1, thread 10)\n  holds     milk\n  waits for tea, which a thread holds\nouter\ninner\n\
         \n\
         a thread (pid 1, thread 11)\n  holds     tea\n  waits for a lock, which Ann holds\nouter\ninner"
    );
    assert_eq!(
        told(&[("Ann", "tea", "tea")], false, None),
        "deadlock: a thread waits for a lock that it holds itself; only a release() by another thread, or by a signal \
         handler, can help\n\
         \n\
         Ann (pid 1, thread 10)\n  holds     tea\n  waits for tea\nouter\ninner"
    );
    assert_eq!(
        told(&[("Ann", "tea", "")], true, Some(None)),
        "deadlock: the thread that holds tea has ended (pid 2, thread 3); no other thread can release it\n\
         \n\
         Ann (pid 1, thread 10)\n  waits for tea\nouter\ninner"
    );
    assert_eq!(
        told(&[("Ann", "", "")], false, Some(Some("Bob"))),
        "deadlock: Bob (pid 2, thread 3), which was notified of a deadlock, ended while holding a lock; \
         only a release() by yet another thread can help\n\
         \n\
         Ann (pid 1, thread 10)\n  waits for a lock\nouter\ninner"
    );
}
