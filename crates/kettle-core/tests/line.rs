//! The order in which waiters are served. The assertions hold on machines of any speed: time decides only whether a
//! turn is due, and these tests wait until it is.

mod conformance;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use conformance::support::{Child, alone};
use conformance::{Forked, place};
use kettle_core::sync::{Event, Heap, Lock, OnOwnerDeath, Semaphore};
use kettle_core::wait::{Door, Doorbell, Line, Patience, Prepared, Scope, Ticket, Tickets};

/// Longer than the millisecond after which the first in line gets its turn.
fn until_due() {
    thread::sleep(Duration::from_millis(3));
}

/// Longer than a line stays closed.
fn until_late() {
    thread::sleep(Duration::from_millis(60));
}

fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came true");
        thread::yield_now();
    }
}

/// Repeats an attempt that must finish before the line opens by itself, in case the machine is too busy.
fn in_time<R>(mut attempt: impl FnMut() -> R) -> R {
    loop {
        let begun = Instant::now();
        let result = attempt();
        if begun.elapsed() < Duration::from_millis(40) {
            return result;
        }
    }
}

/// A bell, in a process that has a session.
fn bell() -> Doorbell {
    place::<Forked, _>(Event::new());
    Doorbell::new().unwrap()
}

fn rings(bell: &Doorbell) -> Vec<u32> {
    bell.drain().expect("none is lost")
}

/// Takes a ticket and registers a door for it.
fn at_door(line: &Line, door: Door) -> Ticket {
    let ticket = line.take_ticket();
    assert_eq!(line.leave_door(door, ticket, Tickets::NONE), Some(ticket));
    ticket
}

/// Registers the door again; returns whether the ticket still counts.
fn at_door_again(line: &Line, door: Door, ticket: Ticket) -> bool {
    line.leave_door(door, ticket, Tickets::NONE) == Some(ticket)
}

#[test]
fn threads_are_served_in_the_order_of_arrival() {
    // Few enough that each has a bit of its own: more are served in the same order, unless one of them is very slow.
    const THREADS: u32 = 30;
    let lock = Lock::new(OnOwnerDeath::Raise);
    let order = Mutex::new(Vec::new());
    lock.acquire::<Heap>(&Patience::forever()).unwrap();
    thread::scope(|scope| {
        for i in 0..THREADS {
            let (lock, order) = (&lock, &order);
            scope.spawn(move || {
                // Frequent ends of slices do not cost the place.
                let stop = || false;
                let patience = Patience::forever().interrupted_by(Duration::from_millis(1), &stop);
                lock.acquire::<Heap>(&patience).unwrap();
                order.lock().unwrap().push(i);
                until_due();
                lock.release::<Heap>().unwrap();
            });
            until(|| lock.freed().places() == i + 1);
        }
        until_due();
        lock.release::<Heap>().unwrap();
    });
    assert_eq!(order.into_inner().unwrap(), Vec::from_iter(0..THREADS));
}

#[test]
fn what_is_reserved_is_not_a_newcomers() {
    alone(|| {
        let bell = bell();
        let observed = in_time(|| {
            let semaphore = Semaphore::new(0, 10);
            let line = semaphore.given();
            let ticket = at_door(line, bell.door().calling(7));
            until_due();
            semaphore.release::<Heap>(1).unwrap();
            let take = || semaphore.acquire::<Heap>(&Patience::instant()).is_ok();
            let admits = |ticket| line.admits(ticket, || semaphore.value());
            let reserved = (rings(&bell), take(), admits(Some(ticket)), admits(None));
            // One more than is reserved.
            semaphore.release::<Heap>(1).unwrap();
            (reserved, take(), take(), line.leave(ticket), take())
        });
        assert_eq!(observed, ((vec![7], false, true, false), true, false, true, true));
    });
}

#[test]
fn a_called_waiter_that_leaves_holds_no_other_up() {
    alone(|| {
        let bell = bell();
        let observed = in_time(|| {
            let line = Line::new();
            let (first, second) = (at_door(&line, bell.door().calling(1)), line.take_ticket());
            until_due();
            let prepared = line.prepare();
            assert_eq!(prepared, Prepared::Closed(first));
            let admitted = [Some(first), Some(second), None].map(|ticket| line.admits(ticket, || 1));
            line.notify_prepared(prepared, 1, || 1, Scope::Private);
            assert!(line.leave(first), "it was reserved");
            (admitted, line.admits(None, || 1))
        });
        assert_eq!(observed, ([true, false, false], true));
    });
}

#[test]
fn who_does_not_come_in_time_loses_its_turn() {
    alone(|| {
        let (bell, line) = (bell(), Line::new());
        let ticket = at_door(&line, bell.door());
        until_due();
        let prepared = line.prepare();
        line.notify_prepared(prepared, 1, || 1, Scope::Private);
        until_late();
        assert!(line.admits(None, || 1));
        // Its next door is registered at the end of the line.
        assert_ne!(line.leave_door(bell.door(), ticket, Tickets::NONE), Some(ticket));
    });
}

#[test]
fn a_sleeper_looks_after_a_loop_that_does_not_come() {
    alone(|| {
        let (bell, semaphore) = (bell(), Semaphore::new(0, 10));
        let _busy = at_door(semaphore.given(), bell.door());
        thread::scope(|scope| {
            // Nothing else ends its sleep.
            scope.spawn(|| semaphore.acquire::<Heap>(&Patience::forever().among_threads(false)).unwrap());
            until(|| semaphore.given().sleepers() == 1);
            until_due();
            semaphore.release::<Heap>(1).unwrap();
            assert_eq!(rings(&bell).len(), 1, "its turn comes first");
        });
    });
}

#[test]
fn tickets_that_were_given_up_are_passed_over() {
    alone(|| {
        let (bell, line) = (bell(), Line::new());
        let gone: Vec<_> = (0..5).map(|_| line.take_ticket()).collect();
        gone[3..].iter().for_each(|ticket| assert!(!line.leave(*ticket)));
        let ticket = at_door(&line, bell.door());
        until_due();
        let prepared = line.prepare();
        assert_eq!(prepared, Prepared::Closed(gone[0]));
        line.notify_prepared(prepared, 1, || 1, Scope::Private);
        assert_eq!(rings(&bell).len(), 1);
        assert!(!line.admits(None, || 1) && line.admits(Some(ticket), || 1), "it is called");
    });
}

/// With more waiters than bits, a waiter takes what was reserved for another with the same bit that is gone.
#[test]
fn a_gone_waiter_is_stood_in_for() {
    let line = Line::new();
    let tickets = Vec::from_iter((0..40).map(|_| line.take_ticket()));
    let _announced = line.events().announce();
    until_due();
    assert_eq!(line.prepare(), Prepared::Closed(tickets[0]));
    let admitted = tickets.iter().filter(|ticket| line.admits(Some(**ticket), || 1));
    assert_eq!(Vec::from_iter(admitted), [&tickets[0], &tickets[32]]);
}

/// When several things become free, each is reserved for a different waiter.
#[test]
fn as_many_are_called_as_there_are_things() {
    alone(|| {
        let bells = [bell(), bell(), bell()];
        let observed = in_time(|| {
            let semaphore = Semaphore::new(0, 10);
            let line = semaphore.given();
            let tickets = bells.each_ref().map(|bell| at_door(line, bell.door()));
            until_due();
            semaphore.release::<Heap>(1).unwrap();
            semaphore.release::<Heap>(1).unwrap();
            let rung = bells.each_ref().map(|bell| !rings(bell).is_empty());
            let admitted = tickets.map(|ticket| line.admits(Some(ticket), || semaphore.value()));
            tickets.iter().for_each(|ticket| _ = line.leave(*ticket));
            bells.iter().for_each(|bell| line.events().take_door(bell.door(), Scope::Private));
            bells.iter().for_each(|bell| _ = rings(bell));
            (rung[..2].to_vec(), admitted)
        });
        assert_eq!(observed, (vec![true; 2], [true, true, false]));
    });
}

/// A loop has one door, registered for one ticket at a time; its other tickets may be called in the meantime.
#[test]
fn a_ticket_that_was_passed_over_is_the_next() {
    alone(|| {
        let bells = [bell(), bell()];
        let observed = in_time(|| {
            let line = Line::new();
            let (absent, present) = (line.take_ticket(), at_door(&line, bells[0].door()));
            until_due();
            let prepared = line.prepare();
            line.notify_prepared(prepared, 1, || 1, Scope::Private);
            let before = line.admits(Some(absent), || 1);
            let kept = at_door_again(&line, bells[1].door(), absent);
            let after = [Some(absent), Some(present), None].map(|ticket| line.admits(ticket, || 1));
            line.events().notify_all(Scope::Private);
            bells.iter().for_each(|bell| _ = rings(bell));
            (before, kept, after)
        });
        assert_eq!(observed, (false, true, [true, true, false]));
    });
}

#[test]
fn where_all_gave_up_the_line_is_open() {
    let line = Line::new();
    (0..5).for_each(|_| drop(line.join(Scope::Private)));
    assert_eq!(line.places(), 0);
    // Like killed waiters, which leave the line in this state.
    (0..5).for_each(|_| _ = line.take_ticket());
    assert_eq!(line.prepare(), Prepared::Open, "no waiter has announced itself");
    let _announced = line.events().announce();
    until_due();
    let prepared = line.prepare();
    assert!(matches!(prepared, Prepared::Closed(_)));
    line.notify_prepared(prepared, 1, || 1, Scope::Private);
    assert!(line.admits(None, || 1));
    assert_eq!(line.places(), 0, "all were skipped");
}

#[test]
fn what_does_not_come_leaves_the_order_as_it_was() {
    alone(|| {
        let (bell, line) = (bell(), Line::new());
        let first = at_door(&line, bell.door());
        until_due();
        for _ in 0..3 {
            let prepared = line.prepare();
            assert_eq!(prepared, Prepared::Closed(first));
            line.withdraw(prepared, Scope::Private);
            assert!(line.admits(None, || 1));
            // It looks in vain, and waits on with the same ticket.
            assert_eq!(rings(&bell).len(), 1);
            assert_eq!(line.leave_door(bell.door(), first, Tickets::NONE), Some(first));
            until_due();
        }
        assert_eq!(line.leave_door(bell.door(), first, Tickets::NONE), Some(first));
    });
}

#[test]
fn more_loops_than_have_room_are_served_in_order() {
    alone(|| {
        let (line, bells) = (Line::new(), Vec::from_iter((0..20).map(|_| bell())));
        let tickets: Vec<_> = bells.iter().map(|bell| at_door(&line, bell.door())).collect();
        for (i, (bell, &ticket)) in bells.iter().zip(&tickets).enumerate() {
            until_due();
            let prepared = line.prepare();
            assert_eq!(prepared, Prepared::Closed(ticket));
            line.notify_prepared(prepared, 1, || 1, Scope::Private);
            assert_eq!(rings(bell).len(), 1);
            assert_eq!(line.leave_door(bell.door(), ticket, Tickets::NONE), Some(ticket));
            assert!(!line.admits(None, || 1) && line.admits(Some(ticket), || 1), "it is called");
            assert!(line.leave(ticket), "it was called");
            line.events().take_door(bell.door(), Scope::Private);
            // Each of the others was rung to watch over the call.
            for (bell, ticket) in bells.iter().zip(&tickets).skip(i + 1) {
                assert_eq!(rings(bell).len(), 1);
                assert_eq!(line.leave_door(bell.door(), *ticket, Tickets::NONE), Some(*ticket));
            }
        }
    });
}

#[test]
fn a_door_is_left_once() {
    alone(|| {
        let (line, bells) = (Line::new(), Vec::from_iter((0..6).map(|_| bell())));
        let tickets: Vec<_> = bells.iter().map(|bell| at_door(&line, bell.door())).collect();
        // There is room in the line itself now; the last door is stored with the session.
        line.leave(tickets[0]);
        line.events().take_door(bells[0].door(), Scope::Private);
        assert_eq!(line.leave_door(bells[5].door(), tickets[5], Tickets::NONE), Some(tickets[5]));
        line.events().notify_all(Scope::Private);
        assert_eq!(rings(&bells[5]).len(), 1);
    });
}

/// A loop that was rung may be stopped: what is free must not wait for it.
#[test]
fn a_sleeper_is_told_as_well_as_a_loop_before_it() {
    alone(|| {
        let (bell, semaphore) = (bell(), Semaphore::new(0, 10));
        let _stopped = at_door(semaphore.given(), bell.door());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| semaphore.acquire::<Heap>(&Patience::forever().among_threads(false)).unwrap());
            }
            until(|| semaphore.given().sleepers() == 2);
            // Whether or not a turn is due.
            semaphore.release::<Heap>(1).unwrap();
            semaphore.release::<Heap>(1).unwrap();
        });
        assert_eq!(semaphore.value(), 0);
    });
}

/// The watcher gives up before the called waiter is late.
#[test]
fn a_watcher_that_leaves_is_followed_by_another() {
    alone(|| {
        let (bell, semaphore) = (bell(), Semaphore::new(0, 10));
        let _stopped = at_door(semaphore.given(), bell.door());
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| semaphore.acquire::<Heap>(&Patience::forever().among_threads(false)).unwrap());
            until(|| semaphore.given().sleepers() == 1);
            scope.spawn({
                let (semaphore, stop) = (&semaphore, &stop);
                move || {
                    let stop = || stop.load(Ordering::SeqCst);
                    let patience = Patience::forever().interrupted_by(Duration::from_millis(1), &stop);
                    let _ = semaphore.acquire::<Heap>(&patience);
                }
            });
            until(|| semaphore.given().places() == 3);
            until_due();
            stop.store(true, Ordering::SeqCst);
            semaphore.release::<Heap>(1).unwrap();
            until(|| semaphore.given().sleepers() == 0);
        });
    });
}

/// Words that another process has overwritten cost turns at most.
#[test]
fn a_first_ticket_far_ahead_is_not_believed() {
    alone(|| {
        let (bell, line) = (bell(), Line::new());
        let ticket = at_door(&line, bell.door());
        // As if every waiter of the next days had been called.
        let next = std::mem::offset_of!(Words, first);
        // SAFETY: a word of the line, whose layout starts with `Words`.
        let first = unsafe { &*std::ptr::from_ref(&line).byte_add(next).cast::<AtomicU32>() };
        assert_eq!(first.load(Ordering::SeqCst), 1);
        first.store(1 << 30, Ordering::SeqCst);
        let renewed = line.leave_door(bell.door(), ticket, Tickets::NONE).unwrap();
        assert_eq!(line.leave_door(bell.door(), renewed, Tickets::NONE), Some(renewed));
        assert_eq!(line.places(), 1);
    });
}

/// The first words of a line.
#[repr(C)]
struct Words {
    events: [u64; size_of::<kettle_core::wait::EventCount>() / 8],
    next: u32,
    first: u32,
}

#[test]
fn a_forked_child_forgets_who_waited_in_its_parent() {
    alone(|| {
        let line = Line::new();
        // Like waiting threads, which do not exist in a forked child.
        let ghosts = [line.join(Scope::Private), line.join(Scope::Private)];
        assert!(line.events().leave_door(Door::from_bits(77 << 32).unwrap()));
        Child::fork(|| {
            let first = line.join(Scope::Private);
            assert_eq!(line.places(), 1);
            let second = line.join(Scope::Private);
            assert_eq!(line.places(), 2, "those of this process");
            let seen = line.events().announce();
            until_due();
            assert_eq!(line.prepare(), Prepared::Closed(first.ticket()), "the first of this process");
            drop((first, second, seen));
        })
        .succeeds();
        assert_eq!(line.places(), 2, "the parent's waiters still wait");
        // A line shared by processes is left alone.
        let shared = Line::new();
        let waiting = shared.join(Scope::Shared);
        Child::fork(|| {
            let _place = shared.join(Scope::Shared);
            assert_eq!(shared.places(), 2);
        })
        .succeeds();
        drop((ghosts, waiting));
    });
}
