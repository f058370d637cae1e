//! Permits that name their owners.

mod conformance;

use conformance::*;
use kettle_core::sync::{OwnedPermits, PermitNotHeld};
use kettle_core::wait::{Patience, Stopped};

conformance!(lets_so_many_in, are_given_back_by_their_owner, have_a_greatest_number);

fn lets_so_many_in<W: World>() {
    let permits = place::<W, _>(OwnedPermits::new(2).unwrap());
    let tally = place::<W, _>(Tally::new());
    W::all(4, |_| {
        for _ in 0..1_000 {
            permits.acquire::<H<W>>(&forever()).unwrap();
            assert!(tally.add(0, 1) <= 2);
            tally.add(0, u64::MAX);
            permits.release::<H<W>>().unwrap();
        }
    });
    assert_eq!((permits.value(), tally.get(0)), (2, 0));
}

fn are_given_back_by_their_owner<W: World>() {
    let permits = place::<W, _>(OwnedPermits::new(1).unwrap());
    assert_eq!(permits.release::<H<W>>(), Err(PermitNotHeld));
    permits.acquire::<H<W>>(&forever()).unwrap();
    assert_eq!(permits.acquire::<H<W>>(&Patience::none()), Err(Stopped::TimedOut));
    assert_eq!(at_least(A_MOMENT, || permits.acquire::<H<W>>(&within(A_MOMENT))), Err(Stopped::TimedOut));
    permits.release::<H<W>>().unwrap();
    assert_eq!(permits.value(), 1);
}

fn have_a_greatest_number<W: World>() {
    assert!(OwnedPermits::new(OwnedPermits::MAX + 1).is_err());
    let permits = place::<W, _>(OwnedPermits::new(OwnedPermits::MAX).unwrap());
    (0..OwnedPermits::MAX).for_each(|_| permits.acquire::<H<W>>(&Patience::none()).unwrap());
    assert_eq!(permits.acquire::<H<W>>(&Patience::none()), Err(Stopped::TimedOut));
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::{Child, Ended, alone};

    #[test]
    fn those_of_the_dead_come_back() {
        alone(|| {
            let permits = place::<Forked, _>(OwnedPermits::new(2).unwrap());
            let child = Child::fork(|| {
                (0..2).for_each(|_| permits.acquire::<H<Forked>>(&forever()).unwrap());
            });
            assert_eq!(child.wait(), Ended::Exited(0));
            permits.acquire::<H<Forked>>(&Patience::none()).unwrap();
            permits.acquire::<H<Forked>>(&forever()).unwrap();
            assert_eq!(permits.statistics().recovered, 2);
        });
    }

    /// A waiter gets the permit of an owner that is killed during the wait.
    #[test]
    fn those_of_the_dying_come_back() {
        alone(|| {
            let permits = place::<Forked, _>(OwnedPermits::new(1).unwrap());
            let owner = Child::fork(|| {
                permits.acquire::<H<Forked>>(&forever()).unwrap();
                support::sleep_for_ever();
            });
            until(|| permits.value() == 0);
            let waiter = Child::fork(|| permits.acquire::<H<Forked>>(&forever()).unwrap());
            until(|| permits.statistics().waiting == 1);
            owner.kill_and_wait();
            waiter.succeeds();
        });
    }
}
