//! Barriers between processes notice the death of each of their parties, however many there are.

mod conformance;

use conformance::support::{Child, alone};
use conformance::*;
use kettle_core::arena::Session;
use kettle_core::sync::{Barrier, BarrierError, Home, Turn};
use kettle_core::wait::Patience;

fn pass<H: Home>(barrier: &Barrier, patience: &Patience<'_>) -> Result<u32, BarrierError> {
    match barrier.wait::<H>(patience)? {
        Turn::Through(n) => Ok(n),
        Turn::Last(duty) => duty.done(),
    }
}

/// However many parties there are, the death of each is noticed, and a reset repairs the barrier.
#[test]
fn each_of_many_parties_is_watched() {
    alone(|| {
        let parties = Barrier::SIGNED as u32 + 40;
        let barrier = place::<Forked, _>(Barrier::new(parties));
        let meet = || Child::fork(|| assert_eq!(pass::<H<Forked>>(&barrier, &forever()), Err(BarrierError::Broken)));
        let waiters: Vec<_> = (0..parties - 2).map(|_| meet()).collect();
        until(|| barrier.waiting() == parties - 2);
        // All entries in the barrier itself are in use by now.
        let last = meet();
        until(|| barrier.waiting() == parties - 1);
        last.kill_and_wait();
        waiters.into_iter().for_each(Child::succeeds);
        assert!(barrier.is_broken());
        barrier.reset::<H<Forked>>();
        Forked::all(parties, |_| {
            pass::<H<Forked>>(&barrier, &forever()).unwrap();
        });
    });
}

/// A list is freed with its barrier, even if all processes that had the barrier were killed.
#[test]
fn the_list_of_many_parties_goes_with_the_barrier() {
    alone(|| {
        const MANY: u32 = 10_000;
        let objects = || Session::get().unwrap().statistics().unwrap().objects;
        drop(place::<Forked, _>(Barrier::new(MANY)));
        let before = objects();
        let barrier = place::<Forked, _>(Barrier::new(MANY));
        assert_eq!(objects(), before + 2);
        let arrive = |barrier: &Barrier| {
            assert!(barrier.arrive::<H<Forked>>().unwrap().is_some_and(|arrival| !arrival.is_last()));
        };
        arrive(&barrier);
        Session::get().unwrap().reclaim().unwrap();
        assert_eq!(objects(), before + 2, "only the barrier holds the list");
        drop(barrier);
        assert_eq!(objects(), before);
        Child::fork(|| {
            let barrier = place::<Forked, _>(Barrier::new(MANY));
            arrive(&barrier);
            // SAFETY: ends this child.
            unsafe { libc::raise(libc::SIGKILL) };
        })
        .wait();
        Session::get().unwrap().reclaim().unwrap();
        assert_eq!(objects(), before);
    });
}

/// A forked child does not touch its parent's signature.
#[test]
fn a_forked_child_crosses_no_party_out() {
    alone(|| {
        let barrier = place::<Forked, _>(Barrier::new(2));
        let party = Child::fork(|| {
            let arrival = barrier.arrive::<H<Forked>>().unwrap().unwrap();
            Child::fork(|| barrier.leave::<H<Forked>>(&arrival)).succeeds();
            // SAFETY: ends this child.
            unsafe { libc::raise(libc::SIGKILL) };
        });
        party.wait();
        assert!(barrier.find_dead::<H<Forked>>(), "the dead party is noticed");
    });
}

/// A process that dies while it creates a barrier's list leaves nothing behind.
#[cfg(feature = "crash-points")]
#[test]
fn the_maker_of_a_list_dies() {
    alone(|| {
        drop(place::<Forked, _>(Barrier::new(1000)));
        let objects = || Session::get().unwrap().statistics().unwrap().objects;
        let before = objects();
        for crash in ["barrier.list.before-link", "barrier.list.linked"] {
            dies_at(crash, || drop(place::<Forked, _>(Barrier::new(1000))));
            Session::get().unwrap().reclaim().unwrap();
            assert_eq!(objects(), before, "{crash}");
        }
    });
}
