//! The lock that its holder may take again.

mod conformance;

use conformance::*;
use kettle_core::sync::{Acquired, LockError, OnOwnerDeath, ReentrantLock};
use kettle_core::wait::{Patience, Stopped};

conformance!(excludes_with_depth, is_its_holders_alone, is_left_and_taken_whole);

fn excludes_with_depth<W: World>() {
    let lock = place::<W, _>(ReentrantLock::new(OnOwnerDeath::Raise));
    let tally = place::<W, _>(Tally::new());
    W::all(3, |_| {
        for i in 0..1_000 {
            let depth = i % 3 + 1;
            for d in 1..=depth {
                assert_eq!(lock.acquire::<H<W>>(&forever()), Ok(Acquired::Clean));
                assert_eq!(lock.depth::<H<W>>(), d);
            }
            tally.add_guarded();
            (0..depth).for_each(|_| lock.release::<H<W>>().unwrap());
        }
    });
    lock.acquire::<H<W>>(&forever()).unwrap();
    assert_eq!(tally.guarded(), 3_000);
}

fn is_its_holders_alone<W: World>() {
    let lock = place::<W, _>(ReentrantLock::new(OnOwnerDeath::Raise));
    assert!(lock.release::<H<W>>().is_err());
    lock.acquire::<H<W>>(&forever()).unwrap();
    W::all(1, |_| {
        assert!(!lock.is_mine::<H<W>>());
        assert_eq!(lock.depth::<H<W>>(), 0);
        assert!(lock.release::<H<W>>().is_err());
        assert_eq!(lock.acquire::<H<W>>(&Patience::none()), Err(LockError::Stopped(Stopped::TimedOut)));
    });
    lock.release::<H<W>>().unwrap();
    assert_eq!(lock.owner(), None);
}

fn is_left_and_taken_whole<W: World>() {
    let lock = place::<W, _>(ReentrantLock::new(OnOwnerDeath::Raise));
    (0..3).for_each(|_| {
        lock.acquire::<H<W>>(&forever()).unwrap();
    });
    assert_eq!(lock.release_all::<H<W>>(), Ok(3));
    W::all(1, |_| {
        lock.acquire::<H<W>>(&forever()).unwrap();
        lock.release::<H<W>>().unwrap();
    });
    assert_eq!(lock.held(), 0);
    lock.acquire_again::<H<W>>(3, &forever()).unwrap();
    assert_eq!((lock.depth::<H<W>>(), lock.held()), (3, 3));
    // Any thread can ask how often the lock is held.
    W::all(1, |_| assert_eq!((lock.depth::<H<W>>(), lock.held()), (0, 3)));
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::alone;

    #[test]
    fn a_dead_holders_depth_is_forgotten() {
        alone(|| {
            let lock = place::<Forked, _>(ReentrantLock::new(OnOwnerDeath::Recover));
            dies_at("lock.release.before", || {
                lock.acquire::<H<Forked>>(&forever()).unwrap();
                lock.acquire::<H<Forked>>(&forever()).unwrap();
                lock.release_all::<H<Forked>>().unwrap();
            });
            assert!(matches!(lock.acquire::<H<Forked>>(&forever()), Ok(Acquired::FromDead(_))));
            assert_eq!(lock.depth::<H<Forked>>(), 1);
        });
    }
}
