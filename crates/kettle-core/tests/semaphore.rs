//! Permits without owners.

mod conformance;

use std::time::Duration;

use conformance::*;
use kettle_core::sync::{ReleasedTooOften, Semaphore};
use kettle_core::wait::{Patience, Stopped};

conformance!(lets_so_many_in, has_a_limit, ends_late, several_at_once_wake_several, two_in_a_row_wake_two);

fn lets_so_many_in<W: World>() {
    let permits = place::<W, _>(Semaphore::new(2, 2));
    let tally = place::<W, _>(Tally::new());
    W::all(4, |_| {
        for _ in 0..1_000 {
            permits.acquire::<H<W>>(&forever()).unwrap();
            assert!(tally.add(0, 1) <= 2);
            tally.add(0, u64::MAX);
            permits.release::<H<W>>(1).unwrap();
        }
    });
    assert_eq!((permits.value(), tally.get(0)), (2, 0));
}

fn has_a_limit<W: World>() {
    let permits = place::<W, _>(Semaphore::new(1, 2));
    assert_eq!(permits.release::<H<W>>(2), Err(ReleasedTooOften));
    assert_eq!(permits.value(), 1);
    permits.release::<H<W>>(0).unwrap();
    permits.release::<H<W>>(1).unwrap();
    assert_eq!(permits.release::<H<W>>(1), Err(ReleasedTooOften));
    let many = place::<W, _>(Semaphore::new(Semaphore::MAX, u32::MAX));
    many.release::<H<W>>(Semaphore::MAX).unwrap();
    assert_eq!(many.release::<H<W>>(Semaphore::MAX), Err(ReleasedTooOften));
}

fn ends_late<W: World>() {
    let permits = place::<W, _>(Semaphore::new(0, 1));
    assert_eq!(permits.acquire::<H<W>>(&Patience::none()), Err(Stopped::TimedOut));
    assert_eq!(at_least(A_MOMENT, || permits.acquire::<H<W>>(&within(A_MOMENT))), Err(Stopped::TimedOut));
    let stop = || true;
    let patience = forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(permits.acquire::<H<W>>(&patience), Err(Stopped::Interrupted));
    assert_eq!(permits.statistics().waiting, 0);
}

fn several_at_once_wake_several<W: World>() {
    wakes::<W>(|permits| permits.release::<H<W>>(4).unwrap());
}

fn two_in_a_row_wake_two<W: World>() {
    wakes::<W>(|permits| (0..4).for_each(|_| permits.release::<H<W>>(1).unwrap()));
}

fn wakes<W: World>(release: impl Fn(&Semaphore) + Sync) {
    for _ in 0..20 {
        let permits = place::<W, _>(Semaphore::new(0, 4));
        W::all(5, |i| match i {
            0 => {
                until(|| permits.statistics().waiting == 4);
                release(&permits);
            }
            _ => permits.acquire::<H<W>>(&forever()).unwrap(),
        });
        assert_eq!(permits.value(), 0);
    }
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::{Child, alone};

    /// Of two sleepers, the woken one is killed; the other one gets the permit.
    #[test]
    fn a_dead_waiter_takes_no_wake_up_along() {
        alone(|| {
            let permits = place::<Forked, _>(Semaphore::new(0, 1));
            let wish = || Child::fork(|| permits.acquire::<H<Forked>>(&forever()).unwrap());
            let dying = wish();
            until(|| permits.statistics().waiting == 1);
            let other = wish();
            until(|| permits.statistics().waiting == 2);
            // SAFETY: kill takes two integers; the process is our child.
            unsafe { libc::kill(dying.pid() as i32, libc::SIGSTOP) };
            permits.release::<H<Forked>>(1).unwrap();
            dying.kill_and_wait();
            other.succeeds();
        });
    }
}
