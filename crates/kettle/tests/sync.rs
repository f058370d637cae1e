//! Locks and their kin, and numbers in shared memory.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytemuck::{CheckedBitPattern, NoUninit, Pod, Zeroable};
use kettle::sync::{BarrierError, ReleasedTooOften};
use kettle::{
    AcquireError, Array, Barrier, BoundedSemaphore, Condition, Event, Lock, LockGuard, RLock, Semaphore, SharedBytes,
    Value,
};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

const ROUNDS: u32 = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Pair {
    up: i64,
    down: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(u8)]
enum Light {
    Red,
    Green,
}

kettle::task! {
    fn count(lock: Lock<Pair>) {
        for _ in 0..ROUNDS {
            let mut pair = lock.acquire().unwrap();
            pair.up += 1;
            pair.down -= 1;
        }
    }

    fn count_deeply(lock: RLock, number: Value<u32>) {
        for _ in 0..ROUNDS {
            let _outer = lock.acquire().unwrap();
            let _inner = lock.acquire().unwrap();
            number.set(number.get() + 1);
        }
    }

    fn add(number: Value<i16>, array: Array<u8>) {
        for i in 0..ROUNDS {
            number.fetch_add(-1);
            array.fetch_add((i % 16) as usize, 1);
        }
    }

    fn pass(semaphore: Semaphore, inside: Value<u32>, most: Value<u32>) {
        for _ in 0..200 {
            let _permit = semaphore.acquire();
            most.fetch_max(inside.fetch_add(1) + 1);
            inside.fetch_sub(1);
        }
    }

    fn take_turns(lock: Lock<u32>, turn: Condition, mine: u32) {
        for _ in 0..50 {
            let mut whose = turn.wait_while(lock.acquire().unwrap(), |whose| *whose % 3 != mine).unwrap();
            *whose += 1;
            turn.notify_all();
        }
    }

    fn meet(barrier: Barrier, arrived: Value<u32>) {
        for round in 1..=50 {
            arrived.fetch_add(1);
            barrier.wait().unwrap();
            assert!(arrived.get() >= round * 3);
            barrier.wait().unwrap();
        }
    }

    fn answer(question: Event, reply: Event) {
        question.wait();
        reply.set();
    }
}

#[test]
fn a_lock_excludes() {
    let _dog = watchdog();
    let lock = Lock::new(Pair { up: 0, down: 0 }).unwrap();
    let processes: Vec<_> = (0..3).map(|_| count::start(lock.clone()).unwrap()).collect();
    count(lock.clone());
    for process in processes {
        process.join().unwrap();
    }
    let total = i64::from(ROUNDS) * 4;
    assert_eq!(*lock.acquire().unwrap(), Pair { up: total, down: -total });
}

#[test]
fn a_lock_that_is_held_is_not_had() {
    let _dog = watchdog();
    let lock = Lock::new(()).unwrap();
    let guard = lock.acquire().unwrap();
    assert!(matches!(lock.try_acquire(), Err(AcquireError::TimedOut)));
    assert!(matches!(lock.acquire_timeout(SHORT), Err(AcquireError::TimedOut)));
    assert!(lock.reset().unwrap_err().pid == Some(std::process::id()));
    assert!(lock.is_locked());
    drop(guard);
    drop(lock.try_acquire().unwrap());
    assert!(!lock.is_locked());
}

#[test]
fn a_panic_leaves_the_value_as_it_was() {
    let _dog = watchdog();
    let lock = Lock::new(1u64).unwrap();
    let half_way = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = lock.acquire().unwrap();
        *guard = 2;
        panic!("half way");
    }));
    assert!(half_way.is_err());
    assert_eq!(*lock.acquire().unwrap(), 1);
}

#[test]
fn plain_data_of_all_sorts() {
    let _dog = watchdog();
    let lock = Lock::new(Light::Red).unwrap();
    *lock.acquire().unwrap() = Light::Green;
    assert_eq!(*lock.acquire().unwrap(), Light::Green);
    assert!(!*Lock::new(false).unwrap().acquire().unwrap());
    assert_eq!(*Lock::new('ß').unwrap().acquire().unwrap(), 'ß');
    let large = Lock::new([7u16; 1000]).unwrap();
    large.acquire().unwrap()[999] = 8;
    let guard = large.acquire().unwrap();
    assert_eq!((guard[998], guard[999]), (7, 8));
    assert_eq!(LockGuard::recovered_from(&guard), None);
}

#[test]
fn a_reentrant_lock_counts() {
    let _dog = watchdog();
    let (lock, number) = (RLock::new().unwrap(), Value::new(0).unwrap());
    let processes: Vec<_> = (0..2).map(|_| count_deeply::start(lock.clone(), number.clone()).unwrap()).collect();
    count_deeply(lock.clone(), number.clone());
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(number.get(), ROUNDS * 3);
    let outer = lock.acquire().unwrap();
    drop(lock.try_acquire().unwrap());
    std::thread::scope(|threads| {
        threads.spawn(|| assert!(matches!(lock.acquire_timeout(SHORT), Err(AcquireError::TimedOut))));
    });
    drop(outer);
    assert!(!lock.is_locked());
}

#[test]
fn values_count_without_a_lock() {
    let _dog = watchdog();
    let (number, array) = (Value::new(0i16).unwrap(), Array::zeroed(16).unwrap());
    let processes: Vec<_> = (0..3).map(|_| add::start(number.clone(), array.clone()).unwrap()).collect();
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(number.get(), -3 * ROUNDS as i16);
    assert_eq!(array.to_vec(), [(3 * ROUNDS / 16) as u8; 16]);
}

#[test]
fn values_of_all_sorts() {
    let _dog = watchdog();
    let value = Value::new(250u8).unwrap();
    assert_eq!((value.fetch_add(10), value.get()), (250, 4));
    assert_eq!((value.fetch_sub(5), value.get()), (4, 255));
    assert_eq!(value.swap(9), 255);
    assert_eq!(value.compare_exchange(9, 3), Ok(9));
    assert_eq!(value.compare_exchange(9, 4), Err(3));
    let value = Value::new(-0.5f32).unwrap();
    value.fetch_add(2.0);
    assert_eq!((value.fetch_max(1.0), value.fetch_min(1.0), value.get()), (1.5, 1.5, 1.0));
    assert_eq!(Value::new(i64::MIN).unwrap().get(), i64::MIN);
}

#[test]
fn arrays_take_and_give_many() {
    let _dog = watchdog();
    let array = Array::from_slice(&[1i16, -2, 3, -4, 5]).unwrap();
    array.set(1, -20);
    assert_eq!(array.update(4, |n| n * 2), 5);
    array.write(2, &[30, -40]);
    let mut three = [0; 3];
    array.read(1, &mut three);
    assert_eq!((three, array.get(4), array.len()), ([-20, 30, -40], 10, 5));
    let bytes = SharedBytes::zeroed(1001).unwrap();
    bytes.write(3, &[5; 990]);
    assert_eq!(bytes.to_vec().iter().map(|&b| u32::from(b)).sum::<u32>(), 5 * 990);
    assert!(Array::<f64>::zeroed(0).unwrap().is_empty());
    assert!(catch_unwind(|| bytes.write(1000, &[1, 2])).is_err());
    assert!(catch_unwind(|| array.get(5)).is_err());
    assert!(Array::<u64>::zeroed(usize::MAX).is_err());
}

#[test]
fn a_semaphore_lets_so_many_in() {
    let _dog = watchdog();
    let semaphore = Semaphore::new(2).unwrap();
    let (inside, most) = (Value::new(0).unwrap(), Value::new(0).unwrap());
    let start = || pass::start(semaphore.clone(), inside.clone(), most.clone()).unwrap();
    let processes: Vec<_> = (0..4).map(|_| start()).collect();
    for process in processes {
        process.join().unwrap();
    }
    assert!((1..=2).contains(&most.get()));
    semaphore.acquire().forget();
    assert_eq!(semaphore.available(), 1);
    semaphore.release(3).unwrap();
    assert_eq!(semaphore.statistics().value, 4);
}

#[test]
fn a_bounded_semaphore_has_a_bound() {
    let _dog = watchdog();
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let permit = semaphore.try_acquire().unwrap();
    assert!(semaphore.try_acquire().is_none());
    assert!(semaphore.acquire_timeout(SHORT).is_none());
    drop(permit);
    assert_eq!(semaphore.release(1), Err(ReleasedTooOften));
}

#[test]
fn turns_are_taken_by_a_condition() {
    let _dog = watchdog();
    let (lock, turn) = (Lock::new(0).unwrap(), Condition::new().unwrap());
    let start = |mine| take_turns::start(lock.clone(), turn.clone(), mine).unwrap();
    let processes: Vec<_> = (0..3).map(start).collect();
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(*lock.acquire().unwrap(), 150);

    let (guard, notified) = turn.wait_timeout(lock.acquire().unwrap(), SHORT).unwrap();
    assert!(!notified);
    let (guard, changed) = turn.wait_timeout_while(guard, SHORT, |n| *n == 150).unwrap();
    assert!(!changed && *guard == 150);
    assert_eq!(turn.statistics().waiting, 0);
}

#[test]
fn a_barrier_holds_all() {
    let _dog = watchdog();
    let (barrier, arrived) = (Barrier::new(3).unwrap(), Value::new(0).unwrap());
    let processes: Vec<_> = (0..2).map(|_| meet::start(barrier.clone(), arrived.clone()).unwrap()).collect();
    meet(barrier.clone(), arrived);
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(barrier.statistics().rounds, 100);
    assert_eq!(barrier.wait_timeout(SHORT), Err(BarrierError::Broken));
    assert!(barrier.is_broken());
    barrier.reset();
    assert!(!barrier.is_broken());

    let alone = Barrier::new(1).unwrap();
    let mut acted = false;
    assert!(alone.wait_and(|| acted = true).unwrap().is_leader());
    assert!(acted);
}

#[test]
fn an_event_is_seen_elsewhere() {
    let _dog = watchdog();
    let (question, reply) = (Event::new().unwrap(), Event::new().unwrap());
    let process = answer::start(question.clone(), reply.clone()).unwrap();
    assert!(!reply.wait_timeout(Duration::ZERO));
    question.set();
    assert!(reply.wait_timeout(LONG));
    reply.clear();
    assert!(!reply.is_set() && question.statistics().is_set);
    process.join().unwrap();
}
