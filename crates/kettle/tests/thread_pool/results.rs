//! Tasks and what comes of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use kettle::thread_pool::TaskError;

use crate::support::watchdog;
use crate::{await_that, gate, pool};

#[test]
fn results_come_back() {
    let _dog = watchdog();
    let pool = pool(2);
    assert_eq!(pool.apply(|| 7 * 7).unwrap(), 49);
    let me = thread::current().id();
    assert_ne!(pool.apply(move || thread::current().id()).unwrap(), me);
    let handles: Vec<_> = (0..100).map(|n| pool.submit(move || n * n).unwrap()).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.join().unwrap(), n * n);
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.done, statistics.queued, statistics.workers), (102, 0, 2));
}

#[test]
fn no_caller_needs_to_wait() {
    let _dog = watchdog();
    let pool = pool(2);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..5000 {
        let count = Arc::clone(&count);
        drop(pool.submit(move || count.fetch_add(1, Ordering::Relaxed)).unwrap());
    }
    pool.join();
    assert_eq!(count.load(Ordering::Relaxed), 5000);
}

#[test]
fn a_map_is_in_order() {
    let _dog = watchdog();
    for workers in [1, 3] {
        let pool = pool(workers);
        assert!(pool.map(|n| n * n, 0..100_000_u64).unwrap().into_iter().eq((0..100_000).map(|n| n * n)));
        assert!(pool.map(|n: u64| n * n, []).unwrap().is_empty());
        assert!(pool.chunks_of(7).map(|n| n * n, 0..1000).unwrap().into_iter().eq((0..1000).map(|n| n * n)));
        let words = pool.map(|word: String| word + "!", ["a".into(), "b".into()]).unwrap();
        assert_eq!(words, ["a!", "b!"]);
    }
}

/// Each of three tasks needs that the others run, too.
#[test]
fn all_workers_work() {
    let _dog = watchdog();
    let pool = pool(3);
    let barrier = Arc::new(Barrier::new(3));
    let meet = move |_| _ = barrier.wait();
    pool.chunks_of(1).map(meet.clone(), 0..30).unwrap();
    assert_eq!(pool.imap(meet, 0..30).count(), 30);
}

#[test]
fn a_map_ends_with_the_first_failure() {
    let _dog = watchdog();
    let pool = pool(2);
    let pulled = AtomicUsize::new(0);
    let items = (0..u64::MAX).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
    let Err(TaskError::Panicked(panic)) = pool.map(|n| assert_ne!(n, 5000, "bad"), items) else { panic!("no panic") };
    assert!(panic.message().contains("bad"), "{panic}");
    assert!(pulled.into_inner() > 5000);
    assert_eq!(pool.apply(|| 3 * 3).unwrap(), 9);
    await_that(|| pool.statistics().queued == 0);
}

#[test]
fn imap_pulls_only_as_far_as_it_may() {
    let _dog = watchdog();
    let pool = pool(2);
    for (chunk, buffer) in [(1, 10), (1, 1), (4, 10)] {
        let pulled = AtomicUsize::new(0);
        let items = (0..).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
        let mut squares = pool.chunks_of(chunk).buffer_size(buffer).imap(|n: u64| n * n, items);
        assert_eq!(pulled.load(Ordering::Relaxed), 0);
        for n in 0..1000 {
            assert_eq!(squares.next().unwrap().unwrap(), n * n);
            assert!(pulled.load(Ordering::Relaxed) <= n as usize + buffer);
        }
    }
    assert!(pool.imap(|n| n * n, 0..1000).map(Result::unwrap).eq((0..1000).map(|n| n * n)));
    assert!(pool.chunks_of(16).imap(|n| n * n, 0..999).map(Result::unwrap).eq((0..999).map(|n| n * n)));
    await_that(|| pool.statistics().queued == 0);
}

#[test]
fn imap_tells_each_outcome() {
    let _dog = watchdog();
    let pool = pool(2);
    let outcomes: Vec<_> = pool.chunks_of(5).imap(|n| assert_ne!(n, 13), 0..30).collect();
    assert_eq!(outcomes.len(), 30);
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(matches!(outcome, Err(TaskError::Panicked(_))), n == 13);
    }
}

#[test]
fn unordered_results_overtake() {
    let _dog = watchdog();
    let pool = pool(2);
    let (gate, task) = gate();
    let task = Mutex::new(Some(task));
    let one_waits = move |n: u32| {
        if n == 0 {
            task.lock().unwrap().take().unwrap()();
        }
        n
    };
    let mut done = pool.imap_unordered(one_waits, 0..4);
    let mut first: Vec<_> = done.by_ref().take(3).map(Result::unwrap).collect();
    first.sort_unstable();
    assert_eq!(first, [1, 2, 3]);
    gate.open();
    assert_eq!(done.next().unwrap().unwrap(), 0);
    assert!(done.next().is_none());
    let all: HashSet<_> = pool.imap_unordered(|n| n * n, 0..500).map(Result::unwrap).collect();
    assert_eq!(all.len(), 500);
}

#[test]
fn a_panic_is_an_outcome() {
    let _dog = watchdog();
    let pool = pool(1);
    let worker = pool.apply(|| thread::current().id()).unwrap();
    let weather = String::from("it rains");
    let TaskError::Panicked(panic) = pool.apply(move || panic!("no luck: {weather}")).unwrap_err() else { panic!() };
    assert_eq!(panic.message(), "no luck: it rains");
    assert_eq!(*panic.into_payload().downcast::<String>().unwrap(), "no luck: it rains");
    let TaskError::Panicked(panic) = pool.apply(|| std::panic::panic_any(7_u32)).unwrap_err() else { panic!() };
    let again = thread::spawn(|| panic.resume()).join().unwrap_err();
    assert_eq!(*again.downcast::<u32>().unwrap(), 7);
    assert_eq!(pool.apply(|| thread::current().id()).unwrap(), worker, "a panic costs no worker");
    assert_eq!(pool.statistics().failed, 2);
}

/// What is dropped beside a task is the program's code too.
#[test]
fn a_drop_that_panics_costs_no_worker() {
    struct Sore;
    impl Drop for Sore {
        fn drop(&mut self) {
            panic!("do not touch");
        }
    }
    let _dog = watchdog();
    let pool = pool(1);
    let worker = pool.apply(|| thread::current().id()).unwrap();
    let limited = pool.task_timeout(Duration::from_nanos(1));
    let (gate, task) = gate();
    let late = limited.submit(move || {
        task();
        Sore
    });
    gate.wait();
    assert!(matches!(late.unwrap().join(), Err(TaskError::TimedOut { .. })));
    gate.open();
    let sore = Sore;
    assert!(matches!(pool.apply(move || std::mem::drop(sore)), Err(TaskError::Panicked(_))));
    await_that(|| pool.statistics().workers == 1);
    assert_ne!(pool.apply(|| thread::current().id()).unwrap(), worker, "that one is written off");
}
