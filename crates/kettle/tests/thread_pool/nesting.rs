//! Tasks that wait for tasks of their own pool.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use kettle::ThreadPool;
use kettle::thread_pool::TaskError;

use crate::support::{LONG, watchdog};
use crate::{await_that, gate, pool};

/// With any number of workers, each waiting for the tasks it submitted.
#[test]
fn tasks_wait_for_tasks_of_their_pool() {
    fn tree(pool: &Arc<ThreadPool>, depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let branches: Vec<_> = (0..3)
            .map(|_| {
                let same = Arc::clone(pool);
                pool.submit(move || tree(&same, depth - 1)).unwrap()
            })
            .collect();
        branches.into_iter().map(|branch| branch.join().unwrap()).sum()
    }
    let _dog = watchdog();
    for workers in [1, 2, 4] {
        let pool = Arc::new(pool(workers));
        let same = Arc::clone(&pool);
        assert_eq!(pool.apply(move || tree(&same, 6)).unwrap(), 729);
        let same = Arc::clone(&pool);
        let rows = pool.map(move |n| same.map(move |m| n * m, 0..20).unwrap().into_iter().sum::<u64>(), 0..50).unwrap();
        assert!(rows.into_iter().eq((0..50).map(|n| n * 190)));
        let same = Arc::clone(&pool);
        let counts = pool.map(move |n| same.imap(|m| m, 0..n).map(Result::unwrap).count(), 0..50).unwrap();
        assert!(counts.into_iter().eq(0..50));
        await_that(|| pool.statistics().workers == workers);
    }
}

/// A task that waits with a time limit runs no other task, so another worker takes its place.
#[test]
fn a_task_that_waits_takes_no_worker_away() {
    let _dog = watchdog();
    let pool = Arc::new(pool(1));
    let same = Arc::clone(&pool);
    let nested = pool.apply(move || {
        let inner = Arc::clone(&same);
        let outer = same.submit(move || inner.submit(|| 7).unwrap().join_timeout(LONG).unwrap().unwrap()).unwrap();
        outer.join_timeout(LONG).unwrap().unwrap()
    });
    assert_eq!(nested.unwrap(), 7);
    await_that(|| pool.statistics().workers == 1);
}

/// A waiting task runs only the task it waits for, because any other one might need a lock that it holds.
#[test]
fn a_task_that_waits_does_no_strange_work() {
    let _dog = watchdog();
    let pool = Arc::new(pool(2));
    let lock = Arc::new(Mutex::new(0));
    let (gate, task) = gate();
    let slow = pool.submit(task).unwrap();
    gate.wait();
    let holder = {
        let (pool, lock) = (Arc::clone(&pool), Arc::clone(&lock));
        move || {
            let mut held = lock.lock().unwrap();
            let strangers: Vec<_> = (0..4)
                .map(|_| {
                    let lock = Arc::clone(&lock);
                    pool.submit(move || *lock.lock().unwrap() += 1).unwrap()
                })
                .collect();
            gate.open();
            slow.join().unwrap();
            *held += 10;
            strangers
        }
    };
    let strangers = pool.apply(holder).unwrap();
    strangers.into_iter().for_each(|stranger| stranger.join().unwrap());
    assert_eq!(*lock.lock().unwrap(), 14);
}

#[test]
fn a_pool_cannot_be_joined_by_its_own_task() {
    let _dog = watchdog();
    let (give, take) = mpsc::channel::<ThreadPool>();
    let pool = pool(1);
    let handle = pool.submit(move || take.recv().unwrap().join()).unwrap();
    give.send(pool).unwrap();
    let Err(TaskError::Panicked(panic)) = handle.join() else { panic!("it should panic") };
    assert!(panic.message().contains("wait for itself"), "{panic}");
}
