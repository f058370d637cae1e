//! Locks around values: a value is inaccessible without its lock, and a holder that panics breaks the lock.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread;

use kettle_core::sync::{Guarded, Hold, LockError, OnOwnerDeath, ReentrantGuarded, ReentrantHold};
use kettle_core::wait::{Patience, Stopped};

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

fn free<T>(value: T) -> Guarded<T> {
    Guarded::new(value, OnOwnerDeath::Raise)
}

#[test]
fn threads_get_at_the_value_in_turn() {
    let guarded = free((0u64, vec![]));
    thread::scope(|scope| {
        for n in 0..4 {
            let guarded = &guarded;
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let mut hold = guarded.acquire(&Patience::forever()).expect("no holder panics");
                    hold.0 += 1;
                    if hold.0 % 100 == 0 {
                        hold.1.push(n);
                    }
                }
            });
        }
    });
    let hold = guarded.try_acquire_now().expect("it is free");
    assert_eq!((hold.0, hold.1.len()), (8_000, 80));
}

#[test]
fn a_hold_may_go_to_another_thread() {
    let guarded = free(1);
    let mut hold = guarded.try_acquire_now().expect("it is free");
    thread::scope(|scope| {
        scope.spawn(move || *hold += 1);
    });
    assert_eq!(*guarded.try_acquire_now().expect("it is free again"), 2);
}

#[test]
fn a_panic_breaks_it_for_all_until_it_is_reset() {
    let guarded = free(0);
    let waits = Barrier::new(2);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            waits.wait();
            guarded.acquire(&Patience::forever()).map(|hold| *hold)
        });
        panics(|| {
            let mut hold = guarded.acquire(&Patience::forever()).expect("it is free");
            *hold = 1;
            waits.wait();
            panic!("half way");
        });
        assert!(matches!(waiting.join().expect("no panic"), Err(LockError::OwnerDied(_))));
    });
    assert!(guarded.is_broken() && guarded.try_acquire_now().is_none());
    let refused = guarded.acquire(&Patience::none()).map(|hold| *hold);
    assert_eq!(refused, Err(LockError::OwnerDied(guarded.owner().expect("it names the thread that broke it"))));
    assert_eq!(guarded.statistics().owners_died, 1);
    guarded.reset().expect("it is broken");
    let hold = guarded.try_acquire_now().expect("it is free");
    assert_eq!((*hold, hold.recovered_from()), (1, None));
    assert!(guarded.reset().is_err(), "it is held");
}

#[test]
fn one_that_recovers_tells_the_next_holder() {
    let guarded = Guarded::new(0, OnOwnerDeath::Recover);
    panics(|| {
        let _hold = guarded.try_acquire_now().expect("it is free");
        panic!("half way");
    });
    let culprit = guarded.owner();
    let hold = guarded.acquire(&Patience::none()).expect("it passes on");
    assert_eq!(hold.recovered_from(), culprit);
    drop(hold);
    assert_eq!(guarded.acquire(&Patience::none()).expect("it is free").recovered_from(), None);
    assert_eq!(guarded.statistics().owners_died, 1);
}

/// Uses a lock while its thread panics, as a destructor may do.
struct UsesInDrop<'a>(&'a Guarded<u32>);

impl Drop for UsesInDrop<'_> {
    fn drop(&mut self) {
        *self.0.try_acquire_now().expect("it is free") += 1;
    }
}

#[test]
fn a_destructor_is_not_to_blame_for_the_panic_that_runs_it() {
    let guarded = free(0);
    panics(|| {
        let _uses = UsesInDrop(&guarded);
        panic!("elsewhere");
    });
    assert!(!guarded.is_broken());
    assert_eq!(*guarded.try_acquire_now().expect("it is free"), 1);
}

#[test]
fn a_reentrant_one_is_seen_by_all_holds_of_its_thread() {
    let guarded = ReentrantGuarded::new(Cell::new(0), OnOwnerDeath::Raise);
    let acquire = || guarded.acquire(&Patience::none());
    let (outer, inner) = (acquire().expect("it is free"), acquire().expect("it is ours"));
    inner.set(7);
    drop(inner);
    assert_eq!(outer.get(), 7);
    thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(acquire(), Err(LockError::Stopped(Stopped::TimedOut)))));
    });
    drop(outer);
    thread::scope(|scope| {
        scope.spawn(|| acquire().expect("it is free").set(8));
    });
    assert_eq!(acquire().expect("it is free").get(), 8);
}

#[test]
fn a_reentrant_one_breaks_when_its_last_hold_goes_in_a_panic() {
    let guarded = ReentrantGuarded::new((), OnOwnerDeath::Raise);
    let acquire = || guarded.acquire(&Patience::none()).map(drop);
    {
        let _outer = guarded.try_acquire_now();
        panics(|| {
            let _inner = guarded.try_acquire_now();
            panic!("caught by the holder itself");
        });
        assert!(!guarded.is_broken());
    }
    assert_eq!(acquire(), Ok(()));
    panics(|| {
        let _outer = guarded.try_acquire_now();
        let _inner = guarded.try_acquire_now();
        panic!("half way");
    });
    assert!(matches!(acquire(), Err(LockError::OwnerDied(_))));
    guarded.reset().expect("it is broken");
    assert_eq!(acquire(), Ok(()));
}

/// Compiles if `T` may be sent to, or shared with, another thread.
const fn sends<T: Send>() {}
const fn syncs<T: Sync>() {}

/// `IS` is whether the type implements the trait: an inherent constant takes precedence over the trait's.
macro_rules! lacks {
    ($type:ty: $bound:ident) => {{
        trait Otherwise {
            const IS: bool = false;
        }
        impl<T> Otherwise for T {}
        struct Asked<T>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: $bound> Asked<T> {
            const IS: bool = true;
        }
        assert!(!Asked::<$type>::IS, concat!(stringify!($type), " is ", stringify!($bound)));
    }};
}

type Shy = Cell<u32>;
type Bound = std::rc::Rc<u32>;
type SeenOnly = std::sync::MutexGuard<'static, u32>;

#[test]
fn what_may_go_where() {
    const {
        sends::<Guarded<Shy>>();
        syncs::<Guarded<Shy>>();
        sends::<Hold<'_, Shy>>();
        syncs::<Hold<'_, u32>>();
        sends::<ReentrantGuarded<Shy>>();
        syncs::<ReentrantGuarded<Shy>>();
    }
    lacks!(Guarded<Bound>: Send);
    lacks!(Guarded<Bound>: Sync);
    lacks!(Guarded<SeenOnly>: Sync);
    lacks!(Hold<'static, Bound>: Send);
    lacks!(Hold<'static, Shy>: Sync);
    lacks!(ReentrantGuarded<Bound>: Sync);
    lacks!(ReentrantGuarded<Bound>: Send);
    lacks!(ReentrantHold<'static, u32>: Send);
    lacks!(ReentrantHold<'static, Shy>: Sync);
}

/// The guard belongs to a task, which may be finished by another thread.
#[test]
fn a_hold_need_not_be_a_threads_scope() {
    let guarded = free(0);
    let is_scoped = || guarded.holder().now().map(|held| held.scoped);
    let hold = guarded.try_acquire_now().expect("it is free");
    assert_eq!(is_scoped(), Some(true));
    hold.unscope();
    assert_eq!(is_scoped(), Some(false));
    drop(hold);
    assert_eq!(is_scoped(), None);
}
