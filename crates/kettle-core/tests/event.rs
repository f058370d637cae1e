//! Events.

mod conformance;

use std::time::Duration;

use conformance::*;
use kettle_core::sync::Event;
use kettle_core::wait::{Patience, Stopped};

conformance!(lets_all_through, is_put_up_and_down, ends_late, a_moment_is_enough);

fn lets_all_through<W: World>() {
    let event = place::<W, _>(Event::new());
    let tally = place::<W, _>(Tally::new());
    W::all(6, |i| {
        if i == 0 {
            until(|| event.statistics().waiting == 5);
            tally.add_guarded();
            event.set::<H<W>>();
        } else {
            event.wait::<H<W>>(&forever()).unwrap();
            assert_eq!(tally.guarded(), 1);
        }
    });
}

fn is_put_up_and_down<W: World>() {
    let event = place::<W, _>(Event::new());
    event.clear();
    assert!(!event.is_set());
    event.set::<H<W>>();
    event.set::<H<W>>();
    W::all(1, |_| event.wait::<H<W>>(&Patience::none()).unwrap());
    event.clear();
    assert!(!event.is_set());
}

fn ends_late<W: World>() {
    let event = place::<W, _>(Event::new());
    assert_eq!(event.wait::<H<W>>(&Patience::none()), Err(Stopped::TimedOut));
    assert_eq!(at_least(A_MOMENT, || event.wait::<H<W>>(&within(A_MOMENT))), Err(Stopped::TimedOut));
    let stop = || true;
    let patience = forever().interrupted_by(Duration::from_millis(5), &stop);
    assert_eq!(event.wait::<H<W>>(&patience), Err(Stopped::Interrupted));
}

/// A sleeper passes even if the flag is cleared again before it has looked.
fn a_moment_is_enough<W: World>() {
    for _ in 0..50 {
        let event = place::<W, _>(Event::new());
        W::all(3, |i| {
            if i == 0 {
                until(|| event.statistics().waiting == 2);
                event.set::<H<W>>();
                event.clear();
            } else {
                event.wait::<H<W>>(&forever()).unwrap();
            }
        });
    }
}

#[cfg(feature = "crash-points")]
mod deaths {
    use super::*;
    use crate::conformance::support::{Child, alone};

    #[test]
    fn a_dead_waiter_is_no_hindrance() {
        alone(|| {
            let event = place::<Forked, _>(Event::new());
            let wait = || Child::fork(|| event.wait::<H<Forked>>(&forever()).unwrap());
            let (dying, other) = (wait(), wait());
            until(|| event.statistics().waiting == 2);
            dying.kill_and_wait();
            event.set::<H<Forked>>();
            other.succeeds();
        });
    }
}
