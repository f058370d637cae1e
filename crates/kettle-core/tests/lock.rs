//! The lock that knows its holder.

mod conformance;

use std::time::Duration;

use conformance::*;
use kettle_core::sync::{Acquired, Held, Lock, LockError, OnOwnerDeath, ResetError};
use kettle_core::wait::{Patience, Stopped};

conformance!(
    excludes,
    is_released_by_any_thread,
    knows_whether_it_is_held_for_a_scope,
    knows_that_it_was_passed_on,
    is_told_from_others,
    ends_late,
    is_interrupted,
    tells_how_it_is,
    who_comes_to_a_broken_one_is_told_at_once,
    serves_many_sleepers
);

fn is_told_from_others<W: World>() {
    let [one, other] = [(); 2].map(|()| place::<W, _>(Lock::new(OnOwnerDeath::Raise)));
    assert_eq!(one.holder().place(), one.clone().holder().place());
    assert_ne!(one.holder().place(), other.holder().place());
}

fn excludes<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    let tally = place::<W, _>(Tally::new());
    W::all(4, |_| {
        for _ in 0..2_000 {
            assert_eq!(lock.acquire::<H<W>>(&forever()), Ok(Acquired::Clean));
            tally.add_guarded();
            lock.release::<H<W>>().unwrap();
        }
    });
    lock.acquire::<H<W>>(&forever()).unwrap();
    assert_eq!(tally.guarded(), 8_000);
}

fn is_released_by_any_thread<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    assert!(lock.release::<H<W>>().is_err());
    lock.acquire::<H<W>>(&forever()).unwrap();
    W::all(1, |_| lock.release::<H<W>>().unwrap());
    assert_eq!(lock.owner(), None);
    assert!(lock.try_acquire_now::<H<W>>());
}

fn knows_whether_it_is_held_for_a_scope<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    let held = |scoped| Some(Held { by: me::<W>(), scoped });
    assert_eq!(lock.held(), None);
    lock.acquire::<H<W>>(&forever()).unwrap();
    assert_eq!(lock.held(), held(false));
    assert!(!lock.try_acquire_scoped::<H<W>>());
    lock.release::<H<W>>().unwrap();
    assert!(lock.try_acquire_scoped::<H<W>>());
    assert_eq!(lock.held(), held(true));
    assert!(lock.owner() == Some(me::<W>()) && lock.is_held_by(me::<W>()));
    lock.unscope();
    assert_eq!(lock.held(), held(false));
    // The first waiter gets the same error.
    W::all(2, |i| match i {
        0 => {
            until(|| lock.statistics().waiting == 1);
            lock.release::<H<W>>().unwrap();
        }
        _ => {
            lock.acquire_scoped::<H<W>>(&forever()).unwrap();
            assert_eq!(lock.held(), held(true));
            lock.release::<H<W>>().unwrap();
        }
    });
    lock.unscope();
    assert_eq!(lock.held(), None);
}

fn knows_that_it_was_passed_on<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    for _ in 0..3 {
        assert!(lock.try_acquire_now::<H<W>>());
        lock.release::<H<W>>().unwrap();
        assert!(lock.try_acquire_scoped::<H<W>>());
        lock.release::<H<W>>().unwrap();
        assert!(lock.release::<H<W>>().is_err());
    }
    assert!(!lock.is_passed_on());
    assert!(lock.try_acquire_now::<H<W>>());
    // The lock has no waiters.
    W::all(1, |_| lock.release::<H<W>>().unwrap());
    assert!(lock.is_passed_on());
}

fn ends_late<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    lock.acquire::<H<W>>(&forever()).unwrap();
    W::all(1, |_| {
        let late = Err(LockError::Stopped(Stopped::TimedOut));
        assert_eq!(lock.acquire::<H<W>>(&Patience::none()), late);
        assert_eq!(at_least(A_MOMENT, || lock.acquire::<H<W>>(&within(A_MOMENT))), late);
        assert_eq!(lock.reset::<H<W>>(), Err(ResetError(lock.owner().unwrap())));
    });
    lock.release::<H<W>>().unwrap();
    lock.reset::<H<W>>().unwrap();
}

fn is_interrupted<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    lock.acquire::<H<W>>(&forever()).unwrap();
    W::all(1, |_| {
        let looks = std::cell::Cell::new(0);
        let stop = || looks.replace(looks.get() + 1) == 2;
        let patience = forever().interrupted_by(Duration::from_millis(5), &stop);
        assert_eq!(lock.acquire::<H<W>>(&patience), Err(LockError::Stopped(Stopped::Interrupted)));
        assert_eq!(looks.get(), 3);
    });
}

fn tells_how_it_is<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    lock.acquire::<H<W>>(&forever()).unwrap();
    assert_eq!(lock.statistics().owner, Some(me::<W>()));
    W::all(2, |i| match i {
        0 => {
            until(|| lock.statistics().waiting == 1);
            lock.release::<H<W>>().unwrap();
        }
        _ => {
            lock.acquire::<H<W>>(&forever()).unwrap();
        }
    });
    let s = lock.statistics();
    assert_eq!((s.waiting, s.contended, s.broken, s.owners_died), (0, 1, false, 0));
}

/// Without sleeping a slice first.
fn who_comes_to_a_broken_one_is_told_at_once<W: World>() {
    let me = me::<W>();
    for (policy, told) in
        [(OnOwnerDeath::Raise, Err(LockError::OwnerDied(me))), (OnOwnerDeath::Recover, Ok(Acquired::FromDead(me)))]
    {
        let lock = place::<W, _>(Lock::new(policy));
        lock.acquire::<H<W>>(&forever()).unwrap();
        lock.abandon::<H<W>>();
        let patience = forever();
        assert_eq!(lock.acquire::<H<W>>(&patience), told);
        assert_eq!(patience.naps(), 0);
    }
}

/// Each release wakes the next waiter; none waits for the end of its slice.
fn serves_many_sleepers<W: World>() {
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    let tally = place::<W, _>(Tally::new());
    lock.acquire::<H<W>>(&forever()).unwrap();
    W::all(9, |i| {
        if i > 0 {
            lock.acquire::<H<W>>(&forever()).unwrap();
            tally.add(0, 1);
        } else {
            until(|| lock.statistics().waiting == 8);
        }
        lock.release::<H<W>>().unwrap();
    });
    assert_eq!(tally.get(0), 8);
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::{Gate, alone};

    fn after_a_death(policy: OnOwnerDeath, crash: &'static str, judge: impl FnOnce(&Lock)) {
        alone(|| {
            let lock = place::<Forked, _>(Lock::new(policy));
            dies_at(crash, || {
                lock.acquire::<H<Forked>>(&forever()).unwrap();
                lock.release::<H<Forked>>().unwrap();
            });
            judge(&lock);
        });
    }

    #[test]
    fn a_dead_holder_breaks_it() {
        after_a_death(OnOwnerDeath::Raise, "lock.release.before", |lock| {
            let dead = lock.owner().unwrap();
            assert_eq!(lock.acquire::<H<Forked>>(&Patience::none()), Err(LockError::OwnerDied(dead)));
            assert_eq!(lock.acquire::<H<Forked>>(&forever()), Err(LockError::OwnerDied(dead)));
            assert!(lock.is_broken());
            lock.reset::<H<Forked>>().unwrap();
            assert_eq!(lock.acquire::<H<Forked>>(&forever()), Ok(Acquired::Clean));
        });
    }

    #[test]
    fn a_release_mends_it() {
        after_a_death(OnOwnerDeath::Raise, "lock.release.before", |lock| {
            assert!(lock.acquire::<H<Forked>>(&forever()).is_err());
            lock.release::<H<Forked>>().unwrap();
            assert_eq!(lock.acquire::<H<Forked>>(&forever()), Ok(Acquired::Clean));
        });
    }

    #[test]
    fn a_dead_holder_hands_it_on() {
        after_a_death(OnOwnerDeath::Recover, "lock.release.before", |lock| {
            let dead = lock.owner().unwrap();
            assert_eq!(lock.acquire::<H<Forked>>(&forever()), Ok(Acquired::FromDead(dead)));
            lock.release::<H<Forked>>().unwrap();
            assert_eq!(lock.acquire::<H<Forked>>(&forever()), Ok(Acquired::Clean));
            assert_eq!(lock.statistics().owners_died, 1);
        });
    }

    #[test]
    fn a_lock_left_by_the_dead_is_free() {
        after_a_death(OnOwnerDeath::Raise, "lock.release.before-notify", |lock| {
            assert_eq!(lock.acquire::<H<Forked>>(&forever()), Ok(Acquired::Clean));
        });
    }

    /// The wake-up of a release goes to a waiter that is killed before it can run; the other waiter continues.
    #[test]
    fn a_dead_waiter_takes_no_wake_up_along() {
        alone(|| {
            let lock = place::<Forked, _>(Lock::new(OnOwnerDeath::Raise));
            lock.acquire::<H<Forked>>(&forever()).unwrap();
            let wish = || {
                support::Child::fork(|| {
                    lock.acquire::<H<Forked>>(&forever()).unwrap();
                    lock.release::<H<Forked>>().unwrap();
                })
            };
            let dying = wish();
            until(|| lock.statistics().waiting == 1);
            let other = wish();
            until(|| lock.statistics().waiting == 2);
            // While it is stopped, it cannot act on the wake-up; then it is killed.
            // SAFETY: kill takes two integers; the process is our child.
            unsafe { libc::kill(dying.pid() as i32, libc::SIGSTOP) };
            lock.release::<H<Forked>>().unwrap();
            dying.kill_and_wait();
            other.succeeds();
        });
    }

    /// All waiters learn of the holder's death.
    #[test]
    fn all_waiters_are_told() {
        alone(|| {
            let lock = place::<Forked, _>(Lock::new(OnOwnerDeath::Raise));
            let taken = Gate::new();
            let holder = support::Child::fork(|| {
                lock.acquire::<H<Forked>>(&forever()).unwrap();
                taken.open();
                support::sleep_for_ever();
            });
            taken.pass();
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    support::Child::fork(|| {
                        let r = lock.acquire::<H<Forked>>(&forever());
                        assert!(matches!(r, Err(LockError::OwnerDied(_))), "{r:?}");
                    })
                })
                .collect();
            until(|| lock.statistics().waiting == 4);
            holder.kill_and_wait();
            waiters.into_iter().for_each(support::Child::succeeds);
        });
    }
}
