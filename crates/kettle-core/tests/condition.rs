//! Conditions: notification in order, withdrawal, and deaths.

mod conformance;

use std::time::Duration;

use conformance::*;
use kettle_core::sync::{Condition, EnrolError, Lock, OnOwnerDeath};
use kettle_core::wait::{Patience, Stopped};

conformance!(
    grants_exactly_so_many,
    the_oldest_first,
    ends_late,
    is_interrupted,
    who_leaves_passes_it_on,
    who_is_interrupted_passes_it_on,
    a_place_is_its_waiters_alone,
    has_room_for_so_many,
    no_notification_is_missed,
);

fn grants_exactly_so_many<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let tally = place::<W, _>(Tally::new());
    assert_eq!(condition.notify::<H<W>>(1), 0);
    W::all(6, |i| {
        if i == 0 {
            until(|| condition.waiting() == 5);
            assert_eq!(condition.notify::<H<W>>(2), 2);
            until(|| tally.get(0) == 2);
            assert_eq!((condition.waiting(), condition.notify::<H<W>>(u32::MAX)), (3, 3));
        } else {
            let place = condition.enrol::<H<W>>().unwrap();
            condition.wait::<H<W>>(place, &forever()).unwrap();
            tally.add(0, 1);
        }
    });
    assert_eq!((condition.waiting(), condition.statistics().notified), (0, 5));
}

fn the_oldest_first<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let tally = place::<W, _>(Tally::new());
    W::all(5, |i| {
        if i == 0 {
            for n in 1..=4 {
                until(|| condition.waiting() == 4);
                assert_eq!(condition.notify::<H<W>>(1), 1);
                until(|| tally.get(0) == n);
                // A notified thread waits again, as the newest waiter.
            }
            condition.notify::<H<W>>(u32::MAX);
        } else {
            until(|| condition.waiting() == i - 1);
            let place = condition.enrol::<H<W>>().unwrap();
            condition.wait::<H<W>>(place, &forever()).unwrap();
            let again = condition.enrol::<H<W>>().unwrap();
            assert_eq!(tally.add(0, 1), u64::from(i));
            condition.wait::<H<W>>(again, &forever()).unwrap();
        }
    });
}

fn ends_late<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let place = condition.enrol::<H<W>>().unwrap();
    assert_eq!(condition.wait::<H<W>>(place, &Patience::none()), Err(Stopped::TimedOut));
    let place = condition.enrol::<H<W>>().unwrap();
    assert_eq!(at_least(A_MOMENT, || condition.wait::<H<W>>(place, &within(A_MOMENT))), Err(Stopped::TimedOut));
    assert_eq!(condition.waiting(), 0);
    let place = condition.enrol::<H<W>>().unwrap();
    condition.notify::<H<W>>(1);
    condition.wait::<H<W>>(place, &Patience::none()).unwrap();
}

fn is_interrupted<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let place = condition.enrol::<H<W>>().unwrap();
    let stop = || true;
    let patience = forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(condition.wait::<H<W>>(place, &patience), Err(Stopped::Interrupted));
    assert_eq!(condition.waiting(), 0);
}

fn who_leaves_passes_it_on<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let leaver = condition.enrol::<H<W>>().unwrap();
    W::all(2, |i| {
        if i == 0 {
            until(|| condition.waiting() == 2);
            // The oldest waiter is granted, which is the one that leaves.
            assert_eq!(condition.notify::<H<W>>(1), 1);
        } else {
            let place = condition.enrol::<H<W>>().unwrap();
            until(|| condition.waiting() == 1);
            assert_eq!(condition.wait::<H<W>>(place, &Patience::none()), Err(Stopped::TimedOut));
        }
    });
    let stayer = condition.enrol::<H<W>>().unwrap();
    condition.withdraw::<H<W>>(leaver);
    assert!(condition.poll::<H<W>>(stayer));
    condition.withdraw::<H<W>>(stayer);
    assert_eq!(condition.waiting(), 0);
}

/// The waiter is notified just before it is interrupted, and can no longer use the notification.
fn who_is_interrupted_passes_it_on<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let [first, next] = [(); 2].map(|()| condition.enrol::<H<W>>().unwrap());
    let stop = || condition.notify::<H<W>>(1) == 1;
    let patience = forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(condition.wait::<H<W>>(first, &patience), Err(Stopped::Interrupted));
    assert!(condition.poll::<H<W>>(next));
    assert_eq!(condition.waiting(), 0);
}

fn a_place_is_its_waiters_alone<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let mine = condition.enrol::<H<W>>().unwrap();
    let others_try = || {
        W::all(1, |_| {
            assert!(!condition.poll::<H<W>>(mine));
            condition.withdraw::<H<W>>(mine);
        });
    };
    others_try();
    assert_eq!((condition.waiting(), condition.notify::<H<W>>(1)), (1, 1));
    others_try();
    assert!(condition.poll::<H<W>>(mine), "it was notified");
    // Withdrawing twice takes nothing from other waiters.
    let [left, next] = [(); 2].map(|()| condition.enrol::<H<W>>().unwrap());
    (0..2).for_each(|_| condition.withdraw::<H<W>>(left));
    assert!(!condition.poll::<H<W>>(next));
    assert_eq!((condition.waiting(), condition.statistics().notified), (1, 1));
}

fn has_room_for_so_many<W: World>() {
    let condition = place::<W, _>(Condition::new());
    let places: Vec<_> = (0..200).map_while(|_| condition.enrol::<H<W>>().ok()).collect();
    assert_eq!(places.len(), Condition::MAX_WAITERS);
    assert_eq!(condition.enrol::<H<W>>(), Err(EnrolError::TooManyWaiters));
    condition.withdraw::<H<W>>(places[7]);
    assert_eq!(condition.enrol::<H<W>>(), Ok(places[7]));
    assert_eq!(condition.notify::<H<W>>(u32::MAX) as usize, Condition::MAX_WAITERS);
    assert!(places.iter().all(|&p| condition.poll::<H<W>>(p)));
}

/// A bounded counter under a lock, a typical use of conditions: it never stalls.
fn no_notification_is_missed<W: World>() {
    const ROUNDS: u64 = 500;
    let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
    let condition = place::<W, _>(Condition::new());
    let tally = place::<W, _>(Tally::new());
    W::all(4, |i| {
        let (from, to) = if i % 2 == 0 { (0u64, 1u64) } else { (1, 0) };
        for _ in 0..ROUNDS {
            lock.acquire::<H<W>>(&forever()).unwrap();
            while tally.get(0) != from {
                let place = condition.enrol::<H<W>>().unwrap();
                lock.release::<H<W>>().unwrap();
                condition.wait::<H<W>>(place, &forever()).unwrap();
                lock.acquire::<H<W>>(&forever()).unwrap();
            }
            tally.add(0, to.wrapping_sub(from));
            condition.notify::<H<W>>(u32::MAX);
            lock.release::<H<W>>().unwrap();
        }
    });
    assert_eq!(tally.get(0), 0);
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::{Child, alone};

    /// The oldest waiter is dead: the next one is granted instead.
    #[test]
    fn a_dead_waiter_is_passed_over() {
        alone(|| {
            let condition = place::<Forked, _>(Condition::new());
            let wait = || {
                Child::fork(|| {
                    let place = condition.enrol::<H<Forked>>().unwrap();
                    condition.wait::<H<Forked>>(place, &forever()).unwrap();
                })
            };
            let dying = wait();
            until(|| condition.waiting() == 1);
            let other = wait();
            until(|| condition.waiting() == 2);
            dying.kill_and_wait();
            assert_eq!(condition.notify::<H<Forked>>(1), 1);
            other.succeeds();
            assert_eq!(condition.waiting(), 0);
        });
    }

    /// A waiter dies with its grant: the other waiter takes it over.
    #[test]
    fn a_dead_waiters_grant_is_inherited() {
        alone(|| {
            let condition = place::<Forked, _>(Condition::new());
            let dying = Child::fork(|| {
                let _ = condition.enrol::<H<Forked>>().unwrap();
                support::sleep_for_ever();
            });
            until(|| condition.waiting() == 1);
            let other = Child::fork(|| {
                let place = condition.enrol::<H<Forked>>().unwrap();
                condition.wait::<H<Forked>>(place, &forever()).unwrap();
            });
            until(|| condition.waiting() == 2);
            assert_eq!(condition.notify::<H<Forked>>(1), 1);
            dying.kill_and_wait();
            other.succeeds();
            assert_eq!(condition.waiting(), 0);
        });
    }

    /// A notifier, a waiter that takes a grant over, and a waiter that passes one on are killed halfway: the last
    /// waiter is woken nevertheless.
    #[test]
    fn a_grant_outlives_those_who_carry_it() {
        for crash in ["condition.inherit.taken-over", "condition.withdraw.passed-on", "condition.notify.granted"] {
            alone(|| {
                let condition = place::<Forked, _>(Condition::new());
                let first = Child::fork(|| {
                    let _ = condition.enrol::<H<Forked>>().unwrap();
                    support::sleep_for_ever();
                });
                until(|| condition.waiting() == 1);
                let enrolled = place::<Forked, _>(Tally::new());
                let carrier = Child::fork(|| {
                    kettle_core::arm_crash_point(crash);
                    let place = condition.enrol::<H<Forked>>().unwrap();
                    enrolled.add(0, 1);
                    if crash == "condition.withdraw.passed-on" {
                        until(|| enrolled.get(1) == 1);
                        condition.withdraw::<H<Forked>>(place);
                    } else if crash == "condition.notify.granted" {
                        until(|| enrolled.get(1) == 1);
                        condition.notify::<H<Forked>>(1);
                    } else {
                        let _ = condition.wait::<H<Forked>>(place, &forever());
                    }
                });
                until(|| enrolled.get(0) == 1);
                let last = Child::fork(|| {
                    let place = condition.enrol::<H<Forked>>().unwrap();
                    // The waiter that passes the grant on has to find it first.
                    until(|| enrolled.get(2) == 1);
                    condition.wait::<H<Forked>>(place, &forever()).unwrap();
                });
                until(|| condition.waiting() == 3);
                // One grant for the first waiter, one for the one that dies with it: both are lost with their holders,
                // and found again.
                match crash {
                    "condition.notify.granted" => {
                        enrolled.add(1, 1);
                        until(|| condition.waiting() == 2);
                        condition.notify::<H<Forked>>(1);
                    }
                    "condition.withdraw.passed-on" => {
                        condition.notify::<H<Forked>>(2);
                        enrolled.add(1, 1);
                    }
                    _ => {
                        condition.notify::<H<Forked>>(1);
                    }
                }
                if crash != "condition.notify.granted" {
                    first.kill_and_wait();
                    assert_eq!(carrier.wait(), support::Ended::Killed(libc::SIGKILL));
                } else {
                    assert_eq!(carrier.wait(), support::Ended::Killed(libc::SIGKILL));
                    first.kill_and_wait();
                }
                enrolled.add(2, 1);
                last.succeeds();
            });
        }
    }

    #[test]
    fn places_of_the_dead_are_given_away() {
        alone(|| {
            let condition = place::<Forked, _>(Condition::new());
            dies_at("condition.enrol.claimed", || {
                let _ = condition.enrol::<H<Forked>>();
            });
            Child::fork(|| while condition.enrol::<H<Forked>>().is_ok() {}).succeeds();
            let places: Vec<_> = (0..200).map_while(|_| condition.enrol::<H<Forked>>().ok()).collect();
            assert_eq!(places.len(), Condition::MAX_WAITERS);
        });
    }
}
