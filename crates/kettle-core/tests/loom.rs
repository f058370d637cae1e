//! The algorithms under every interleaving, and every order in which their words may become visible.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p kettle-core --test loom --release`, or `ci/loom.sh`. A lost wake-up
//! shows as a model in which every thread sleeps; a message that is read without being ordered after its write shows as
//! a race on the cell that stands for it.
#![cfg(loom)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kettle_core::atomics::let_loads_count;
use kettle_core::queue::{
    Body, CHUNK_ZEROED, GetError, JoinError, Parcel, Place, PutError, Queue, Room, Store, Trouble,
};
use kettle_core::sync::{
    self, Acquired, Barrier, BarrierError, Condition, Event, Home, Lock, LockError, OnOwnerDeath, OwnedPermits,
    Readers, ReentrantLock, RwLock, Semaphore, Turn,
};
use kettle_core::sys::Owner;
use kettle_core::sys::futex::{Scope, let_slices_end};
use kettle_core::wait::{EventCount, Line, Patience, Prepared, Stopped};
use kettle_core::{Died, arm_crash_point};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

/// A home of threads that may die. Each is a participant of its own.
struct Mortals;

loom::thread_local! {
    static ME: Cell<u32> = Cell::new(0);
}
loom::lazy_static! {
    static ref DEAD: AtomicU32 = AtomicU32::new(0);
}

impl Home for Mortals {
    const SCOPE: Scope = Scope::Private;

    fn me() -> Owner {
        let n = ME.with(Cell::get);
        Owner::new(n + 1, 0, n + 1)
    }

    fn is_dead(owner: Owner) -> bool {
        DEAD.load(Ordering::SeqCst) & 1 << owner.slot() != 0
    }
}

/// Runs `body` as participant `n` until it ends or dies at an armed crash point. Slices end from then on. Its death
/// does not drop what `body` has captured, since the other threads would run in the middle of that.
fn mortal(n: u32, body: impl Fn()) {
    ME.with(|me| me.set(n));
    match catch_unwind(AssertUnwindSafe(&body)) {
        Ok(()) => {}
        Err(payload) if payload.is::<Died>() => die(),
        Err(payload) => resume_unwind(payload),
    }
}

fn die() {
    DEAD.fetch_or(1 << Mortals::me().slot(), Ordering::SeqCst);
    let_slices_end();
}

fn spawn(n: u32, body: impl Fn() + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || mortal(n, body))
}

fn check(body: impl Fn() + Sync + Send + 'static) {
    check_to(3, body);
}

/// The limit on preemptions: more of them have found nothing that fewer did not, and take hours.
fn check_to(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let body = std::sync::Arc::new(body);
    for (loads_count, preemptions) in [(false, preemptions), (true, 2)] {
        let_loads_count(loads_count);
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.max_branches = 20_000;
        let body = std::sync::Arc::clone(&body);
        model.check(move || body());
    }
}

fn forever() -> Patience<'static> {
    Patience::forever()
}

/// A number watched by loom: concurrent accesses are reported as a race.
struct Guarded(UnsafeCell<u32>);

// SAFETY: the models prove that it is accessed by one thread at a time.
unsafe impl Sync for Guarded {}
// SAFETY: a number.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }
    fn add(&self, n: u32) {
        // SAFETY: the caller holds the lock under test; otherwise loom fails the model.
        self.0.with_mut(|p| unsafe { *p += n });
    }
    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|p| unsafe { *p })
    }
}

mod lock {
    use super::*;

    /// One thread abandons the lock while another wants it: in either order, the other learns of it and does not stay
    /// asleep.
    fn abandons(policy: OnOwnerDeath, found: impl Fn(&Lock, Result<Acquired, LockError>) + Send + Sync + 'static) {
        let found = std::sync::Arc::new(found);
        check(move || {
            let shared = Arc::new((Lock::new(policy), Guarded::new()));
            let culprit = {
                let shared = shared.clone();
                spawn(1, move || {
                    shared.0.acquire::<Mortals>(&forever()).unwrap();
                    shared.1.add(1);
                    shared.0.abandon::<Mortals>();
                })
            };
            mortal(0, || {
                let (lock, number) = &*shared;
                let mut result = lock.acquire::<Mortals>(&forever());
                if result == Ok(Acquired::Clean) {
                    // This thread came first.
                    number.add(1);
                    lock.release::<Mortals>().unwrap();
                    result = lock.acquire::<Mortals>(&forever());
                }
                if result == Ok(Acquired::Clean) {
                    // Acquired twice; this release lets the other thread in.
                    return lock.release::<Mortals>().unwrap();
                }
                found(lock, result);
                assert!(number.get() >= 1);
            });
            culprit.join().unwrap();
        });
    }

    #[test]
    fn is_abandoned_and_broken() {
        abandons(OnOwnerDeath::Raise, |lock, result| {
            assert_eq!(result, Err(LockError::OwnerDied(Owner::new(2, 0, 2))));
            assert_eq!(lock.reset::<Mortals>(), Ok(()));
        });
    }

    #[test]
    fn is_abandoned_and_passed_on() {
        abandons(OnOwnerDeath::Recover, |lock, result| {
            assert_eq!(result, Ok(Acquired::FromDead(Owner::new(2, 0, 2))));
            lock.release::<Mortals>().unwrap();
        });
    }

    #[test]
    fn guards_its_value() {
        check(|| {
            let shared = Arc::new(sync::Guarded::new(Guarded::new(), OnOwnerDeath::Raise));
            let body =
                |shared: Arc<sync::Guarded<Guarded>>| move || shared.acquire(&forever()).expect("no panic").add(1);
            let a = spawn(1, body(shared.clone()));
            let b = spawn(2, body(shared.clone()));
            mortal(0, body(shared.clone()));
            a.join().unwrap();
            b.join().unwrap();
            assert_eq!(shared.acquire(&Patience::none()).expect("it is free").get(), 3);
        });
    }

    #[test]
    fn excludes_and_wakes() {
        check(|| {
            let shared = Arc::new((Lock::new(OnOwnerDeath::Raise), Guarded::new()));
            let body = |shared: Arc<(Lock, Guarded)>| {
                move || {
                    assert_eq!(shared.0.acquire::<Mortals>(&forever()), Ok(Acquired::Clean));
                    shared.1.add(1);
                    shared.0.release::<Mortals>().unwrap();
                }
            };
            let a = spawn(1, body(shared.clone()));
            let b = spawn(2, body(shared.clone()));
            mortal(0, body(shared.clone()));
            a.join().unwrap();
            b.join().unwrap();
            assert_eq!(shared.1.get(), 3);
        });
    }

    #[test]
    fn is_left_by_another_thread() {
        check(|| {
            let shared = Arc::new((Lock::new(OnOwnerDeath::Raise), Guarded::new()));
            shared.0.acquire::<Mortals>(&forever()).unwrap();
            shared.1.add(1);
            let other = {
                let shared = shared.clone();
                spawn(1, move || shared.0.release::<Mortals>().unwrap())
            };
            shared.0.acquire::<Mortals>(&forever()).unwrap();
            shared.1.add(1);
            other.join().unwrap();
            assert_eq!(shared.0.owner(), Some(Mortals::me()));
        });
    }

    /// Two threads want what a dead thread holds.
    fn after_a_death(policy: OnOwnerDeath, crash: &'static str, judge: fn(&[Result<Acquired, LockError>])) {
        check(move || {
            let lock = Arc::new(Lock::new(policy));
            let owner = {
                let lock = lock.clone();
                spawn(1, move || {
                    lock.acquire::<Mortals>(&forever()).unwrap();
                    arm_crash_point(crash);
                    lock.release::<Mortals>().unwrap();
                })
            };
            let wish = |lock: Arc<Lock>| {
                move || {
                    let r = lock.acquire::<Mortals>(&forever());
                    if r.is_ok() {
                        lock.release::<Mortals>().unwrap();
                    }
                    r
                }
            };
            let other = {
                let wish = wish(lock.clone());
                thread::spawn(move || {
                    ME.with(|me| me.set(2));
                    wish()
                })
            };
            let mine = wish(lock.clone())();
            owner.join().unwrap();
            judge(&[mine, other.join().unwrap()]);
        });
    }

    #[test]
    fn breaks_when_its_holder_dies() {
        after_a_death(OnOwnerDeath::Raise, "lock.release.before", |results| {
            let dead = Owner::new(2, 0, 2);
            // Threads that came before the holder got a clean lock; all later ones learn of its death.
            assert!(results.iter().all(|r| matches!(r, Ok(Acquired::Clean)) || *r == Err(LockError::OwnerDied(dead))));
        });
    }

    #[test]
    fn is_inherited_once() {
        after_a_death(OnOwnerDeath::Recover, "lock.release.before", |results| {
            assert!(results.iter().all(Result::is_ok));
            let inherited = results.iter().filter(|r| matches!(r, Ok(Acquired::FromDead(_)))).count();
            assert!(inherited <= 1);
        });
    }

    #[test]
    fn is_free_when_its_holder_dies_after_leaving_it() {
        after_a_death(OnOwnerDeath::Raise, "lock.release.before-notify", |results| {
            assert!(results.iter().all(|r| *r == Ok(Acquired::Clean)));
        });
    }

    #[test]
    fn is_reset_once_broken() {
        check(|| {
            let lock = Arc::new(Lock::new(OnOwnerDeath::Raise));
            let owner = {
                let lock = lock.clone();
                spawn(1, move || {
                    lock.acquire::<Mortals>(&forever()).unwrap();
                    die();
                })
            };
            owner.join().unwrap();
            let mender = {
                let lock = lock.clone();
                spawn(2, move || lock.reset::<Mortals>().unwrap_or(()))
            };
            match lock.acquire::<Mortals>(&forever()) {
                Ok(how) => assert_eq!(how, Acquired::Clean),
                Err(e) => assert!(matches!(e, LockError::OwnerDied(_))),
            }
            mender.join().unwrap();
            assert!(!lock.is_broken() || lock.reset::<Mortals>().is_ok());
        });
    }

    #[test]
    fn is_taken_again_by_its_holder() {
        check(|| {
            let shared = Arc::new((ReentrantLock::new(OnOwnerDeath::Raise), Guarded::new()));
            let body = |shared: Arc<(ReentrantLock, Guarded)>| {
                move || {
                    shared.0.acquire::<Mortals>(&forever()).unwrap();
                    shared.0.acquire::<Mortals>(&forever()).unwrap();
                    shared.0.release::<Mortals>().unwrap();
                    shared.1.add(1);
                    shared.0.release::<Mortals>().unwrap();
                }
            };
            let other = spawn(1, body(shared.clone()));
            body(shared.clone())();
            other.join().unwrap();
            assert_eq!(shared.1.get(), 2);
        });
    }
}

mod event_count {
    use super::*;

    /// The second permit is released while the thread woken by the first is still on its way.
    #[test]
    fn a_wake_up_is_passed_on() {
        check_to(2, || {
            let permits = Arc::new(Semaphore::new(0, 2));
            let takers: Vec<_> = (1..3)
                .map(|n| {
                    let permits = permits.clone();
                    spawn(n, move || permits.acquire::<Mortals>(&forever()).unwrap())
                })
                .collect();
            permits.release::<Mortals>(1).unwrap();
            permits.release::<Mortals>(1).unwrap();
            takers.into_iter().for_each(|t| t.join().unwrap());
            assert_eq!(permits.value(), 0);
        });
    }

    #[test]
    fn two_permits_at_once_wake_two() {
        check_to(2, || {
            let permits = Arc::new(Semaphore::new(0, 2));
            let takers: Vec<_> = (1..3)
                .map(|n| {
                    let permits = permits.clone();
                    spawn(n, move || permits.acquire::<Mortals>(&forever()).unwrap())
                })
                .collect();
            permits.release::<Mortals>(2).unwrap();
            takers.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn a_permit_goes_round() {
        check(|| {
            let shared = Arc::new((Semaphore::new(1, 1), Guarded::new()));
            let body = |shared: Arc<(Semaphore, Guarded)>| {
                move || {
                    shared.0.acquire::<Mortals>(&forever()).unwrap();
                    shared.1.add(1);
                    shared.0.release::<Mortals>(1).unwrap();
                }
            };
            let a = spawn(1, body(shared.clone()));
            let b = spawn(2, body(shared.clone()));
            a.join().unwrap();
            b.join().unwrap();
            assert_eq!(shared.1.get(), 2);
        });
    }

    #[test]
    fn a_dead_owners_permit_comes_back() {
        check(|| {
            let permits = Arc::new(OwnedPermits::new(1).unwrap());
            let owner = {
                let permits = permits.clone();
                spawn(1, move || {
                    permits.acquire::<Mortals>(&forever()).unwrap();
                    die();
                })
            };
            permits.acquire::<Mortals>(&forever()).unwrap();
            permits.release::<Mortals>().unwrap();
            owner.join().unwrap();
        });
    }

    #[test]
    fn an_event_lets_all_through() {
        check_to(2, || {
            let shared = Arc::new((Event::new(), Guarded::new()));
            let waiters: Vec<_> = (1..3)
                .map(|n| {
                    let shared = shared.clone();
                    spawn(n, move || {
                        shared.0.wait::<Mortals>(&forever()).unwrap();
                        assert_eq!(shared.1.get(), 1);
                    })
                })
                .collect();
            shared.1.add(1);
            shared.0.set::<Mortals>();
            waiters.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    /// A change for one waiter is followed by one that all must see, while the woken waiter is still on its way.
    #[test]
    fn all_are_woken_behind_the_back_of_one() {
        const SHUT: u32 = 2;
        check_to(2, || {
            let shared = Arc::new((EventCount::new(), AtomicU32::new(0)));
            let waiters: Vec<_> = (1..3)
                .map(|n| {
                    let shared = shared.clone();
                    spawn(n, move || {
                        let (events, word) = &*shared;
                        let take = || {
                            let taken = word.fetch_and(!1, Ordering::SeqCst);
                            (taken != 0).then_some(())
                        };
                        events.wait_for(&forever(), Scope::Private, take, || None).unwrap();
                    })
                })
                .collect();
            let (events, word) = &*shared;
            word.fetch_or(1, Ordering::SeqCst);
            events.notify_one(Scope::Private);
            word.fetch_or(SHUT, Ordering::SeqCst);
            events.notify_all(Scope::Private);
            waiters.into_iter().for_each(|t| t.join().unwrap());
        });
    }
}

/// Time does not pass in a model, and every turn is due at once: what is free is handed to the head of the line.
mod line {
    use super::*;

    struct Units {
        line: Line,
        count: AtomicU32,
    }

    impl Units {
        fn new(count: u32) -> Arc<Self> {
            Arc::new(Self { line: Line::new(), count: AtomicU32::new(count) })
        }

        fn take(&self) -> Option<()> {
            let one_less = |n: u32| n.checked_sub(1);
            self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok().map(drop)
        }

        fn pass_on_what_is_left(&self) {
            if self.count.load(Ordering::SeqCst) > 0 {
                self.line.pass_on(self.count.load(Ordering::SeqCst), Scope::Private);
            }
        }

        fn acquire(&self) {
            let patience = forever();
            self.line.wait_for(&patience, Scope::Private, || self.take(), || None).unwrap();
            self.pass_on_what_is_left();
        }

        fn release(&self) {
            let prepared = self.line.prepare();
            self.count.fetch_add(1, Ordering::SeqCst);
            self.line.notify_prepared(prepared, 1, || self.count.load(Ordering::SeqCst), Scope::Private);
        }
    }

    /// A late-comer may be faster than the two before it, or may find the line closed; each gets one unit.
    #[test]
    fn two_in_line_and_a_late_comer_are_all_served() {
        check_to(2, || {
            let units = Units::new(0);
            let waiters = [1, 2].map(|n| {
                let units = units.clone();
                spawn(n, move || units.acquire())
            });
            units.release();
            // Takes a unit if it is admitted, and gives it back.
            if units.line.admits(None, || units.count.load(Ordering::SeqCst)) && units.take().is_some() {
                units.release();
            }
            units.release();
            waiters.into_iter().for_each(|t| t.join().unwrap());
            assert_eq!(units.count.load(Ordering::SeqCst), 0);
        });
    }

    /// A waiter is called and leaves without a look; the other must not stay asleep while something is free.
    #[test]
    fn who_is_called_and_leaves_is_followed_by_the_next() {
        check_to(2, || {
            let units = Units::new(0);
            let leaver = units.line.join(Scope::Private);
            let waiter = {
                let units = units.clone();
                spawn(1, move || units.acquire())
            };
            units.release();
            leaver.leave(true);
            waiter.join().unwrap();
        });
    }

    /// The same for a waiter that leaves while it is being called.
    #[test]
    fn who_leaves_while_it_is_called_is_followed_by_the_next() {
        check_to(2, || {
            let units = Units::new(0);
            let (waiter, giver) = {
                let (taker, giver) = (units.clone(), units.clone());
                (spawn(1, move || taker.acquire()), spawn(2, move || giver.release()))
            };
            units.line.join(Scope::Private).leave(true);
            [waiter, giver].into_iter().for_each(|t| t.join().unwrap());
        });
    }

    /// A prepared change is abandoned; a caller that was refused meanwhile finds what was there before.
    #[test]
    fn who_is_refused_while_nothing_comes_is_told() {
        check_to(2, || {
            let units = Units::new(1);
            // A ticket whose holder gave up, so a call reaches no waiter. A thread may be asleep, according to the S
            // bit.
            let _ = (units.line.take_ticket(), units.line.events().announce());
            let waiter = {
                let units = units.clone();
                spawn(1, move || units.acquire())
            };
            let prepared = units.line.prepare();
            assert_ne!(prepared, Prepared::ClosedBefore);
            units.line.withdraw(prepared, Scope::Private);
            waiter.join().unwrap();
        });
    }
}

mod idle {
    use super::*;
    use kettle_core::wait::Idle;

    /// A minimal pool: its work is a number, and each piece is counted when it is done.
    #[derive(Default)]
    struct Crew {
        idle: Idle,
        work: AtomicU32,
        done: AtomicU32,
        events: EventCount,
        is_closed: AtomicU32,
    }

    impl Crew {
        fn give(&self) {
            self.work.fetch_add(1, Ordering::SeqCst);
            self.idle.call();
        }

        fn take(&self) -> bool {
            self.work.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        }

        fn finish(&self) {
            self.done.fetch_add(1, Ordering::SeqCst);
            self.events.notify_all(Scope::Private);
        }

        fn wait(&self, done: u32) {
            let look = || (self.done.load(Ordering::SeqCst) >= done).then_some(());
            self.events.wait_for(&forever(), Scope::Private, look, || None).unwrap();
        }

        fn close(&self) {
            self.is_closed.store(1, Ordering::SeqCst);
            self.idle.dismiss();
        }

        fn work(&self, each: impl Fn()) {
            let mut me = self.idle.searcher();
            loop {
                me.look();
                if self.take() {
                    me.found(|| self.work.load(Ordering::SeqCst) > 0);
                    self.finish();
                    each();
                } else if self.is_closed.load(Ordering::SeqCst) != 0 {
                    break;
                } else {
                    me.rest(&forever());
                }
            }
        }
    }

    fn worker(crew: &Arc<Crew>, each: impl Fn(&Crew) + 'static) -> thread::JoinHandle<()> {
        let crew = Arc::clone(crew);
        thread::spawn(move || crew.work(|| each(&crew)))
    }

    #[test]
    fn whatever_is_given_is_done() {
        check(|| {
            let crew = Arc::new(Crew::default());
            let worker = worker(&crew, |_| {});
            crew.give();
            crew.wait(1);
            crew.give();
            crew.wait(2);
            crew.close();
            worker.join().unwrap();
        });
    }

    /// Each piece requires that the other has begun, so a single worker cannot do both.
    #[test]
    fn as_many_are_woken_as_there_is_work_for() {
        check_to(2, || {
            let crew = Arc::new(Crew::default());
            let workers = [worker(&crew, |crew| crew.wait(2)), worker(&crew, |crew| crew.wait(2))];
            crew.give();
            crew.give();
            crew.wait(2);
            crew.close();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
    }

    #[test]
    fn who_leaves_passes_its_call_on() {
        check_to(2, || {
            let crew = Arc::new(Crew::default());
            let worker = worker(&crew, |_| {});
            let leaving = {
                let crew = Arc::clone(&crew);
                thread::spawn(move || drop(crew.idle.searcher()))
            };
            crew.give();
            crew.wait(1);
            crew.close();
            worker.join().unwrap();
            leaving.join().unwrap();
        });
    }
}

mod condition {
    use super::*;

    /// The usual pattern, with the predicate under a lock.
    #[test]
    fn no_waiter_misses_its_notification() {
        check(|| {
            let shared = Arc::new((Lock::new(OnOwnerDeath::Raise), Condition::new(), Guarded::new()));
            let waiter = {
                let shared = shared.clone();
                spawn(1, move || {
                    let (lock, condition, ready) = &*shared;
                    lock.acquire::<Mortals>(&forever()).unwrap();
                    if ready.get() == 0 {
                        let place = condition.enrol::<Mortals>().unwrap();
                        lock.release::<Mortals>().unwrap();
                        condition.wait::<Mortals>(place, &forever()).unwrap();
                        lock.acquire::<Mortals>(&forever()).unwrap();
                    }
                    assert_eq!(ready.get(), 1);
                    lock.release::<Mortals>().unwrap();
                })
            };
            let (lock, condition, ready) = &*shared;
            lock.acquire::<Mortals>(&forever()).unwrap();
            ready.add(1);
            condition.notify::<Mortals>(1);
            lock.release::<Mortals>().unwrap();
            waiter.join().unwrap();
            assert_eq!(condition.waiting(), 0);
        });
    }

    /// Two threads wait, one of them gives up at any time, and there is one notification. Exactly one grant is used: by
    /// the thread that stays, or by the one that was leaving, in which case this thread notifies the other.
    #[test]
    fn who_leaves_does_not_take_the_grant_along() {
        check(|| {
            let condition = Arc::new(Condition::new());
            let leaver = condition.enrol::<Mortals>().unwrap();
            let stayer = {
                let condition = condition.clone();
                let (ready, is_ready) = (Arc::new(Event::new()), Arc::new(Event::new()));
                let thread = {
                    let ready = ready.clone();
                    spawn(1, move || {
                        let place = condition.enrol::<Mortals>().unwrap();
                        ready.set::<Mortals>();
                        condition.wait::<Mortals>(place, &forever()).unwrap();
                        is_ready.set::<Mortals>();
                    })
                };
                ready.wait::<Mortals>(&forever()).unwrap();
                thread
            };
            let notifier = {
                let condition = condition.clone();
                spawn(2, move || assert_eq!(condition.notify::<Mortals>(1), 1))
            };
            // The older waiter is granted first; when it withdraws, its grant goes to the one that stays.
            condition.withdraw::<Mortals>(leaver);
            notifier.join().unwrap();
            stayer.join().unwrap();
            assert_eq!(condition.waiting(), 0);
        });
    }

    #[test]
    fn late_or_notified_but_not_both() {
        check(|| {
            let condition = Arc::new(Condition::new());
            let place = condition.enrol::<Mortals>().unwrap();
            let notifier = {
                let condition = condition.clone();
                thread::spawn(move || condition.notify::<Mortals>(1))
            };
            let result = condition.wait::<Mortals>(place, &Patience::none());
            let granted = notifier.join().unwrap();
            match result {
                Ok(()) => assert_eq!(granted, 1),
                Err(stopped) => assert_eq!((stopped, granted), (Stopped::TimedOut, 0)),
            }
            assert!(!condition.poll::<Mortals>(place));
        });
    }

    /// A waiter dies with its grant; the other waiter gets it, even while it is being notified itself.
    #[test]
    fn a_dead_waiters_grant_is_inherited() {
        check(|| {
            let condition = Arc::new(Condition::new());
            let dying = {
                let condition = condition.clone();
                spawn(1, move || {
                    let _ = condition.enrol::<Mortals>().unwrap();
                })
            };
            dying.join().unwrap();
            let place = condition.enrol::<Mortals>().unwrap();
            assert_eq!(condition.notify::<Mortals>(1), 1);
            let killer = spawn(1, die);
            condition.wait::<Mortals>(place, &forever()).unwrap();
            killer.join().unwrap();
            assert_eq!(condition.waiting(), 0);
        });
    }

    #[test]
    fn inheriting_and_being_notified_leave_nothing_over() {
        check(|| {
            let condition = Arc::new(Condition::new());
            let dying = {
                let condition = condition.clone();
                spawn(1, move || {
                    let _ = condition.enrol::<Mortals>().unwrap();
                    assert_eq!(condition.notify::<Mortals>(1), 1);
                    die();
                })
            };
            dying.join().unwrap();
            let place = condition.enrol::<Mortals>().unwrap();
            let notifier = {
                let condition = condition.clone();
                thread::spawn(move || condition.notify::<Mortals>(1))
            };
            condition.wait::<Mortals>(place, &forever()).unwrap();
            let granted = notifier.join().unwrap();
            assert_eq!(condition.waiting(), 0);
            // If the notification came too late for the waiter, it took over the dead waiter's grant, and none is left.
            let next = condition.enrol::<Mortals>().unwrap();
            assert!(!condition.poll::<Mortals>(next) || granted == 1);
        });
    }

    /// Two grants, one of them a dead waiter's, and two waiters: both continue.
    #[test]
    fn two_grants_serve_two() {
        check_to(2, || {
            let condition = Arc::new(Condition::new());
            let dying = {
                let condition = condition.clone();
                spawn(1, move || {
                    let _ = condition.enrol::<Mortals>().unwrap();
                    assert_eq!(condition.notify::<Mortals>(1), 1);
                })
            };
            dying.join().unwrap();
            let place = condition.enrol::<Mortals>().unwrap();
            let enrolled = Arc::new(Event::new());
            let other = {
                let (condition, enrolled) = (condition.clone(), enrolled.clone());
                spawn(2, move || {
                    let place = condition.enrol::<Mortals>().unwrap();
                    enrolled.set::<Mortals>();
                    condition.wait::<Mortals>(place, &forever()).unwrap();
                })
            };
            enrolled.wait::<Mortals>(&forever()).unwrap();
            // Participant 1 is dead; the notifier is alive.
            let killer = {
                let condition = condition.clone();
                spawn(1, move || {
                    die();
                    ME.with(|me| me.set(3));
                    assert_eq!(condition.notify::<Mortals>(1), 1);
                })
            };
            condition.wait::<Mortals>(place, &forever()).unwrap();
            other.join().unwrap();
            killer.join().unwrap();
        });
    }

    /// The notifier dies between the grant and the wake-up.
    #[test]
    fn a_dead_notifiers_grant_is_found() {
        check(|| {
            let condition = Arc::new(Condition::new());
            let place = condition.enrol::<Mortals>().unwrap();
            let notifier = {
                let condition = condition.clone();
                spawn(1, move || {
                    arm_crash_point("condition.notify.granted");
                    condition.notify::<Mortals>(1);
                })
            };
            condition.wait::<Mortals>(place, &forever()).unwrap();
            notifier.join().unwrap();
        });
    }
}

mod barrier {
    use super::*;

    fn pass(barrier: &Barrier) -> Result<u32, BarrierError> {
        match barrier.wait::<Mortals>(&forever())? {
            Turn::Through(n) => Ok(n),
            Turn::Last(duty) => duty.done(),
        }
    }

    #[test]
    fn all_meet_round_after_round() {
        check(|| {
            let shared = Arc::new((Barrier::new(2), Guarded::new()));
            let other = {
                let shared = shared.clone();
                spawn(1, move || {
                    shared.1.add(1);
                    pass(&shared.0).unwrap();
                    pass(&shared.0).unwrap();
                    assert_eq!(shared.1.get(), 2);
                })
            };
            pass(&shared.0).unwrap();
            shared.1.add(1);
            pass(&shared.0).unwrap();
            other.join().unwrap();
        });
    }

    /// A party whose round is reset gets an error; one whose round is complete passes. Both parties get the same
    /// outcome.
    #[test]
    fn a_reset_round_ends_for_all_alike() {
        check(|| {
            let barrier = Arc::new(Barrier::new(2));
            let a = {
                let barrier = barrier.clone();
                thread::spawn(move || {
                    ME.with(|me| me.set(1));
                    // After a reset it would be alone there, and wait forever.
                    let r = pass(&barrier);
                    barrier.abort::<Mortals>();
                    r
                })
            };
            let b = {
                let barrier = barrier.clone();
                thread::spawn(move || {
                    ME.with(|me| me.set(2));
                    let r = pass(&barrier);
                    barrier.abort::<Mortals>();
                    r
                })
            };
            barrier.reset::<Mortals>();
            assert_eq!(a.join().unwrap().is_ok(), b.join().unwrap().is_ok());
        });
    }

    #[test]
    fn a_dead_party_breaks_it() {
        for crash in ["barrier.arrive.signed", "barrier.arrive.counted"] {
            check(move || {
                let barrier = Arc::new(Barrier::new(3));
                let dying = {
                    let barrier = barrier.clone();
                    spawn(1, move || {
                        arm_crash_point(crash);
                        let _ = barrier.wait::<Mortals>(&forever());
                    })
                };
                assert_eq!(pass(&barrier), Err(BarrierError::Broken));
                dying.join().unwrap();
                barrier.reset::<Mortals>();
                assert!(!barrier.is_broken());
            });
        }
    }
}

mod queue {
    use super::*;

    /// Chunks and blocks on the heap; a place is an address.
    struct OnHeap;

    fn address<T>(place: Place) -> *mut T {
        std::ptr::with_exposed_provenance_mut(place.get() as usize)
    }

    fn layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len, 64).unwrap()
    }

    // SAFETY: as for the heap's store in `shared`.
    unsafe impl Store for OnHeap {
        type Home = Mortals;
        type Block = Box<u64>;
        type Found = *mut u64;

        fn chunk(len: usize, _: Place, _: u32) -> Result<Place, Trouble> {
            // SAFETY: a chunk is not empty. It is not freed: a model needs little memory, and loom tracks its atomics
            // until the run ends.
            let p = unsafe { std::alloc::alloc_zeroed(layout(len.max(CHUNK_ZEROED))) };
            Ok(Place::new(p.expose_provenance() as u64).unwrap())
        }
        fn sheet(len: usize, chunk: Place) -> Result<Place, Trouble> {
            Self::chunk(len, chunk, 0)
        }
        unsafe fn disown_sheet(_: Place) {}
        fn sheet_at(place: Place, _: usize) -> Result<*mut u8, Trouble> {
            Ok(address(place))
        }
        unsafe fn claim_chunk(_: Place) -> Result<(), Trouble> {
            Ok(())
        }
        unsafe fn free_chunk(_: Place) {}
        fn at(place: Place) -> Result<Room, Trouble> {
            // All chunks of a model are long enough.
            Ok(Room { at: address(place), len: usize::MAX })
        }
        fn publish(block: Box<u64>, _: Place, _: u32) -> Place {
            Place::new(Box::into_raw(block).expose_provenance() as u64).unwrap()
        }
        fn find(place: Place, _: u32) -> Result<*mut u64, Trouble> {
            Ok(address(place))
        }
        unsafe fn claim(found: *mut u64) -> Box<u64> {
            // SAFETY: created by `publish`, and the caller has the right to take it.
            unsafe { Box::from_raw(found) }
        }
        fn len(_: &Box<u64>) -> usize {
            8
        }
    }

    fn put(queue: &Queue, text: &[u8]) -> Result<(), ()> {
        put_with(queue, text, &forever())
    }

    fn put_with(queue: &Queue, text: &[u8], patience: &Patience<'_>) -> Result<(), ()> {
        queue.put::<OnHeap>(Place::MIN, Parcel::inline(1, text), patience).map_err(|_| ())
    }

    fn get(queue: &Queue) -> Result<Vec<u8>, GetError> {
        let mut bytes = Vec::new();
        queue.get::<OnHeap>(&mut bytes, &forever())?;
        Ok(bytes)
    }

    /// More messages than fit into a chunk.
    #[test]
    fn what_is_put_is_got_in_order() {
        check(|| {
            let queue = Arc::new(Queue::new(0, false));
            let putter = {
                let queue = queue.clone();
                spawn(1, move || {
                    put(&queue, b"one").unwrap();
                    put(&queue, b"number two").unwrap();
                    put(&queue, b"3").unwrap();
                })
            };
            assert_eq!(get(&queue).unwrap(), b"one");
            assert_eq!(get(&queue).unwrap(), b"number two");
            assert_eq!(get(&queue).unwrap(), b"3");
            putter.join().unwrap();
            assert_eq!(queue.len(), 0);
        });
    }

    #[test]
    fn two_putters_two_getters() {
        check_to(2, || {
            let queue = Arc::new(Queue::new(0, false));
            let putter = {
                let queue = queue.clone();
                spawn(1, move || put(&queue, b"a").unwrap())
            };
            let getter = {
                let queue = queue.clone();
                thread::spawn(move || {
                    ME.with(|me| me.set(2));
                    get(&queue).unwrap()
                })
            };
            put(&queue, b"b").unwrap();
            let mut both = [get(&queue).unwrap(), getter.join().unwrap()];
            putter.join().unwrap();
            both.sort();
            assert_eq!(both, [b"a", b"b"]);
        });
    }

    #[test]
    fn two_sleeping_getters_are_both_served() {
        check_to(2, || {
            let queue = Arc::new(Queue::new(0, false));
            let getters: Vec<_> = (1..3)
                .map(|n| {
                    let queue = queue.clone();
                    spawn(n, move || {
                        get(&queue).unwrap();
                    })
                })
                .collect();
            put(&queue, b"a").unwrap();
            put(&queue, b"b").unwrap();
            getters.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn a_full_queue_makes_its_putters_wait() {
        check(|| {
            let queue = Arc::new(Queue::new(1, false));
            let putter = {
                let queue = queue.clone();
                spawn(1, move || {
                    put(&queue, b"a").unwrap();
                    put(&queue, b"b").unwrap();
                    assert!(queue.len() <= 1);
                })
            };
            assert_eq!(get(&queue).unwrap(), b"a");
            assert_eq!(get(&queue).unwrap(), b"b");
            putter.join().unwrap();
        });
    }

    #[test]
    fn blocks_change_hands() {
        check(|| {
            let queue = Arc::new(Queue::new(0, false));
            let putter = {
                let queue = queue.clone();
                spawn(1, move || {
                    let parcel = Parcel::<OnHeap>::blocks(7, Body::Block(Box::new(1)), vec![Box::new(2)]);
                    assert!(queue.put(Place::MIN, parcel, &forever()).is_ok());
                })
            };
            let taken = queue.get::<OnHeap>(&mut Vec::new(), &forever()).unwrap();
            assert_eq!((taken.tag, *taken.block.unwrap(), *taken.parts[0]), (7, 1, 2));
            putter.join().unwrap();
        });
    }

    /// A message that was put is received, or was dropped by the shutdown; none stays behind a getter that gave up.
    #[test]
    fn a_put_that_succeeds_before_a_shutdown_is_got() {
        check(|| {
            let queue = Arc::new(Queue::new(0, false));
            let putter = {
                let queue = queue.clone();
                thread::spawn(move || {
                    ME.with(|me| me.set(1));
                    put(&queue, b"a")
                })
            };
            let shutter = {
                let queue = queue.clone();
                spawn(2, move || queue.shutdown::<OnHeap>(false))
            };
            let first = get(&queue);
            let put = putter.join().unwrap();
            assert_eq!(first.is_ok(), put.is_ok());
            shutter.join().unwrap();
        });
    }

    #[test]
    fn an_immediate_shutdown_frees_putters_and_joiners() {
        check(|| {
            let queue = Arc::new(Queue::new(1, true));
            put(&queue, b"a").unwrap();
            let putter = {
                let queue = queue.clone();
                spawn(1, move || {
                    let r = queue.put::<OnHeap>(Place::MIN, Parcel::inline(1, b"b"), &forever());
                    assert!(matches!(r, Err(PutError::ShutDown(_))));
                })
            };
            let joiner = {
                let queue = queue.clone();
                spawn(2, move || queue.join::<OnHeap>(&forever()).unwrap())
            };
            queue.shutdown::<OnHeap>(true);
            putter.join().unwrap();
            joiner.join().unwrap();
            assert_eq!(get(&queue), Err(GetError::ShutDown));
        });
    }

    /// A consumer puts more work before it marks its own as done.
    #[test]
    fn join_waits_for_work_that_came_of_work() {
        check(|| {
            let shared = Arc::new((Queue::new(0, true), AtomicU32::new(0)));
            put(&shared.0, b"first").unwrap();
            ME.with(|me| me.set(1));
            get(&shared.0).unwrap();
            ME.with(|me| me.set(0));
            let worker = {
                let shared = shared.clone();
                spawn(1, move || {
                    let (queue, finished) = &*shared;
                    put(queue, b"second").unwrap();
                    queue.task_done::<OnHeap>().unwrap();
                    get(queue).unwrap();
                    finished.store(1, Ordering::Relaxed);
                    queue.task_done::<OnHeap>().unwrap();
                })
            };
            shared.0.join::<OnHeap>(&forever()).unwrap();
            assert_eq!(shared.1.load(Ordering::Relaxed), 1);
            worker.join().unwrap();
        });
    }

    #[test]
    fn join_is_told_of_a_dead_consumer() {
        check(|| {
            let queue = Arc::new(Queue::new(0, true));
            put(&queue, b"a").unwrap();
            let consumer = {
                let queue = queue.clone();
                spawn(1, move || {
                    get(&queue).unwrap();
                    die();
                })
            };
            let Err(JoinError::ConsumerDied(loss)) = queue.join::<OnHeap>(&forever()) else { panic!("no loss") };
            assert_eq!(loss.unfinished, 1);
            consumer.join().unwrap();
            queue.join::<OnHeap>(&forever()).unwrap();
        });
    }

    /// Two other processes use all entries, so the third appends more.
    #[test]
    fn join_is_told_of_a_dead_consumer_in_a_sheet() {
        check_to(2, || {
            let queue = Arc::new(Queue::new(0, true));
            for n in 1..3 {
                put(&queue, b"a").unwrap();
                ME.with(|me| me.set(n));
                get(&queue).unwrap();
            }
            put(&queue, b"b").unwrap();
            let consumer = {
                let queue = queue.clone();
                spawn(3, move || {
                    get(&queue).unwrap();
                    die();
                })
            };
            for n in 1..3 {
                ME.with(|me| me.set(n));
                queue.task_done::<OnHeap>().unwrap();
            }
            let Err(JoinError::ConsumerDied(loss)) = queue.join::<OnHeap>(&forever()) else { panic!("no loss") };
            assert_eq!(loss.unfinished, 1);
            consumer.join().unwrap();
            queue.join::<OnHeap>(&forever()).unwrap();
        });
    }

    /// Puts three messages, of which the first two fill a chunk, and dies at `crash` in the third put; then others
    /// continue. `published` is whether the third message is in the queue.
    fn putter_dies(crash: &'static str, published: bool) {
        check_to(2, move || {
            let queue = Arc::new(Queue::new(0, false));
            let dying = {
                let queue = queue.clone();
                spawn(1, move || {
                    put(&queue, b"one").unwrap();
                    put(&queue, b"two").unwrap();
                    arm_crash_point(crash);
                    let _ = put(&queue, b"the dead one's");
                })
            };
            assert_eq!(get(&queue).unwrap(), b"one");
            assert_eq!(get(&queue).unwrap(), b"two");
            if published {
                assert_eq!(get(&queue).unwrap(), b"the dead one's");
            }
            dying.join().unwrap();
            assert_eq!(queue.len(), 0);
            put(&queue, b"four").unwrap();
            put(&queue, b"and five").unwrap();
            assert_eq!(get(&queue).unwrap(), b"four");
            assert_eq!(get(&queue).unwrap(), b"and five");
        });
    }

    #[test]
    fn a_putter_that_dies_before_its_commit_leaves_nothing() {
        for crash in ["queue.put.before-link", "queue.put.linked", "queue.put.next-chunk", "queue.put.before-commit"] {
            putter_dies(crash, false);
        }
    }

    #[test]
    fn a_putter_that_dies_after_its_commit_has_put() {
        for crash in ["queue.put.committed", "queue.put.before-unlock", "queue.put.before-notify"] {
            putter_dies(crash, true);
        }
    }

    #[test]
    fn a_putter_dies_in_the_first_chunk() {
        for crash in ["queue.put.before-first-chunk", "queue.put.first-chunk"] {
            check_to(2, move || {
                let queue = Arc::new(Queue::new(0, false));
                let putters = {
                    let queue = queue.clone();
                    thread::spawn(move || {
                        mortal(1, || {
                            arm_crash_point(crash);
                            let _ = put(&queue, b"never");
                        });
                        ME.with(|me| me.set(2));
                        arm_crash_point("");
                        put(&queue, b"this").unwrap();
                    })
                };
                assert_eq!(get(&queue).unwrap(), b"this");
                putters.join().unwrap();
                assert_eq!(queue.len(), 0);
            });
        }
    }

    /// A getter dies in the middle of its second get, which enters the second chunk.
    #[test]
    fn a_getter_that_dies_takes_a_message_along_or_not() {
        for (crash, taken) in [
            ("queue.get.claimed-chunk", false),
            ("queue.get.before-free-chunk", false),
            ("queue.get.claimed", false),
            ("queue.get.before-commit", false),
            ("queue.get.committed", true),
            ("queue.get.before-unlock", true),
            ("queue.get.before-notify", true),
        ] {
            check_to(2, move || {
                let queue = Arc::new(Queue::new(0, false));
                for text in [&b"a long one"[..], b"a second one", b"three"] {
                    put(&queue, text).unwrap();
                }
                let dying = {
                    let queue = queue.clone();
                    spawn(1, move || {
                        assert_eq!(get(&queue).unwrap(), b"a long one");
                        arm_crash_point(crash);
                        let _ = get(&queue);
                    })
                };
                let putter = {
                    let queue = queue.clone();
                    spawn(2, move || put(&queue, b"four").unwrap())
                };
                dying.join().unwrap();
                putter.join().unwrap();
                let rest: Vec<Vec<u8>> = (0..queue.len()).map(|_| get(&queue).unwrap()).collect();
                let expected = [&b"a second one"[..], b"three", b"four"];
                assert_eq!(rest, expected[usize::from(taken)..]);
            });
        }
    }
}

/// An event loop sleeps only while its inbox is empty, and a caller that adds an item to a sleeping loop's inbox is
/// told to wake it.
mod rw_lock {
    use super::*;

    type Shared<R> = Arc<(RwLock<R>, Guarded)>;

    fn write<R: Readers>((lock, number): &(RwLock<R>, Guarded)) {
        assert_eq!(lock.write::<Mortals>(&forever()), Ok(Acquired::Clean));
        number.add(1);
        lock.end_write::<Mortals>();
    }

    fn read<R: Readers>((lock, number): &(RwLock<R>, Guarded)) -> u32 {
        let (reader, how) = lock.read::<Mortals>(&forever()).unwrap();
        assert_eq!(how, Acquired::Clean);
        let seen = number.get();
        lock.end_read::<Mortals>(reader);
        seen
    }

    /// No access beside a writer's, and the last reader wakes it.
    fn excludes<R: Readers + 'static>(make: fn() -> RwLock<R>) {
        check_to(2, move || {
            let shared: Shared<R> = Arc::new((make(), Guarded::new()));
            let a = spawn(1, {
                let shared = shared.clone();
                move || write(&shared)
            });
            let b = spawn(2, {
                let shared = shared.clone();
                move || assert!(read(&shared) <= 2)
            });
            mortal(0, || {
                read(&shared);
                write(&shared);
            });
            a.join().unwrap();
            b.join().unwrap();
            assert_eq!(read(&shared), 2);
        });
    }

    #[test]
    fn of_threads_excludes() {
        excludes(|| RwLock::counted(OnOwnerDeath::Raise));
    }

    #[test]
    fn of_processes_excludes() {
        excludes(|| RwLock::noted(OnOwnerDeath::Raise));
    }

    /// A thread dies at `point`, of `victim`; what another one that wants to write is told, in every order.
    fn dies(
        point: &'static str,
        victim: fn(&(RwLock, Guarded)),
        policy: OnOwnerDeath,
        expected: fn(Result<Acquired, LockError>) -> bool,
    ) {
        check(move || {
            let shared = Arc::new((RwLock::noted(policy), Guarded::new()));
            let dead = spawn(1, {
                let shared = shared.clone();
                move || {
                    arm_crash_point(point);
                    victim(&shared);
                }
            });
            mortal(0, || {
                let mut told = shared.0.write::<Mortals>(&forever());
                if told == Ok(Acquired::Clean) {
                    // This thread may have come first.
                    shared.1.add(1);
                    shared.0.end_write::<Mortals>();
                    told = shared.0.write::<Mortals>(&forever());
                }
                if told == Ok(Acquired::Clean) {
                    shared.0.end_write::<Mortals>();
                } else if told.is_ok() {
                    shared.1.add(1);
                    shared.0.end_write::<Mortals>();
                }
                assert!(told == Ok(Acquired::Clean) || expected(told), "{told:?}");
            });
            dead.join().unwrap();
            // By now it is dead, and told of unless it was before.
            mortal(0, || {
                let told = shared.0.write::<Mortals>(&forever());
                assert!(told == Ok(Acquired::Clean) || expected(told), "{told:?}");
            });
        });
    }

    fn never(_: Result<Acquired, LockError>) -> bool {
        false
    }

    #[test]
    fn a_reader_that_dies_is_not_waited_for() {
        for point in ["rwlock.read.entered", "rwlock.read.before-leave", "rwlock.read.left"] {
            dies(
                point,
                |shared| {
                    read(shared);
                },
                OnOwnerDeath::Raise,
                never,
            );
        }
    }

    #[test]
    fn a_writer_that_dies_is_told_of() {
        dies("rwlock.write.begun", write, OnOwnerDeath::Raise, |told| {
            told == Err(LockError::OwnerDied(Owner::new(2, 0, 2)))
        });
        dies("rwlock.write.begun", write, OnOwnerDeath::Recover, |told| {
            told == Ok(Acquired::FromDead(Owner::new(2, 0, 2)))
        });
        dies("rwlock.write.done", write, OnOwnerDeath::Raise, never);
    }
}

#[test]
fn an_inbox_loses_no_wake_up() {
    loom::model(|| {
        let inbox = Arc::new(kettle_core::wait::Inbox::<u32>::default());
        let bell = Arc::new(AtomicU32::new(0));
        let callers: Vec<_> = (0..2)
            .map(|n| {
                let (inbox, bell) = (inbox.clone(), bell.clone());
                thread::spawn(move || {
                    if inbox.push(n) {
                        bell.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while taken < 2 {
            if inbox.announce() {
                // Asleep: nothing but the bell ends it. In a model where it never rings, this never ends.
                while bell.swap(0, Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
            }
            taken += inbox.take().len();
        }
        for caller in callers {
            caller.join().unwrap();
        }
        // One wake-up a sleep, not one an item.
        assert_eq!(bell.load(Ordering::SeqCst), 0);
    });
}
