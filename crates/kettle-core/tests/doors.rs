//! The doors that event loops register where they wait, and what rings them. A ring has arrived when the call that
//! caused it returns, so these tests also show, for each primitive, which calls wake its waiters.

mod conformance;

use std::time::Duration;

use conformance::support::{Child, Gate, alone};
use conformance::{Forked, H, place};
use kettle_core::queue::local::{ByOrd, LocalQueue, Order, Sign};
use kettle_core::queue::{Parcel, Queue};
use kettle_core::shared::{ArenaStore, InArena, Placement};
use kettle_core::sync::{
    Barrier, Condition, Event, Lock, LockError, OnOwnerDeath, OwnedPermits, ReentrantLock, Semaphore, Turn,
};
use kettle_core::wait::{Door, Doorbell, EventCount, Patience, Scope};

type P = H<Forked>;

/// A bell, in a process that has a session.
fn bell() -> Doorbell {
    place::<Forked, _>(Event::new());
    Doorbell::new().unwrap()
}

fn rings(bell: &Doorbell) -> Vec<u32> {
    bell.drain().expect("none is lost")
}

/// Whether `call` rings a door registered there.
fn wakes(bell: &Doorbell, there: &EventCount, call: impl FnOnce()) -> bool {
    assert!(there.leave_door(bell.door()));
    call();
    let rang = !rings(bell).is_empty();
    // A rung door is no longer registered; unregistering it then passes the ring on, here to no one.
    there.take_door(bell.door(), Scope::Shared);
    assert_eq!(rings(bell), [], "the door is gone");
    rang
}

#[test]
fn a_door_calls_out_a_number() {
    alone(|| {
        let bell = bell();
        let door = bell.door();
        assert_eq!(Door::from_bits(0), None);
        for call in [0, 1, 77, (1 << 20) - 1] {
            let calling = door.calling(1).calling(call);
            assert_eq!(Door::from_bits(calling.to_bits()), Some(calling));
            let count = EventCount::new();
            assert!(count.leave_door(calling));
            count.notify_one(Scope::Shared);
            assert_eq!(rings(&bell), [call]);
        }
        assert_eq!(door.calling(5 | 1 << 20), door.calling(5), "its low 20 bits");
        bell.ring();
        assert_eq!(rings(&bell).len(), 1);
    });
}

#[test]
fn each_bell_is_another_one() {
    alone(|| {
        let bells: Vec<_> = (0..150).map(|_| bell()).collect();
        for (i, bell) in bells.iter().enumerate() {
            bell.door().calling(0);
            let count = EventCount::new();
            assert!(count.leave_door(bell.door().calling(i as u32)));
            count.notify_one(Scope::Shared);
        }
        for (i, bell) in bells.iter().enumerate() {
            assert_eq!(rings(bell), [i as u32]);
        }
    });
}

#[test]
fn as_many_doors_are_rung_as_are_to_be_told() {
    alone(|| {
        let bells: Vec<_> = (0..=EventCount::DOORS).map(|_| bell()).collect();
        let heard = || bells.iter().map(|bell| rings(bell).len()).collect::<Vec<_>>();
        let count = EventCount::new();
        let leave_all = || {
            for bell in &bells[..EventCount::DOORS] {
                assert!(count.leave_door(bell.door()));
                assert!(count.leave_door(bell.door()), "it is registered already");
            }
        };
        count.notify_all(Scope::Shared);
        leave_all();
        assert!(count.leave_door(bells[EventCount::DOORS].door()), "this one is stored with the session");
        for (told, heard_by) in [
            (0, [0, 0, 0, 0, 0]),
            (1, [1, 0, 0, 0, 0]),
            (2, [0, 1, 1, 0, 0]),
            (5, [0, 0, 0, 1, 1]),
            (1, [0, 0, 0, 0, 0]),
        ] {
            count.notify(told, Scope::Shared);
            assert_eq!(heard(), heard_by, "{told} are to be notified");
        }
        assert!(!count.notify_after_fence(EventCount::ALL, Scope::Shared), "no door is left");
        leave_all();
        assert!(count.notify_after_fence(EventCount::ALL, Scope::Shared));
        assert_eq!(heard(), [1, 1, 1, 1, 0]);
    });
}

#[test]
fn a_deaf_door_is_skipped_for_the_next() {
    alone(|| {
        let (gone, bell) = (bell(), bell());
        let count = EventCount::new();
        assert!(count.leave_door(gone.door()) && count.leave_door(bell.door()));
        drop(gone);
        count.notify_one(Scope::Shared);
        assert_eq!(rings(&bell).len(), 1);
    });
}

#[test]
fn a_door_is_taken_away_again() {
    alone(|| {
        let (one, other) = (bell(), bell());
        let count = EventCount::new();
        assert!(count.leave_door(one.door()));
        count.take_door(one.door(), Scope::Shared);
        assert!(!count.notify_after_fence(EventCount::ALL, Scope::Shared), "no door is registered");
        assert_eq!(rings(&one), []);
        // One is unregistered, the other stays.
        assert!(count.leave_door(one.door()) && count.leave_door(other.door()));
        count.take_door(one.door(), Scope::Shared);
        assert_eq!((rings(&one), rings(&other)), (vec![], vec![]));
        // One that was rung in the meantime passes the ring on.
        assert!(count.leave_door(one.door()));
        count.notify_one(Scope::Shared);
        let rung = [rings(&one).len(), rings(&other).len()];
        let (taken, waits) = if rung == [1, 0] { (&one, &other) } else { (&other, &one) };
        assert_eq!(rung.iter().sum::<usize>(), 1);
        count.take_door(taken.door(), Scope::Shared);
        assert_eq!((rings(taken).len(), rings(waits).len()), (0, 1));
    });
}

#[test]
fn one_wake_up_at_a_time() {
    let count = EventCount::new();
    assert!(!count.notify_after_fence(1, Scope::Private), "there are no waiters");
    let _ = count.announce();
    // Two threads may be asleep: one is woken, and wakers that come before it has looked again need not wake it once
    // more.
    assert!(count.notify_after_fence(1, Scope::Private));
    assert!(!count.notify_after_fence(1, Scope::Private));
    assert!(count.notify_after_fence(EventCount::ALL, Scope::Private), "the other thread may still be asleep");
    assert!(!count.notify_after_fence(EventCount::ALL, Scope::Private));
    let _ = count.announce();
    assert!(count.notify_after_fence(EventCount::ALL, Scope::Private));
    assert!(!count.notify_after_fence(EventCount::ALL, Scope::Private), "all were woken at once");
}

#[test]
fn who_sleeps_when_it_forks_is_forgotten_in_the_child() {
    alone(|| {
        let bell = bell();
        let count = EventCount::new();
        let _ = count.announce();
        assert!(count.leave_door(bell.door()));
        count.notify(1, Scope::Private);
        let _ = count.announce();
        assert!(count.leave_door(bell.door()));
        rings(&bell);
        count.reinit();
        assert!(!count.notify_after_fence(EventCount::ALL, Scope::Private));
        assert_eq!((rings(&bell), count.sleepers()), (vec![], 0));
    });
}

#[test]
fn locks_ring_when_they_are_left() {
    alone(|| {
        let bell = bell();
        let lock = place::<Forked, _>(Lock::new(OnOwnerDeath::Raise));
        let wakes = |call: &dyn Fn()| wakes(&bell, lock.freed().events(), call);
        assert!(!wakes(&|| assert!(lock.try_acquire_now::<P>())));
        assert!(!wakes(&|| assert!(lock.acquire::<P>(&Patience::none()).is_err())));
        assert!(wakes(&|| lock.release::<P>().unwrap()));
        assert!(!wakes(&|| assert!(lock.release::<P>().is_err())));
        assert!(!wakes(&|| lock.abandon::<P>()), "the lock is free");
        assert!(lock.try_acquire_now::<P>());
        assert!(!wakes(&|| assert!(lock.reset::<P>().is_err())));
        assert!(wakes(&|| lock.abandon::<P>()), "waiters are to learn of it");
        assert!(matches!(lock.acquire::<P>(&Patience::none()), Err(LockError::OwnerDied(_))));
        assert!(wakes(&|| lock.reset::<P>().unwrap()));
        assert!(!wakes(&|| lock.reset::<P>().unwrap()), "it is free");
        assert!(lock.try_acquire_now::<P>());
        lock.reinit();
        assert!(lock.try_acquire_now::<P>());
    });
}

#[test]
fn reentrant_locks_ring_when_they_are_left_for_good() {
    alone(|| {
        let bell = bell();
        let lock = place::<Forked, _>(ReentrantLock::new(OnOwnerDeath::Raise));
        let wakes = |call: &dyn Fn()| wakes(&bell, lock.freed().events(), call);
        let take = || assert!(lock.try_acquire_now::<P>());
        assert!(!wakes(&|| [(), ()].into_iter().for_each(|()| take())));
        assert!(!wakes(&|| lock.release::<P>().unwrap()), "held once more");
        assert!(wakes(&|| lock.release::<P>().unwrap()));
        assert!(!wakes(&|| assert!(lock.release::<P>().is_err())));
        take();
        take();
        assert!(wakes(&|| assert_eq!(lock.release_all::<P>(), Ok(2))));
        lock.acquire_again::<P>(3, &Patience::none()).unwrap();
        assert_eq!((lock.depth::<P>(), lock.held()), (3, 3));
        assert!(!wakes(&|| lock.abandon::<P>().unwrap()) && !wakes(&|| lock.abandon::<P>().unwrap()));
        assert!(wakes(&|| lock.abandon::<P>().unwrap()), "the last hold");
        assert!(lock.acquire::<P>(&Patience::none()).is_err());
        assert!(wakes(&|| lock.reset::<P>().unwrap()));
        take();
        assert_eq!(lock.depth::<P>(), 1);
    });
}

#[test]
fn semaphores_ring_when_permits_are_given() {
    alone(|| {
        let (bell, other) = (bell(), bell());
        let semaphore = place::<Forked, _>(Semaphore::new(1, 3));
        let wakes = |call: &dyn Fn()| wakes(&bell, semaphore.given().events(), call);
        assert!(!wakes(&|| semaphore.acquire::<P>(&Patience::none()).unwrap()));
        assert!(!wakes(&|| assert!(semaphore.acquire::<P>(&Patience::none()).is_err())));
        assert!(wakes(&|| semaphore.release::<P>(1).unwrap()));
        assert!(!wakes(&|| assert!(semaphore.release::<P>(3).is_err())), "too many");
        assert!(!wakes(&|| semaphore.release::<P>(0).unwrap()));
        // Two permits are for two waiters.
        assert!(
            semaphore.given().events().leave_door(bell.door()) && semaphore.given().events().leave_door(other.door())
        );
        semaphore.release::<P>(2).unwrap();
        assert_eq!((rings(&bell).len(), rings(&other).len(), semaphore.value()), (1, 1, 3));

        let permits = place::<Forked, _>(OwnedPermits::new(1).unwrap());
        let wakes = |call: &dyn Fn()| self::wakes(&bell, permits.given().events(), call);
        assert!(!wakes(&|| permits.acquire::<P>(&Patience::none()).unwrap()));
        assert!(wakes(&|| permits.release::<P>().unwrap()));
        assert!(!wakes(&|| assert!(permits.release::<P>().is_err())));
    });
}

/// Waits by `acquire` until the end of its first slice, when `given` is called. Returns whether another waiter is then
/// notified.
fn tells_the_next(bell: &Doorbell, there: &EventCount, given: &dyn Fn(), acquire: &dyn Fn(&Patience<'_>)) -> bool {
    let is_first = std::cell::Cell::new(true);
    let nap = || {
        if is_first.replace(false) {
            given();
            assert!(there.leave_door(bell.door()));
        }
        false
    };
    acquire(&Patience::forever().interrupted_by(Duration::from_millis(1), &nap));
    let rang = !rings(bell).is_empty();
    there.take_door(bell.door(), Scope::Shared);
    rings(bell);
    rang
}

#[test]
fn who_got_something_and_leaves_more_tells_the_next() {
    alone(|| {
        let bell = bell();
        for (count, tells) in [(1, false), (2, true)] {
            let semaphore = place::<Forked, _>(Semaphore::new(0, 3));
            let told = tells_the_next(
                &bell,
                semaphore.given().events(),
                &|| semaphore.release::<P>(count).unwrap(),
                &|patience| {
                    semaphore.acquire::<P>(patience).unwrap();
                },
            );
            assert_eq!(told, tells, "of {count} permits");

            let permits = place::<Forked, _>(OwnedPermits::new(count).unwrap());
            let take = |patience: &Patience<'_>| permits.acquire::<P>(patience).unwrap();
            (0..count).for_each(|_| take(&Patience::none()));
            let give = || (0..count).for_each(|_| permits.release::<P>().unwrap());
            assert_eq!(
                tells_the_next(&bell, permits.given().events(), &give, &take),
                tells,
                "of {count} owned permits"
            );

            let queue = place::<Forked, _>(Queue::new(0, false));
            let me = <InArena as Placement>::place_of(&queue);
            let put = || queue.put::<ArenaStore>(me, Parcel::inline(0, b"one"), &Patience::none()).unwrap();
            let told = tells_the_next(&bell, queue.items().events(), &|| (0..count).for_each(|_| put()), &|patience| {
                queue.get::<ArenaStore>(&mut Vec::new(), patience).map(drop).unwrap();
            });
            assert_eq!(told, tells, "of {count} messages");

            let queue = place::<Forked, _>(Queue::new(3, false));
            let me = <InArena as Placement>::place_of(&queue);
            let put = |patience: &Patience<'_>| {
                queue.put::<ArenaStore>(me, Parcel::inline(0, b"one"), patience).unwrap();
            };
            (0..3).for_each(|_| put(&Patience::none()));
            let get = || {
                (0..count).for_each(|_| {
                    queue.get::<ArenaStore>(&mut Vec::new(), &Patience::none()).map(drop).unwrap();
                });
            };
            assert_eq!(
                tells_the_next(&bell, queue.space().events(), &get, &put),
                tells,
                "of {count} places in a queue"
            );
        }
    });
}

#[test]
fn who_has_left_a_barrier_may_die() {
    alone(|| {
        let barrier = place::<Forked, _>(Barrier::new(2));
        for last_is_the_child in [true, false] {
            let first = last_is_the_child.then(|| barrier.arrive::<P>().unwrap().unwrap());
            let ready = Gate::new();
            let child = Child::fork(|| {
                if !last_is_the_child {
                    let arrival = barrier.arrive::<P>().unwrap().unwrap();
                    ready.open();
                    while barrier.poll(&arrival).is_none() {
                        std::thread::yield_now();
                    }
                    return barrier.leave::<P>(&arrival);
                }
                match barrier.wait::<P>(&Patience::forever()).unwrap() {
                    Turn::Last(last) => drop(last.done().unwrap()),
                    Turn::Through(_) => panic!("this party arrived last"),
                }
            });
            if !last_is_the_child {
                ready.pass();
                barrier.last::<P>(barrier.arrive::<P>().unwrap().unwrap()).done().unwrap();
            }
            child.succeeds();
            if let Some(first) = first {
                assert_eq!(barrier.poll(&first), Some(Ok(0)));
                barrier.leave::<P>(&first);
            }
            assert!(!barrier.find_dead::<P>() && !barrier.is_broken());
        }
        // A party that dies at the barrier breaks it.
        Child::fork(|| drop(barrier.arrive::<P>())).succeeds();
        assert!(barrier.find_dead::<P>() && barrier.is_broken());
    });
}

#[test]
fn events_ring_when_they_are_put_up() {
    alone(|| {
        let (bell, other) = (bell(), bell());
        let event = place::<Forked, _>(Event::new());
        let wakes = |call: &dyn Fn()| wakes(&bell, event.changed(), call);
        assert!(wakes(&|| event.set::<P>()));
        assert!(!wakes(&|| event.set::<P>()), "it is set already");
        assert!(!wakes(&|| event.clear()));
        assert!(event.changed().leave_door(bell.door()) && event.changed().leave_door(other.door()));
        event.set::<P>();
        assert_eq!((rings(&bell).len(), rings(&other).len()), (1, 1), "both are rung");
        event.clear();
        assert!(event.changed().leave_door(bell.door()));
        event.reinit();
        event.set::<P>();
        assert_eq!(rings(&bell), [], "the door belongs to another process");
    });
}

#[test]
fn barriers_ring_when_a_round_ends() {
    alone(|| {
        let bell = bell();
        let barrier = place::<Forked, _>(Barrier::new(2));
        let wakes = |call: &dyn Fn()| wakes(&bell, barrier.changed(), call);
        let arrive = || barrier.arrive::<P>().unwrap().unwrap();
        // All parties arrive, and the last one reports success.
        let first = arrive();
        assert!(!first.is_last() && barrier.poll(&first).is_none() && barrier.waiting() == 1);
        let last = arrive();
        assert!(last.is_last() && barrier.poll(&first).is_none(), "its action has not ended");
        assert!(barrier.arrive::<P>().unwrap().is_none(), "the previous round has not ended yet");
        let last = std::cell::Cell::new(Some(barrier.last::<P>(last)));
        assert!(wakes(&|| assert_eq!(last.take().unwrap().done(), Ok(1))));
        assert_eq!(barrier.poll(&first), Some(Ok(0)));
        barrier.leave::<P>(&first);
        // The last party's action fails.
        let (first, last) = (arrive(), std::cell::Cell::new(Some(barrier.last::<P>(arrive()))));
        assert!(wakes(&|| drop(last.take())));
        assert!(barrier.is_broken() && barrier.poll(&first).unwrap().is_err());
        barrier.leave::<P>(&first);
        assert!(barrier.arrive::<P>().is_err());
        assert!(wakes(&|| barrier.reset::<P>()));
        assert!(!barrier.is_broken());
        // The barrier is broken while the action runs: for the last party, too, and it stays broken.
        let (first, last) = (arrive(), barrier.last::<P>(arrive()));
        assert!(wakes(&|| barrier.abort::<P>()));
        assert!(last.done().is_err() && barrier.is_broken());
        barrier.leave::<P>(&first);
        barrier.reset::<P>();
        // It is reset while the action runs, and others arrive: their round is not affected.
        let (first, last) = (arrive(), barrier.last::<P>(arrive()));
        assert!(wakes(&|| barrier.reset::<P>()));
        barrier.leave::<P>(&first);
        let (next, next_last) = (arrive(), barrier.last::<P>(arrive()));
        assert!(last.done().is_err());
        assert!(barrier.poll(&next).is_none());
        assert_eq!(next_last.done(), Ok(1));
        assert_eq!(barrier.poll(&next), Some(Ok(0)));
        barrier.leave::<P>(&next);
        assert_eq!(barrier.statistics().rounds, 2);
        // A party that waits in vain breaks it.
        assert!(wakes(&|| assert!(barrier.wait::<P>(&Patience::none()).is_err())));
        assert!(barrier.is_broken());
        barrier.reset::<P>();
        barrier.reinit(1);
        match barrier.wait::<P>(&Patience::none()) {
            Ok(Turn::Last(last)) => assert_eq!(last.done(), Ok(0)),
            other => panic!("{other:?}"),
        };
    });
}

#[test]
fn conditions_ring_the_oldest_waiter() {
    alone(|| {
        let bells: Vec<_> = (0..3).map(|_| bell()).collect();
        let heard = || bells.iter().map(|bell| rings(bell).len()).collect::<Vec<_>>();
        let condition = place::<Forked, _>(Condition::new());
        assert_eq!(condition.notify::<P>(1), 0);
        let waiters: Vec<_> = bells
            .iter()
            .map(|bell| {
                let waiter = condition.enrol::<P>().unwrap();
                condition.leave_door(waiter, bell.door());
                waiter
            })
            .collect();
        assert_eq!(condition.waiting(), 3);
        assert_eq!((condition.notify::<P>(1), heard()), (1, vec![1, 0, 0]));
        assert!(condition.poll::<P>(waiters[0]) && !condition.poll::<P>(waiters[1]));
        // A waiter that leaves after it was notified passes the notification on.
        assert_eq!((condition.notify::<P>(1), heard()), (1, vec![0, 1, 0]));
        condition.withdraw::<P>(waiters[1]);
        assert_eq!(heard(), [0, 0, 1]);
        condition.withdraw::<P>(waiters[2]);
        assert_eq!((condition.waiting(), heard()), (0, vec![0, 0, 0]));
        // A waiter that leaves before takes no notification along.
        let [early, late] = [0, 1].map(|i: usize| {
            let waiter = condition.enrol::<P>().unwrap();
            condition.leave_door(waiter, bells[i].door());
            waiter
        });
        condition.withdraw::<P>(early);
        assert_eq!((condition.notify::<P>(5), heard()), (1, vec![0, 1, 0]));
        assert!(condition.poll::<P>(late));
        assert_eq!(condition.statistics().notified, 4);
        let _forgotten = condition.enrol::<P>().unwrap();
        condition.reinit();
        assert_eq!((condition.waiting(), condition.notify::<P>(1)), (0, 0));
    });
}

#[test]
fn queues_ring_those_who_get_put_and_join() {
    alone(|| {
        let bell = bell();
        let queue = place::<Forked, _>(Queue::new(1, true));
        let (items, space, finished) = (queue.items().events(), queue.space().events(), queue.finished());
        let me = <InArena as Placement>::place_of(&queue);
        let put = || queue.put::<ArenaStore>(me, Parcel::inline(0, b"one"), &Patience::none());
        let get = || queue.get::<ArenaStore>(&mut Vec::new(), &Patience::none()).map(drop);
        let done = || queue.task_done::<ArenaStore>().unwrap();
        assert!(wakes(&bell, items, || put().unwrap()));
        assert!(put().is_err(), "it is full");
        assert!(!wakes(&bell, finished, || get().unwrap()));
        assert!(wakes(&bell, finished, done));
        put().unwrap();
        assert!(wakes(&bell, space, || get().unwrap()));
        put().unwrap();
        assert!(!wakes(&bell, finished, done), "one is not done yet");
        assert!(wakes(&bell, items, || queue.shutdown::<ArenaStore>(false)));
    });
}

#[test]
fn queues_of_values_ring_for_what_is_waited_for() {
    alone(|| {
        let bell = bell();
        let queue = LocalQueue::<u32>::new(Order::Fifo, 1);
        let rings_for = |sign, call: &dyn Fn()| {
            assert!(queue.line_of((), sign).events().leave_door(bell.door()));
            call();
            let rang = !rings(&bell).is_empty();
            queue.take_door(sign, bell.door());
            assert_eq!(rings(&bell), [], "the door is gone");
            rang
        };
        let put = || queue.put_now((), 1, &mut ByOrd);
        let take = || queue.take_now((), &mut ByOrd);
        assert!(rings_for(Sign::Item, &|| put().unwrap()));
        assert!(!rings_for(Sign::Item, &|| assert!(put().is_err())), "it is full");
        assert!(rings_for(Sign::Room, &|| assert_eq!(take(), Ok(1))));
        assert!(!rings_for(Sign::Room, &|| assert!(take().is_err())), "it is empty");
        put().unwrap();
        assert!(!rings_for(Sign::Done, &|| queue.task_done(()).unwrap()), "one is not done yet");
        assert!(rings_for(Sign::Done, &|| queue.task_done(()).unwrap()));
        for sign in [Sign::Item, Sign::Room, Sign::Done] {
            assert!(rings_for(sign, &|| drop(queue.shut_down((), false))), "{sign:?}");
        }
    });
}

#[test]
fn who_finds_no_room_for_a_door_is_told() {
    alone(|| {
        const ROOM: usize = EventCount::DOORS + EventCount::MORE_DOORS;
        let bells: Vec<_> = (0..=ROOM).map(|_| bell()).collect();
        let queue = LocalQueue::<usize>::new(Order::Fifo, 0);
        let left = bells.iter().filter(|bell| queue.line_of((), Sign::Item).events().leave_door(bell.door())).count();
        assert_eq!(left, ROOM);
        for (gone, door) in [(0, ROOM), (ROOM - 1, 0)] {
            queue.take_door(Sign::Item, bells[gone].door());
            assert!(queue.line_of((), Sign::Item).events().leave_door(bells[door].door()));
        }
        (0..ROOM).for_each(|n| queue.put_now((), n, &mut ByOrd).unwrap());
        let deaf: Vec<_> = (0..=ROOM).filter(|&i| rings(&bells[i]).is_empty()).collect();
        assert_eq!(deaf, [ROOM - 1]);
    });
}

#[test]
fn a_door_may_be_left_where_a_queue_of_values_tells_of_changes() {
    alone(|| {
        let bell = bell();
        let queue = LocalQueue::<u32>::new(Order::Fifo, 0);
        assert!(queue.line_of((), Sign::Item).events().leave_door(bell.door()));
        queue.put_now((), 1, &mut ByOrd).unwrap();
        assert_eq!(rings(&bell).len(), 1);
    });
}
