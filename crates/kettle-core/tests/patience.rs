//! How long a caller waits: deadlines, and the slices that waits are cut into.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use kettle_core::sys::clock;
use kettle_core::wait::{Deadline, EventCount, Next, Patience, Scope, Stopped, Watcher};

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

/// A watcher that returns a given outcome, counts its looks, and can be called.
struct Says {
    next: Cell<Next>,
    looks: Cell<u32>,
    is_called: Cell<bool>,
}

impl Watcher for Says {
    fn look(&self) -> Next {
        self.looks.set(self.looks.get() + 1);
        self.is_called.set(false);
        self.next.get()
    }

    fn is_called(&self) -> bool {
        self.is_called.get()
    }
}

fn says(next: Next) -> Says {
    Says { next: Cell::new(next), looks: Cell::new(0), is_called: Cell::new(false) }
}

/// The lengths of the next `N` slices.
fn slices<const N: usize>(patience: &Patience<'_>) -> [u64; N] {
    core::array::from_fn(|_| {
        let slice = patience.slice().unwrap();
        patience.slept().unwrap();
        slice.as_millis() as u64
    })
}

#[test]
fn slices_grow() {
    let stop = || false;
    let long = [10, 20, 40, 80, 160, 200, 255, 382, 573, 860, 1000, 1000];
    let patience = Patience::forever();
    assert_eq!(slices(&patience), long);
    assert_eq!(patience.naps(), 12);
    assert_eq!(slices(&patience.no_later_than(Deadline::NEVER)), [1000; 2], "it continues where the other one is");
    assert_eq!(slices(&patience.at_least_a_second()), long, "it starts over");
    let unlimited = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 20_480];
    assert_eq!(slices(&Patience::forever().among_threads(true)), unlimited, "there is nothing to check");
    let stopped = |slice| Patience::forever().interrupted_by(slice, &stop);
    let attentive = [10, 20, 40, 50, 60, 90, 135, 202, 303, 455, 683, 1000, 1000];
    assert_eq!(slices(&stopped(ms(50))), attentive);
    assert_eq!(slices(&stopped(ms(50)).among_threads(true)), attentive);
    assert_eq!(slices(&stopped(HOUR)), long);
    assert_eq!(slices(&stopped(Duration::ZERO)), [1, 1, 1, 1, 2], "at least a millisecond");
    let soon = Patience::until(Deadline::after(ms(5)));
    assert!(soon.slice().map_or(true, |slice| slice <= ms(5)));
    assert_eq!(Patience::until(Deadline::at(1)).slice(), Err(Stopped::TimedOut));
    assert_eq!(Patience::none().slice(), Err(Stopped::TimedOut));
}

#[test]
fn slices_grow_as_the_watch_says() {
    let watch = says(Next::Soon);
    let threads = Patience::forever().among_threads(true);
    let patience = threads.watched_by(&watch);
    assert_eq!(slices(&patience), [10, 20, 40, 80, 160, 200, 200, 200], "there is a reason to look");
    watch.next.set(Next::Later(ms(1000)));
    assert_eq!(slices(&patience), [200, 200, 200, 300, 450, 675, 1000, 1000], "no reason any more");
    watch.next.set(Next::Later(ms(2500)));
    assert_eq!(slices(&patience), [1000, 2500, 2500, 2500], "others look as well");
    watch.next.set(Next::Soon);
    assert_eq!(slices(&patience), [2500, 200, 200], "a reason again");
    let stop = || false;
    let main = Patience::forever().interrupted_by(ms(50), &stop);
    let watch = says(Next::Later(HOUR));
    let patience = main.watched_by(&watch);
    assert_eq!(slices::<20>(&patience)[19], 1000, "signals must be noticed as well");
}

#[test]
fn who_is_told_of_all_needs_no_short_slices() {
    let stop = || false;
    let main = Patience::forever().interrupted_by(ms(50), &stop);
    assert_eq!(slices(&main.unhurried()), [1000; 3]);
    assert_eq!(slices(&main.unhurried().no_later_than(Deadline::NEVER)), [1000; 3]);
    assert!(main.unhurried().no_later_than(Deadline::after(ms(5))).slice().map_or(true, |slice| slice <= ms(5)));
}

#[test]
fn a_watch_that_is_called_looks_before_the_slice_is_over() {
    let (word, watch) = (AtomicU32::new(5), says(Next::Soon));
    let patience = Patience::forever();
    let patience = patience.watched_by(&watch);
    // Another thread changed the word, or woke this one only for that.
    assert_eq!(patience.sleep(&word, 4, Scope::Private), Ok(()));
    assert_eq!(watch.looks.get(), 0);
    watch.is_called.set(true);
    assert_eq!(patience.sleep(&word, 4, Scope::Private), Ok(()));
    assert_eq!((watch.looks.get(), patience.naps()), (1, 1));
    assert_eq!(patience.sleep(&word, 4, Scope::Private), Ok(()));
    assert_eq!(watch.looks.get(), 1, "it is not called any more");
    watch.next.set(Next::Stop);
    watch.is_called.set(true);
    assert_eq!(patience.sleep(&word, 4, Scope::Private), Err(Stopped::Interrupted));
}

#[test]
fn is_asked_after_each_slice_whether_to_stop() {
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 2;
    let patience = Patience::forever().interrupted_by(ms(1), &stop);
    let watch = says(Next::Soon);
    let patience = patience.watched_by(&watch);
    assert_eq!((patience.slept(), patience.slept()), (Ok(()), Ok(())));
    assert_eq!((asked.get(), watch.looks.get()), (2, 2));
    assert_eq!(patience.slept(), Err(Stopped::Interrupted), "as the stop check says");
    assert_eq!(watch.looks.get(), 2, "the watcher is not asked any more");
    for _ in 3..10 {
        assert!(patience.slept().is_ok());
    }
    watch.next.set(Next::Stop);
    assert_eq!(patience.slept(), Err(Stopped::Interrupted), "as the watcher says");
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

/// A thread that is woken again and again for nothing still checks for signals and dead owners.
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
    assert_eq!(looks.get(), 1, "it must not take anything any more");
    let patience = Patience::forever();
    let third = Cell::new(0);
    let each_nap = || (third.replace(third.get() + 1) == 2).then_some("third");
    assert_eq!(count.wait_for(&patience, Scope::Private, no, each_nap), Ok("third"));
    assert_eq!(patience.naps(), 3);
}
