//! A thread that panics at any crash point leaves no lock held, no node taken and no count wrong: the others continue.
//!
//! What queues and the arena do in that case is tested together with their deaths, in `queue_deaths` and `arena_crash`.
#![cfg(feature = "crash-points")]

mod conformance;

use conformance::support::alone;
use conformance::*;
use kettle_core::shared::{InArena, Placement, pipe, place_of};
use kettle_core::sync::{Acquired, Barrier, BarrierError, Condition, Lock, OnOwnerDeath, Turn};
use kettle_core::wait::Patience;

type W = Threads<InArena>;
type Home = <InArena as Placement>::Home;

#[test]
fn a_lock_is_left_whatever_panics_while_it_is_left() {
    alone(|| {
        let lock = place::<W, _>(Lock::new(OnOwnerDeath::Raise));
        for crash in ["lock.release.before:1", "lock.release.before-notify:1"] {
            assert_eq!(lock.acquire::<Home>(&forever()), Ok(Acquired::Clean));
            panics_here(crash, || _ = lock.release::<Home>());
            assert_eq!(lock.owner(), None, "{crash}");
            W::all(1, |_| assert!(lock.try_acquire_now::<Home>()));
            lock.release::<Home>().unwrap();
        }
    });
}

#[test]
fn places_of_a_condition_come_back() {
    alone(|| {
        let condition = place::<W, _>(Condition::new());
        for _ in 0..2 * Condition::MAX_WAITERS {
            panics_here("condition.enrol.claimed:1", || _ = condition.enrol::<Home>());
        }
        assert_eq!(condition.waiting(), 0);
        let waiter = condition.enrol::<Home>().unwrap();
        condition.withdraw::<Home>(waiter);
    });
}

#[test]
fn a_notification_is_not_lost_with_the_one_that_gave_it() {
    alone(|| {
        let condition = place::<W, _>(Condition::new());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let waiter = condition.enrol::<Home>().unwrap();
                condition.wait::<Home>(waiter, &forever())
            });
            until(|| condition.waiting() == 1);
            panics_here("condition.notify.granted:1", || _ = condition.notify::<Home>(1));
            assert_eq!(waiter.join().unwrap(), Ok(()));
        });
        assert_eq!(condition.waiting(), 0);
    });
}

#[test]
fn a_notification_is_passed_on_by_one_that_panics_then() {
    alone(|| {
        let condition = place::<W, _>(Condition::new());
        std::thread::scope(|scope| {
            let first = condition.enrol::<Home>().unwrap();
            let other = scope.spawn(|| {
                let waiter = condition.enrol::<Home>().unwrap();
                condition.wait::<Home>(waiter, &forever())
            });
            until(|| condition.waiting() == 2);
            assert_eq!(condition.notify::<Home>(1), 1);
            panics_here("condition.withdraw.passed-on:1", || condition.withdraw::<Home>(first));
            assert_eq!(other.join().unwrap(), Ok(()));
            assert!(!condition.poll::<Home>(first), "its node was released");
        });
    });
}

#[test]
fn what_the_dead_were_granted_is_passed_on_by_one_that_panics_then() {
    alone(|| {
        let condition = place::<W, _>(Condition::new());
        let dead = support::Child::fork(|| {
            let _ = condition.enrol::<Home>().unwrap();
            support::sleep_for_ever();
        });
        until(|| condition.waiting() == 1);
        std::thread::scope(|scope| {
            assert_eq!(condition.notify::<Home>(1), 1);
            dead.kill_and_wait();
            let waiter = condition.enrol::<Home>().unwrap();
            panics_here("condition.inherit.taken-over:1", || _ = condition.wait::<Home>(waiter, &forever()));
            // There was no other waiter for the grant to go to, and the waiter itself is gone.
            assert_eq!(condition.waiting(), 0);
            let next = scope.spawn(|| {
                let waiter = condition.enrol::<Home>().unwrap();
                condition.wait::<Home>(waiter, &forever())
            });
            until(|| condition.waiting() == 1);
            assert_eq!(condition.notify::<Home>(1), 1);
            assert_eq!(next.join().unwrap(), Ok(()));
        });
    });
}

fn meet(barrier: &Barrier) -> Result<(), BarrierError> {
    match barrier.wait::<Home>(&forever())? {
        Turn::Through(_) => Ok(()),
        Turn::Last(last) => last.done().map(drop),
    }
}

#[test]
fn a_party_that_did_not_arrive_is_not_missed() {
    alone(|| {
        let barrier = place::<W, _>(Barrier::new(2));
        for _ in 0..2 * Barrier::SIGNED {
            panics_here("barrier.arrive.signed:1", || drop(barrier.arrive::<Home>()));
        }
        assert_eq!(barrier.waiting(), 0);
        W::all(2, |_| assert_eq!(meet(&barrier), Ok(())));
    });
}

#[test]
fn a_party_that_arrived_and_panicked_breaks_the_round() {
    alone(|| {
        for (crash, well) in [
            ("barrier.arrive.counted:1", false),
            ("barrier.done.before:1", false),
            ("barrier.done.before-notify:1", true),
        ] {
            let barrier = place::<W, _>(Barrier::new(2));
            std::thread::scope(|scope| {
                let other = scope.spawn(|| meet(&barrier));
                until(|| barrier.waiting() == 1);
                panics_here(crash, || _ = meet(&barrier));
                assert_eq!(other.join().unwrap(), if well { Ok(()) } else { Err(BarrierError::Broken) }, "{crash}");
            });
            barrier.reset::<Home>();
            W::all(2, |_| assert_eq!(meet(&barrier), Ok(()), "{crash}"));
        }
    });
}

#[test]
fn those_who_meet_are_told_of_an_abort_that_panics() {
    alone(|| {
        let barrier = place::<W, _>(Barrier::new(2));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| meet(&barrier));
            until(|| barrier.waiting() == 1);
            panics_here("barrier.abort.before-notify:1", || barrier.abort::<Home>());
            assert_eq!(other.join().unwrap(), Err(BarrierError::Broken));
        });
    });
}

#[test]
fn the_sheets_of_a_joinable_queue_are_there_after_a_panic() {
    use kettle_core::queue::{Parcel, Queue};
    alone(|| {
        for crash in ["queue.consumers.before-link:1", "queue.consumers.linked:1"] {
            let queue = place::<W, _>(Queue::new(0, true));
            let put = |n: u8| {
                let parcel = Parcel::<S<W>>::inline(n, b"item");
                assert!(queue.put(place_of(&queue), parcel, &forever()).is_ok());
            };
            let get = || queue.get::<S<W>>(&mut Vec::new(), &Patience::none());
            // As many as there are entries in the queue itself.
            let others: Vec<_> = (0..32)
                .map(|n| {
                    put(n);
                    let before = queue.len();
                    let child = support::Child::fork(|| {
                        get().unwrap();
                        support::sleep_for_ever();
                    });
                    until(|| queue.len() == before - 1);
                    child
                })
                .collect();
            put(99);
            panics_here(crash, || drop(get()));
            assert_eq!((queue.len(), queue.unfinished::<S<W>>()), (1, 33), "{crash}");
            assert_eq!(get().unwrap().tag, 99);
            (0..33).for_each(|_| queue.task_done::<S<W>>().unwrap());
            assert_eq!(queue.unfinished::<S<W>>(), 0, "{crash}");
            others.into_iter().for_each(support::Child::kill_and_wait);
        }
    });
}

/// At most the long message during which a thread panicked, sending or receiving it, is lost; later ones arrive.
#[test]
fn a_pipe_goes_on() {
    use kettle_core::arena::Block;
    use kettle_core::queue::{Body, Parcel};
    use kettle_core::shared::{PipeEnd, Received};
    use kettle_core::sys::descriptor::KnownFd;
    alone(|| {
        kettle_core::shared::init();
        for (crash, sends) in [
            ("pipe.send.put:1", true),
            ("pipe.send.announced:1", true),
            ("pipe.receive.record:1", false),
            ("pipe.receive.taken:1", false),
            ("queue.get.claimed:1", false),
        ] {
            let [(a, to), (b, from)] = pipe().unwrap();
            let (a, b) = (KnownFd::new(a, "a pipe"), KnownFd::new(b, "a pipe"));
            let sender = PipeEnd { socket: &a, channel: Some(&to) };
            let receiver = PipeEnd { socket: &b, channel: Some(&from) };
            let send = |n: u8| {
                let block = Block::copy_of(&[n; 100_000]).unwrap();
                let parcel = Parcel::blocks(n, Body::Block(block), Vec::new());
                sender.send_through(&to, parcel, &forever()).unwrap();
            };
            let receive = || {
                let mut buffer = Vec::new();
                let posted = receiver.posted();
                match receiver.try_receive(&mut buffer).transpose() {
                    Some(received) => received.unwrap(),
                    None => receiver.receive(&mut buffer, posted, &forever()).unwrap(),
                }
            };
            if sends {
                panics_here(crash, || send(1));
            } else {
                send(1);
                panics_here(crash, || drop(receive()));
            }
            send(2);
            send(3);
            let tags = std::iter::from_fn(|| match receive() {
                Received::Announced(taken) => Some(taken.tag),
                Received::Inline(_) => None,
            });
            let mut tags: Vec<u8> = tags.take_while(|tag| *tag != 3).collect();
            tags.retain(|tag| *tag != 1);
            assert_eq!(tags, [2], "{crash}");
        }
    });
}
