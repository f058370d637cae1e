//! What the death of a putter, a getter, a consumer or a whole queue leaves behind: nothing.
//!
//! A test program of its own, so that the objects of a session can be counted.
#![cfg(feature = "crash-points")]

mod conformance;

use std::time::Duration;

use conformance::support::{self, Child, Ended, alone};
use conformance::*;
use kettle_core::arena::Session;
use kettle_core::queue::{Body, GetError, JoinError, Loss, Parcel, Queue};
use kettle_core::shared::Placement;
use kettle_core::sync::Home;
use kettle_core::sys::Owner;
use kettle_core::wait::Patience;

type W = Forked;
type Q = Ref<W, Queue>;

/// A message whose content depends on its number and length.
fn content(number: u64, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (number as usize).wrapping_mul(31).wrapping_add(i * 7) as u8).collect();
    bytes.splice(..8, number.to_le_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn queue(maxsize: u32, joinable: bool) -> Q {
    place::<W, _>(Queue::new(maxsize, joinable))
}

fn put_many(q: &Q, from: u64, to: u64) {
    (from..to).for_each(|n| put_one(q, n));
}

/// Long messages, with blocks.
fn put_one(q: &Q, n: u64) {
    let bytes = content(n, 1_500);
    let parts = vec![S::<W>::block(&content(n, 5_000))];
    let parcel = Parcel::blocks(3, Body::Inline(&bytes), parts);
    assert!(q.put::<S<W>>(<W as World>::Place::place_of(q), parcel, &forever()).is_ok());
}

fn get_one(q: &Q) -> Option<u64> {
    get_patiently(q, &Patience::none())
}

fn get_patiently(q: &Q, patience: &Patience<'_>) -> Option<u64> {
    let mut bytes = Vec::new();
    let taken = q.get::<S<W>>(&mut bytes, patience).ok()?;
    let n = number(&bytes);
    assert_eq!(bytes, content(n, 1_500));
    assert_eq!(S::<W>::bytes(&taken.parts[0]), content(n, 5_000));
    Some(n)
}

fn rest(q: &Q) -> Vec<u64> {
    std::iter::from_fn(|| get_one(q)).collect()
}

/// Runs `body` with a queue, then asserts that nothing of it is left in the arena.
fn leaves_nothing(what: &str, body: impl FnOnce(&Q)) {
    let what = what.to_owned();
    alone(move || {
        kettle_core::shared::init();
        let session = Session::get().unwrap();
        let before = session.statistics().unwrap().objects;
        {
            let q = queue(0, true);
            body(&q);
            // What the dead processes left beyond head and tail is found while the queue lives.
            session.reclaim().unwrap();
        }
        session.reclaim().unwrap();
        session.check().unwrap();
        assert_eq!(session.statistics().unwrap().objects, before, "{what}: objects were left");
    });
}

/// The number of bytes in the queue is right even after deaths, once the queue has been empty. It is empty now.
fn weighs_right(q: &Q) {
    assert_eq!(q.bytes(), 0);
    put_one(q, 0);
    // The block, the units of the rest, and what is left of a chunk that was too short for it.
    let (block, rest) = (5_000, (1 + 1_500_u64.div_ceil(8) + 1) * 8);
    assert!((block + rest..block + 2 * rest).contains(&q.bytes()), "{} bytes", q.bytes());
    get_one(q);
    assert_eq!(q.bytes(), 0);
}

/// Deaths on either side are counted.
#[test]
fn those_who_died_in_it_are_counted() {
    alone(|| {
        let q = queue(0, false);
        let died = || q.statistics::<S<W>>().owners_died;
        dies_at("queue.put.before-unlock", || put_one(&q, 0));
        put_one(&q, 1);
        assert_eq!(died(), 1);
        for count in 2..4 {
            dies_at("queue.get.before-commit", || assert_eq!(get_one(&q), Some(0)));
            put_one(&q, 2);
            assert_eq!(died(), count - 1, "the next getter notices it");
            q.take_all::<S<W>>(&mut Vec::new(), |_, _| (), &forever()).unwrap();
            assert_eq!(died(), count);
            put_one(&q, 0);
        }
    });
}

/// A message that a getter counted but did not receive is counted twice. The result may then be too low by that
/// message, but is never negative.
#[test]
fn bytes_that_are_counted_twice() {
    alone(|| {
        let q = queue(0, false);
        put_one(&q, 0);
        let small = Parcel::blocks(3, Body::Inline(&[]), vec![S::<W>::block(b"small")]);
        assert!(q.put::<S<W>>(<W as World>::Place::place_of(&q), small, &forever()).is_ok());
        dies_at("queue.get.before-commit", || assert_eq!(get_one(&q), Some(0)));
        assert_eq!(get_one(&q), Some(0));
        // The units of the small message, whose block is smaller than the block that was counted twice.
        assert_eq!(q.bytes(), 16);
        q.clear::<S<W>>();
        weighs_right(&q);
    });
}

const PUT_POINTS: [(&str, bool); 10] = [
    ("queue.put.before-first-chunk", false),
    ("queue.put.first-chunk", false),
    ("queue.put.before-link", false),
    ("queue.put.linked", false),
    ("queue.put.next-chunk", false),
    ("queue.put.before-commit", false),
    ("queue.put.committed", true),
    ("queue.put.before-unlock", true),
    ("queue.put.before-notify", true),
    ("lock.release.before-notify", true),
];

/// A putter is killed at every step, in its first message and in later ones; others put before and after.
#[test]
fn a_putter_at_every_step() {
    for (crash, published) in PUT_POINTS {
        for visit in [1, 2, 30] {
            // The first chunk is entered only once.
            if visit > 1 && crash.ends_with("first-chunk") {
                continue;
            }
            let spec = format!("{crash}:{visit}");
            leaves_nothing(&spec, |q| {
                let next = place::<W, _>(Tally::new());
                dies_at(&spec, || {
                    loop {
                        put_one(q, next.get(0));
                        next.add(0, 1);
                    }
                });
                let done = next.get(0) + u64::from(published);
                assert_eq!(u64::from(q.len()), done, "{spec}");
                Child::fork(|| put_many(q, done, done + 60)).succeeds();
                assert_eq!(rest(q), (0..done + 60).collect::<Vec<_>>(), "{spec}");
                weighs_right(q);
            });
        }
    }
}

/// A getter is killed at every step. A message that it had not committed goes to the next getter intact.
#[test]
fn a_getter_at_every_step() {
    for (crash, taken) in [
        ("queue.get.claimed-chunk", false),
        ("queue.get.before-free-chunk", false),
        ("queue.get.claimed", false),
        ("queue.get.before-commit", false),
        ("queue.get.committed", true),
        ("queue.get.before-unlock", true),
        ("queue.get.before-notify", true),
    ] {
        for visit in [1, 2] {
            let spec = format!("{crash}:{visit}");
            leaves_nothing(&spec, |q| {
                put_many(q, 0, 100);
                let next = place::<W, _>(Tally::new());
                dies_at(&spec, || {
                    loop {
                        assert_eq!(get_one(q), Some(next.get(0)));
                        next.add(0, 1);
                    }
                });
                let got = next.get(0) + u64::from(taken);
                assert_eq!(u64::from(q.len()), 100 - got, "{spec}");
                Child::fork(|| put_many(q, 100, 120)).succeeds();
                assert_eq!(rest(q), (got..120).collect::<Vec<_>>(), "{spec}");
                weighs_right(q);
            });
        }
    }
}

/// As [`a_putter_at_every_step`], but the putter panics and lives on: no lock stays held, and the others continue at
/// once.
#[test]
fn a_putter_that_panics_at_every_step() {
    for (crash, published) in PUT_POINTS.into_iter().chain([("lock.release.before", true)]) {
        for visit in [1, 2, 30] {
            if visit > 1 && crash.ends_with("first-chunk") {
                continue;
            }
            let spec = format!("{crash}:{visit}");
            leaves_nothing(&spec, |q| {
                let next = place::<W, _>(Tally::new());
                let put = || {
                    loop {
                        put_one(q, next.get(0));
                        next.add(0, 1);
                    }
                };
                panics_at(&spec, put, || {
                    let done = next.get(0) + u64::from(published);
                    assert_eq!(u64::from(q.len()), done, "{spec}");
                    Child::fork(|| put_many(q, done, done + 60)).succeeds();
                    assert_eq!(rest(q), (0..done + 60).collect::<Vec<_>>(), "{spec}");
                });
            });
        }
    }
}

/// As [`a_getter_at_every_step`]: a message that was not committed goes to the next getter intact, and does not count
/// as received.
#[test]
fn a_getter_that_panics_at_every_step() {
    for (crash, taken) in [
        ("queue.get.claimed-chunk", false),
        ("queue.get.before-free-chunk", false),
        ("arena.block.taken", false),
        ("queue.get.claimed", false),
        ("queue.get.before-commit", false),
        ("queue.get.committed", true),
        ("queue.get.before-unlock", true),
        ("queue.get.before-notify", true),
        ("lock.release.before", true),
    ] {
        for visit in [1, 2] {
            let spec = format!("{crash}:{visit}");
            leaves_nothing(&spec, |q| {
                put_many(q, 0, 100);
                let next = place::<W, _>(Tally::new());
                let get = || {
                    loop {
                        assert_eq!(get_one(q), Some(next.get(0)));
                        next.add(0, 1);
                    }
                };
                panics_at(&spec, get, || {
                    let got = next.get(0) + u64::from(taken);
                    assert_eq!(u64::from(q.len()), 100 - got, "{spec}");
                    assert_eq!(q.unfinished::<S<W>>(), 100, "{spec}");
                    Child::fork(|| put_many(q, 100, 120)).succeeds();
                    assert_eq!(rest(q), (got..120).collect::<Vec<_>>(), "{spec}");
                    (0..120).for_each(|_| q.task_done::<S<W>>().unwrap());
                    assert_eq!(q.unfinished::<S<W>>(), 0, "{spec}");
                });
            });
        }
    }
}

/// The whole queue dies with its last process, while it holds messages of other dead processes.
#[test]
fn a_queue_goes_with_its_last_holder() {
    alone(|| {
        kettle_core::shared::init();
        let session = Session::get().unwrap();
        let before = session.statistics().unwrap().objects;
        let holder = Child::fork(|| {
            // Places the queue's content on both sides of the queue, so that a reclaim finds parts of it before and
            // after.
            let filler: Vec<_> = (0..100).map(|n| S::<W>::block(&content(n, 5_000))).collect();
            let q = queue(0, false);
            drop(filler);
            Child::fork(|| put_many(&q, 0, 100)).succeeds();
            put_many(&q, 100, 200);
            std::mem::forget(q);
            support::sleep_for_ever();
        });
        until(|| session.statistics().unwrap().objects > before + 200);
        holder.kill_and_wait();
        session.reclaim().unwrap();
        session.check().unwrap();
        assert_eq!(session.statistics().unwrap().objects, before);
    });
}

/// A getter that is killed while asleep takes no message along, and its wake-up is not lost for good.
#[test]
fn a_sleeping_getter() {
    alone(|| {
        let q = queue(0, false);
        let take = || {
            Child::fork(|| {
                assert!(get_patiently(&q, &forever()).is_some());
            })
        };
        let dying = take();
        until(|| q.statistics::<S<W>>().getters_waiting == 1);
        let other = take();
        until(|| q.statistics::<S<W>>().getters_waiting == 2);
        // SAFETY: kill takes two integers; the process is our child.
        unsafe { libc::kill(dying.pid() as i32, libc::SIGSTOP) };
        put_one(&q, 0);
        dying.kill_and_wait();
        other.succeeds();
    });
}

#[test]
fn a_sleeping_putter() {
    alone(|| {
        let q = queue(1, false);
        put_one(&q, 0);
        let give = || Child::fork(|| put_one(&q, 1));
        let dying = give();
        until(|| q.statistics::<S<W>>().putters_waiting == 1);
        let other = give();
        until(|| q.statistics::<S<W>>().putters_waiting == 2);
        // SAFETY: kill takes two integers; the process is our child.
        unsafe { libc::kill(dying.pid() as i32, libc::SIGSTOP) };
        assert!(get_patiently(&q, &forever()).is_some());
        dying.kill_and_wait();
        other.succeeds();
        assert_eq!(q.len(), 1);
    });
}

/// Joiners learn of a process that died with unfinished messages, which then count as done.
#[test]
fn a_consumer_with_unfinished_messages() {
    alone(|| {
        let q = queue(0, true);
        put_many(&q, 0, 3);
        let joiner = Child::fork(|| {
            let Err(JoinError::ConsumerDied(loss)) = q.join::<S<W>>(&forever()) else { panic!("no loss") };
            assert_eq!(loss.unfinished, 2);
        });
        until(|| q.finished().sleepers() == 1);
        let consumer = Child::fork(|| {
            (0..3).for_each(|_| assert!(get_one(&q).is_some()));
            q.task_done::<S<W>>().unwrap();
            std::mem::forget(q.clone());
            support::sleep_for_ever();
        });
        until(|| q.unfinished::<S<W>>() == 2 && q.is_empty());
        consumer.kill_and_wait();
        joiner.succeeds();
        q.join::<S<W>>(&forever()).unwrap();
    });
}

/// A process that receives `n` messages and finishes none.
fn taker(q: &Q, n: u32) -> Child {
    Child::fork(|| {
        (0..n).for_each(|_| assert!(get_one(q).is_some()));
        std::mem::forget(q.clone());
        support::sleep_for_ever();
    })
}

/// Joins until nothing is unfinished; returns the number of losses reported, and of messages lost.
fn losses(q: &Q) -> (u32, u32) {
    let (mut times, mut messages) = (0, 0);
    while let Err(JoinError::ConsumerDied(loss)) = q.join::<S<W>>(&forever()) {
        times += 1;
        messages += loss.unfinished;
    }
    (times, messages)
}

/// The unfinished messages of a process are written off when it is dead, not before, and once.
#[test]
fn what_the_living_took_is_not_lost() {
    alone(|| {
        let q = queue(0, true);
        put_many(&q, 0, 3);
        let took = support::Gate::new();
        let consumer = Child::fork(|| {
            (0..2).for_each(|_| assert!(get_one(&q).is_some()));
            took.tell(H::<W>::me().participant().to_bits());
            support::sleep_for_ever();
        });
        let name = Owner::from_bits(took.hear());
        assert_eq!((q.find_loss::<S<W>>(), q.unfinished::<S<W>>()), (None, 3));
        consumer.kill_and_wait();
        until(|| H::<W>::is_dead(name));
        assert_eq!(q.find_loss::<S<W>>(), Some(Loss { consumer: name, unfinished: 2 }));
        assert_eq!((q.find_loss::<S<W>>(), q.unfinished::<S<W>>()), (None, 1));
    });
}

/// However many consumers there are, the death of each is noticed.
#[test]
fn more_consumers_than_a_queue_has_entries() {
    const CONSUMERS: u32 = 300;
    leaves_nothing("many consumers", |q| {
        put_many(q, 0, u64::from(CONSUMERS) * 2);
        let takers: Vec<_> = (0..CONSUMERS).map(|_| taker(q, 2)).collect();
        until(|| q.is_empty());
        assert_eq!(q.unfinished::<S<W>>(), CONSUMERS * 2);
        // Finishes a message that another process received.
        q.task_done::<S<W>>().unwrap();
        takers.into_iter().for_each(Child::kill_and_wait);
        assert_eq!(losses(q), (CONSUMERS, CONSUMERS * 2 - 1));
        assert_eq!(q.unfinished::<S<W>>(), 0);
    });
}

/// Consumers that come and go need only as many entries as there are at a time; of those that die with a message, each
/// is reported.
#[test]
fn consumers_that_come_and_go() {
    leaves_nothing("passing consumers", |q| {
        let session = Session::get().unwrap();
        put_many(q, 0, 40);
        let steady: Vec<_> = (0..31).map(|_| taker(q, 1)).collect();
        until(|| q.len() == 9);
        rest(q);
        (0..9).for_each(|_| q.task_done::<S<W>>().unwrap());
        let before = session.statistics().unwrap().objects;
        for n in 0..500 {
            put_one(q, n);
            Child::fork(|| {
                assert_eq!(get_one(q), Some(n));
                q.task_done::<S<W>>().unwrap();
            })
            .succeeds();
        }
        // There may be fewer objects: a taker's get may have freed a chunk of the queue before.
        let after = session.statistics().unwrap().objects;
        assert!(after <= before, "entries were added: {before} objects, then {after}");
        for n in 0..100 {
            put_one(q, n);
            Child::fork(|| assert_eq!(get_one(q), Some(n))).succeeds();
        }
        assert_eq!(q.unfinished::<S<W>>(), 131);
        steady.into_iter().for_each(Child::kill_and_wait);
        assert_eq!(losses(q), (131, 131));
    });
}

/// A getter that needs further entries is killed at every step of creating them.
#[test]
fn a_getter_that_makes_room_for_entries() {
    for crash in ["queue.consumers.before-link", "queue.consumers.linked", "queue.get.claimed"] {
        leaves_nothing(crash, |q| {
            put_many(q, 0, 40);
            let takers: Vec<_> = (0..32).map(|_| taker(q, 1)).collect();
            until(|| q.len() == 8);
            let session = Session::get().unwrap();
            let before = session.statistics().unwrap().objects;
            dies_at(crash, || assert!(get_one(q).is_some()));
            assert_eq!((q.len(), q.unfinished::<S<W>>()), (8, 40), "{crash}");
            session.reclaim().unwrap();
            let kept = session.statistics().unwrap().objects - before;
            assert_eq!(
                kept,
                u64::from(crash != "queue.consumers.before-link"),
                "{crash}: an unlinked sheet is garbage"
            );
            let others: Vec<_> = (0..8).map(|_| taker(q, 1)).collect();
            until(|| q.is_empty());
            session.reclaim().unwrap();
            takers.into_iter().chain(others).for_each(Child::kill_and_wait);
            assert_eq!(losses(q), (40, 40), "{crash}");
        });
    }
}

/// Without memory for further entries a get fails and the message stays; getters that have an entry continue.
#[test]
fn no_memory_for_entries() {
    leaves_nothing("no memory", |q| {
        let session = Session::get().unwrap();
        put_many(q, 0, 35);
        let (go, gone) = (support::Gate::new(), support::Gate::new());
        let first = Child::fork(|| {
            assert!(get_one(q).is_some());
            go.pass();
            assert!(get_one(q).is_some());
            gone.open();
            std::mem::forget(q.clone());
            support::sleep_for_ever();
        });
        let takers: Vec<_> = (0..31).map(|_| taker(q, 1)).collect();
        until(|| q.len() == 3);
        // The process is registered, and its memory mapped, before memory runs out.
        Child::fork(|| {
            session.set_limit(Some(1));
            let mut hoard = Vec::new();
            while let Ok(block) = kettle_core::arena::Block::allocate(1_000 - 64) {
                hoard.push(block);
            }
            let got = q.get::<S<W>>(&mut Vec::new(), &Patience::none());
            assert!(matches!(got, Err(GetError::Exhausted(_))), "{got:?}");
            assert_eq!((q.len(), q.unfinished::<S<W>>()), (3, 35));
            go.open();
            gone.pass();
            assert_eq!(q.len(), 2);
            drop(hoard);
            assert!(get_one(q).is_some());
            session.set_limit(None);
        })
        .succeeds();
        takers.into_iter().chain([first]).for_each(Child::kill_and_wait);
        assert_eq!(q.len(), 1);
        assert!(get_one(q).is_some());
        q.task_done::<S<W>>().unwrap();
        assert_eq!(losses(q), (33, 34));
    });
}

/// Putters and getters are killed at random; the messages of survivors arrive once, intact, and in order.
#[test]
fn at_random() {
    alone(|| {
        let mut random = support::Random::seeded();
        let q = queue(50, false);
        let tally = place::<W, _>(Tally::new());
        for _ in 0..15 {
            let victims: Vec<_> = (0..2)
                .map(|i| {
                    let q = &q;
                    Child::fork(move || {
                        loop {
                            if i == 0 {
                                put_one(q, u64::MAX / 2);
                            } else {
                                get_one(q);
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
            for victim in victims {
                victim.kill();
                assert_eq!(victim.wait(), Ended::Killed(libc::SIGKILL));
            }
            rest(&q);
            tally.counts[0].store(0, std::sync::atomic::Ordering::SeqCst);
            W::all(2, |i| {
                if i == 0 {
                    put_many(&q, 0, 100);
                } else {
                    while tally.get(0) < 100 {
                        if let Some(n) = get_one(&q) {
                            assert_eq!(n, tally.get(0));
                            tally.add(0, 1);
                        }
                    }
                }
            });
            assert!(q.is_empty());
        }
        let session = Session::get().unwrap();
        session.reclaim().unwrap();
        session.check().unwrap();
        assert!(session.statistics().unwrap().objects < 10, "{:?}", session.statistics());
    });
}
