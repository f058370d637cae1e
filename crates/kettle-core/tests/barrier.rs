//! Barriers: rounds, their outcomes, and parties that die.

mod conformance;

use std::time::Duration;

use conformance::*;
use kettle_core::sync::{Barrier, BarrierError, Home, Turn};
use kettle_core::wait::Patience;

conformance!(
    round_after_round,
    acts_once_a_round,
    who_is_late_breaks_it,
    is_interrupted,
    a_failed_action_breaks_it,
    is_reset,
    a_reset_while_acting,
    more_parties_than_have_room_in_it,
);

fn pass<H: Home>(barrier: &Barrier, patience: &Patience<'_>) -> Result<u32, BarrierError> {
    match barrier.wait::<H>(patience)? {
        Turn::Through(n) => Ok(n),
        Turn::Last(duty) => duty.done(),
    }
}

fn round_after_round<W: World>() {
    const ROUNDS: u64 = 300;
    let barrier = place::<W, _>(Barrier::new(4));
    let tally = place::<W, _>(Tally::new());
    W::all(4, |_| {
        for round in 0..ROUNDS {
            tally.add(0, 1);
            pass::<H<W>>(&barrier, &forever()).unwrap();
            let seen = tally.get(0);
            // All parties of this round have arrived; faster ones may already have arrived at the next.
            assert!(((round + 1) * 4..(round + 2) * 4).contains(&seen), "round {round}: {seen}");
        }
    });
    let s = barrier.statistics();
    assert_eq!((s.rounds, s.waiting, s.broken), (ROUNDS as u32, 0, false));
}

fn acts_once_a_round<W: World>() {
    let barrier = place::<W, _>(Barrier::new(3));
    let tally = place::<W, _>(Tally::new());
    W::all(3, |_| {
        for round in 1..=50 {
            let n = match barrier.wait::<H<W>>(&forever()).unwrap() {
                Turn::Through(n) => n,
                Turn::Last(duty) => {
                    tally.add_guarded();
                    duty.done().unwrap()
                }
            };
            tally.add(n as usize, 1);
            assert_eq!(tally.guarded(), round);
            pass::<H<W>>(&barrier, &forever()).unwrap();
        }
    });
    assert_eq!([0, 1, 2].map(|i| tally.get(i)), [50; 3]);
}

fn who_is_late_breaks_it<W: World>() {
    let barrier = place::<W, _>(Barrier::new(3));
    W::all(2, |i| {
        let broken = Err(BarrierError::Broken);
        if i == 0 {
            assert_eq!(pass::<H<W>>(&barrier, &forever()), broken);
        } else {
            until(|| barrier.waiting() == 1);
            assert_eq!(at_least(A_MOMENT, || pass::<H<W>>(&barrier, &within(A_MOMENT))), broken);
        }
        assert_eq!(pass::<H<W>>(&barrier, &forever()), broken);
    });
    assert!(barrier.is_broken());
}

fn is_interrupted<W: World>() {
    let barrier = place::<W, _>(Barrier::new(2));
    let stop = || true;
    let patience = forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(pass::<H<W>>(&barrier, &patience), Err(BarrierError::Interrupted));
    assert!(!barrier.is_broken() && barrier.waiting() == 0, "as if it had not arrived");
    W::all(2, |_| assert!(pass::<H<W>>(&barrier, &forever()).is_ok()));
}

fn a_failed_action_breaks_it<W: World>() {
    let barrier = place::<W, _>(Barrier::new(3));
    W::all(3, |_| match barrier.wait::<H<W>>(&forever()) {
        Ok(Turn::Last(duty)) => drop(duty),
        other => assert_eq!(other.err(), Some(BarrierError::Broken)),
    });
    assert!(barrier.is_broken());
}

fn is_reset<W: World>() {
    let barrier = place::<W, _>(Barrier::new(3));
    barrier.reset::<H<W>>();
    for _ in 0..30 {
        W::all(3, |i| {
            if i == 0 {
                until(|| barrier.waiting() == 2);
                barrier.reset::<H<W>>();
            } else {
                assert_eq!(pass::<H<W>>(&barrier, &forever()), Err(BarrierError::Broken));
            }
        });
        assert!(!barrier.is_broken());
        barrier.abort::<H<W>>();
        assert_eq!(pass::<H<W>>(&barrier, &forever()), Err(BarrierError::Broken));
        barrier.reset::<H<W>>();
        W::all(3, |_| {
            pass::<H<W>>(&barrier, &forever()).unwrap();
        });
    }
}

fn a_reset_while_acting<W: World>() {
    let barrier = place::<W, _>(Barrier::new(2));
    W::all(2, |_| match barrier.wait::<H<W>>(&forever()) {
        Ok(Turn::Last(duty)) => {
            barrier.reset::<H<W>>();
            assert_eq!(duty.done(), Err(BarrierError::Broken));
        }
        other => assert_eq!(other.err(), Some(BarrierError::Broken)),
    });
    assert!(!barrier.is_broken());
}

fn more_parties_than_have_room_in_it<W: World>() {
    let parties = Barrier::SIGNED as u32 + 2;
    let barrier = place::<W, _>(Barrier::new(parties));
    let tally = place::<W, _>(Tally::new());
    W::all(parties, |_| {
        tally.add(0, u64::from(pass::<H<W>>(&barrier, &forever()).unwrap()));
    });
    assert_eq!(tally.get(0), u64::from(parties * (parties - 1) / 2));
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::{self, Child, Ended, Gate, alone};

    /// A party dies while arriving, asleep at the barrier, or before it ends the round: the others get an error, and a
    /// reset repairs the barrier.
    #[test]
    fn a_dead_party_breaks_it() {
        for crash in ["barrier.arrive.signed", "barrier.arrive.counted", "asleep", "barrier.done.before"] {
            alone(|| {
                let barrier = place::<Forked, _>(Barrier::new(3));
                let waiters: Vec<_> = (0..if crash == "barrier.done.before" { 2 } else { 1 })
                    .map(|_| {
                        Child::fork(|| {
                            assert_eq!(pass::<H<Forked>>(&barrier, &forever()), Err(BarrierError::Broken));
                        })
                    })
                    .collect();
                until(|| barrier.waiting() as usize == waiters.len());
                let dying = Child::fork(|| {
                    kettle_core::arm_crash_point(crash);
                    let _ = pass::<H<Forked>>(&barrier, &forever());
                });
                if crash == "asleep" {
                    until(|| barrier.waiting() == 2);
                    dying.kill();
                }
                assert_eq!(dying.wait(), Ended::Killed(libc::SIGKILL), "{crash}");
                waiters.into_iter().for_each(Child::succeeds);
                assert!(barrier.is_broken());
                barrier.reset::<H<Forked>>();
                Forked::all(3, |_| {
                    pass::<H<Forked>>(&barrier, &forever()).unwrap();
                });
            });
        }
    }

    /// A reset clears dead parties only: they do not break the next round, and the death of a live party that has not
    /// left yet is still noticed.
    #[test]
    fn a_reset_forgets_the_dead_alone() {
        alone(|| {
            let barrier = place::<Forked, _>(Barrier::new(3));
            let arrive = || assert!(matches!(barrier.arrive::<H<Forked>>(), Ok(Some(_))));
            let arrived = Gate::new();
            let living = Child::fork(|| {
                arrive();
                arrived.open();
                support::sleep_for_ever();
            });
            arrived.pass();
            Child::fork(arrive).succeeds();
            assert!(barrier.find_dead::<H<Forked>>() && barrier.is_broken());
            assert!(!barrier.find_dead::<H<Forked>>(), "it is broken already");
            barrier.reset::<H<Forked>>();
            assert!(!barrier.find_dead::<H<Forked>>() && !barrier.is_broken());
            living.kill_and_wait();
            until(|| barrier.find_dead::<H<Forked>>());
            assert!(barrier.is_broken());
        });
    }

    /// The round has ended even if the last party dies before it could wake any other.
    #[test]
    fn a_round_that_ended_stays_so() {
        alone(|| {
            let barrier = place::<Forked, _>(Barrier::new(2));
            let waiter = Child::fork(|| {
                pass::<H<Forked>>(&barrier, &forever()).unwrap();
            });
            until(|| barrier.waiting() == 1);
            dies_at("barrier.done.before-notify", || {
                let _ = pass::<H<Forked>>(&barrier, &forever());
            });
            waiter.succeeds();
        });
    }
}
