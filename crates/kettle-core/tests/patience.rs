//! How long one waits: deadlines, and the slices that waits are cut into.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use kettle_core::sys::clock;
use kettle_core::wait::{Deadline, EventCount, Patience, Scope, Stopped};

const HOUR: Duration = Duration::from_secs(3600);
const NANOS: u64 = 3_600_000_000_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn deadlines() {
    assert!(Deadline::NOW.is_past() && !Deadline::NEVER.is_past());
    assert_eq!((Deadline::NOW.as_nanos(), Deadline::NEVER.as_nanos()), (0, u64::MAX));
    let now = clock::now();
    let (before, later) = (Deadline::at(now), Deadline::at(now + NANOS));
    assert!(before.is_past() && !later.is_past() && before < later);
    assert_eq!((before.as_nanos(), later.as_nanos()), (now, now + NANOS));
    let left = later.remaining().unwrap();
    assert!(left <= HOUR && left > Duration::ZERO);
    assert_eq!((before.remaining(), Deadline::NEVER.remaining()), (Some(Duration::ZERO), None));
    assert_eq!(Deadline::after(Duration::ZERO), Deadline::NOW);
    assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
    assert_eq!(Deadline::after(Duration::from_nanos(u64::MAX)), Deadline::NEVER);
    let hour = Deadline::after(HOUR).as_nanos();
    assert!((now + NANOS..=clock::now() + NANOS).contains(&hour));
}

#[test]
fn seconds_as_python_counts_them() {
    assert_eq!(Deadline::after_seconds(None), Deadline::NEVER);
    for now in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(Deadline::after_seconds(Some(now)), Deadline::NOW, "{now}");
    }
    assert_eq!(Deadline::after_seconds(Some(f64::INFINITY)), Deadline::NEVER);
    let now = clock::now();
    let hour = Deadline::after_seconds(Some(3600.0)).as_nanos();
    assert!((now + NANOS..=clock::now() + NANOS).contains(&hour));
}

#[test]
fn of_what_kind_it_is() {
    let (forever, none, instant) = (Patience::forever(), Patience::none(), Patience::instant());
    assert!(forever.may_wait() && forever.may_spin() && !forever.is_instant());
    assert!(!none.may_wait() && !none.may_spin() && !none.is_instant());
    assert!(!instant.may_wait() && !instant.may_spin() && instant.is_instant());
    assert_eq!(forever.deadline(), Deadline::NEVER);
    assert!(!forever.among_threads(false).may_spin() && forever.among_threads(true).may_spin());
    let soon = Deadline::after(HOUR);
    assert_eq!(forever.no_later_than(soon).deadline(), soon);
    assert_eq!(Patience::until(soon).no_later_than(Deadline::NEVER).deadline(), soon);
    let now = clock::now();
    assert!(none.at_least_a_second().deadline() >= Deadline::at(now + 1_000_000_000));
    assert!(none.at_least_a_second().deadline() < Deadline::after(HOUR));
    assert_eq!(forever.at_least_a_second().deadline(), Deadline::NEVER);
}

/// The lengths of the first slices.
fn slices(patience: &Patience<'_>) -> Vec<u64> {
    let slices = (0..8).map(|_| {
        let slice = patience.slice().unwrap();
        patience.slept().unwrap();
        slice.as_millis() as u64
    });
    slices.collect()
}

#[test]
fn slices_grow() {
    let (stop, watch) = (|| false, || false);
    let long = [10, 20, 40, 80, 160, 200, 200, 200];
    let unlimited = [10, 20, 40, 80, 160, 320, 640, 1280];
    let patience = Patience::forever();
    assert_eq!(slices(&patience), long);
    assert_eq!(patience.naps(), 8);
    assert_eq!(slices(&patience.no_later_than(Deadline::NEVER)), [200; 8], "it goes on where the other one is");
    assert_eq!(slices(&patience.at_least_a_second()), long, "it begins anew");
    assert_eq!(slices(&Patience::forever().among_threads(true)), unlimited, "nobody is to be asked");
    assert_eq!(slices(&Patience::forever().among_threads(true).watched_by(&watch)), long);
    let stopped = |slice| Patience::forever().interrupted_by(slice, &stop);
    assert_eq!(slices(&stopped(ms(50))), [10, 20, 40, 50, 50, 50, 50, 50]);
    assert_eq!(slices(&stopped(ms(50)).among_threads(true)), [10, 20, 40, 50, 50, 50, 50, 50]);
    assert_eq!(slices(&stopped(HOUR)), long);
    assert_eq!(slices(&stopped(Duration::ZERO)), [1; 8], "milliseconds at least");
    let soon = Patience::until(Deadline::after(ms(5)));
    assert!(soon.slice().map_or(true, |slice| slice <= ms(5)));
    assert_eq!(Patience::until(Deadline::at(1)).slice(), Err(Stopped::TimedOut));
    assert_eq!(Patience::none().slice(), Err(Stopped::TimedOut));
}

#[test]
fn is_asked_after_each_slice_whether_to_stop() {
    let (asked, watched) = (Cell::new(0), Cell::new(0));
    let stop = || asked.replace(asked.get() + 1) == 2;
    let patience = Patience::forever().interrupted_by(ms(1), &stop);
    let watch = || watched.replace(watched.get() + 1) == 9;
    let patience = patience.watched_by(&watch);
    assert_eq!((patience.slept(), patience.slept()), (Ok(()), Ok(())));
    assert_eq!((asked.get(), watched.get()), (2, 2));
    assert_eq!(patience.slept(), Err(Stopped::Interrupted), "as the one says");
    assert_eq!(watched.get(), 2, "the other one is not asked any more");
    for _ in 3..10 {
        assert!(patience.slept().is_ok());
    }
    assert_eq!(patience.slept(), Err(Stopped::Interrupted), "as the other one says");
}

#[test]
fn sleeps_while_the_word_is_as_it_was() {
    let word = AtomicU32::new(5);
    let patience = Patience::forever();
    assert_eq!(patience.sleep(&word, 4, Scope::Private), Ok(()));
    assert_eq!(patience.naps(), 0, "it did not sleep");
    let begun = clock::now();
    assert_eq!(patience.sleep(&word, 5, Scope::Private), Ok(()));
    assert!(patience.naps() == 1 || patience.sleep(&word, 5, Scope::Private).is_ok() && patience.naps() == 1);
    assert!(clock::now() - begun >= 10_000_000, "a slice");
    let late = Deadline::after(ms(25));
    let patience = Patience::until(late);
    while patience.sleep(&word, 5, Scope::Private).is_ok() {}
    assert!(late.is_past() && patience.naps() <= 2);
    assert_eq!(Patience::none().sleep(&word, 4, Scope::Private), Err(Stopped::TimedOut));
    assert_eq!(Patience::until(Deadline::at(1)).sleep(&word, 4, Scope::Private), Err(Stopped::TimedOut));
}

/// Woken again and again for nothing, one looks for signals and for the dead all the same.
#[test]
fn a_slice_ends_though_the_word_changes_all_the_time() {
    let word = AtomicU32::new(0);
    let patience = Patience::forever();
    while patience.naps() < 2 {
        assert_eq!(patience.sleep(&word, 1, Scope::Private), Ok(()));
    }
}

#[test]
fn sleeps_on_an_event_count_until_something_happens() {
    let count = EventCount::new();
    let patience = Patience::forever();
    let seen = count.announce();
    assert_eq!(count.sleep(seen, &patience, Scope::Private), Ok(()));
    while patience.naps() == 0 {
        assert_eq!(count.sleep(seen, &patience, Scope::Private), Ok(()), "a stray wake-up");
    }
    let seen = count.announce();
    count.notify_one(Scope::Private);
    let patience = Patience::forever();
    assert_eq!(count.sleep(seen, &patience, Scope::Private), Ok(()));
    assert_eq!((patience.naps(), count.sleepers()), (0, 0), "something happened since");
}

#[test]
fn looks_and_asks_until_there_is_something() {
    let count = EventCount::new();
    let no = || None::<&str>;
    assert_eq!(count.wait_for(&Patience::none(), Scope::Private, || Some("there"), no), Ok("there"));
    let looks = Cell::new(0);
    let second = || (looks.replace(looks.get() + 1) == 1).then_some("once more");
    assert_eq!(count.wait_for(&Patience::none(), Scope::Private, second, no), Ok("once more"));
    assert_eq!(count.wait_for(&Patience::none(), Scope::Private, no, no), Err(Stopped::TimedOut));
    assert_eq!(count.wait_for(&Patience::forever(), Scope::Private, no, || Some("in a nap")), Ok("in a nap"));
    let stop = || true;
    let patience = Patience::forever().interrupted_by(ms(1), &stop);
    looks.set(0);
    assert_eq!(count.wait_for(&patience, Scope::Private, second, no), Err(Stopped::Interrupted));
    assert_eq!(looks.get(), 1, "nothing is taken any more");
    let patience = Patience::forever();
    let third = Cell::new(0);
    let each_nap = || (third.replace(third.get() + 1) == 2).then_some("third");
    assert_eq!(count.wait_for(&patience, Scope::Private, no, each_nap), Ok("third"));
    assert_eq!(patience.naps(), 3);
}
