//! Properties of the heap only: room for any number of waiters, and what a forked child keeps of the forking thread's
//! state.

mod arena_support;

use arena_support::{Child, alone};
use kettle_core::sync::{Condition, Event, Heap, Home, Lock, OnOwnerDeath, ReentrantLock};
use kettle_core::sys::{process, thread};
use kettle_core::wait::Patience;

#[test]
fn a_condition_grows_with_its_waiters() {
    const MANY: usize = 1000;
    let condition = Condition::growing();
    let places: Vec<_> = (0..MANY).map(|_| condition.enrol::<Heap>().unwrap()).collect();
    assert!(places.iter().map(|p| p.index() as usize).eq(0..MANY));
    assert_eq!(condition.waiting() as usize, MANY);
    // The newest waiter reuses a node in the middle.
    condition.withdraw::<Heap>(places[500]);
    assert_eq!(condition.enrol::<Heap>(), Ok(places[500]));
    assert_eq!(condition.notify::<Heap>(500), 500);
    assert!(places[..500].iter().all(|&p| condition.poll::<Heap>(p)));
    assert!(!places[500..].iter().any(|&p| condition.poll::<Heap>(p)));
    assert_eq!(condition.notify::<Heap>(u32::MAX) as usize, MANY - 500);
    assert!(places[500..].iter().all(|&p| condition.poll::<Heap>(p)));
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn an_address_that_was_never_given_belongs_to_no_block() {
    let condition = Condition::growing();
    let far = kettle_core::sync::Waiter::from_index(u32::MAX);
    assert!(!condition.poll::<Heap>(far));
    condition.withdraw::<Heap>(far);
    assert!(condition.wait::<Heap>(far, &Patience::none()).is_err());
}

#[test]
fn waiters_in_rows_that_others_make() {
    let condition = Condition::growing();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let place = condition.enrol::<Heap>().unwrap();
                condition.wait::<Heap>(place, &Patience::forever()).unwrap();
            });
        }
        let mut woken = 0;
        while woken < 64 {
            woken += condition.notify::<Heap>(1);
            std::thread::yield_now();
        }
    });
    assert_eq!((condition.waiting(), condition.statistics().notified), (0, 64));
}

#[test]
fn threads_are_told_apart() {
    let here = thread::number();
    assert_eq!(here, thread::number());
    assert_eq!(thread::kernel_id(here), process::thread_id());
    let there = std::thread::spawn(|| (thread::number(), process::thread_id())).join().unwrap();
    assert_ne!(here, there.0);
    assert_eq!(thread::kernel_id(there.0), there.1);
}

#[test]
fn the_thread_that_forks_stays_itself() {
    alone(|| {
        let lock = ReentrantLock::new(OnOwnerDeath::Raise);
        assert!(lock.try_acquire_now::<Heap>());
        let number = thread::number();
        Child::fork(|| {
            assert_eq!(thread::number(), number);
            assert_eq!(thread::kernel_id(number), process::id());
            assert!(lock.is_mine::<Heap>() && lock.try_acquire_now::<Heap>());
            let newcomer = std::thread::scope(|s| s.spawn(|| (thread::number(), lock.is_mine::<Heap>())).join());
            let (other, his) = newcomer.unwrap();
            assert!(other != number && !his);
            Child::fork(|| assert!(thread::number() == number && lock.depth::<Heap>() == 2)).succeeds();
            lock.release::<Heap>().unwrap();
            lock.release::<Heap>().unwrap();
        })
        .succeeds();
        assert_eq!(lock.depth::<Heap>(), 1);
    });
}

#[test]
fn reinit_forgets_who_did_not_come_along() {
    let lock = Lock::new(OnOwnerDeath::Raise);
    let condition = Condition::growing();
    let event = Event::new();
    assert!(lock.try_acquire_now::<Heap>());
    let _ = condition.enrol::<Heap>().unwrap();
    event.set::<Heap>();
    lock.reinit();
    condition.reinit();
    event.reinit();
    assert!(lock.owner().is_none() && condition.waiting() == 0 && event.is_set());
    assert!(lock.try_acquire_now::<Heap>() && lock.owner() == Some(Heap::me()));
}
