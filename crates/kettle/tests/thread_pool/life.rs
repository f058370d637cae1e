//! Workers and pools come and go.

use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::thread;

use kettle::ThreadPool;
use kettle::thread_pool::{Broken, SubmitError, TaskError};

use crate::support::{LONG, watchdog};
use crate::{await_that, gate, pool};

#[test]
fn workers_are_replaced_when_they_have_done_enough() {
    let _dog = watchdog();
    let pool = ThreadPool::builder().workers(1).max_tasks_per_worker(3).build().unwrap();
    let ids: Vec<_> = (0..9).map(|_| pool.apply(|| thread::current().id()).unwrap()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3);
    assert!(ids.chunks(3).all(|three| three.iter().all(|id| *id == three[0])));
}

#[test]
fn an_initializer_runs_in_each_worker_and_has_its_name() {
    let _dog = watchdog();
    thread_local! {
        static READY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    let builder = ThreadPool::builder().workers(3).name("tea").stack_size(1 << 20).initializer(|| READY.set(true));
    let pool = builder.build().unwrap();
    assert!(pool.chunks_of(1).map(|_| READY.get(), 0..100).unwrap().into_iter().all(|ready| ready));
    let name = pool.apply(|| thread::current().name().map(String::from)).unwrap().unwrap();
    assert!(name.starts_with("tea-worker-"), "{name}");
}

#[test]
fn an_initializer_that_panics_breaks_the_pool() {
    let _dog = watchdog();
    let barrier = Arc::new(Barrier::new(2));
    let same = Arc::clone(&barrier);
    let initializer = move || {
        same.wait();
        panic!("not today");
    };
    let pool = ThreadPool::builder().workers(1).initializer(initializer).build().unwrap();
    let handle = pool.submit(|| 1).unwrap();
    barrier.wait();
    let Err(TaskError::Refused(SubmitError::Broken(Broken::Initializer(message)))) = handle.join() else { panic!() };
    assert_eq!(&*message, "not today");
    assert!(matches!(pool.submit(|| 1), Err(SubmitError::Broken(_))));
    assert!(matches!(pool.map(|n| n, 0..9), Err(TaskError::Refused(_))));
    let mut outcomes = pool.imap(|n| n, 0..9);
    assert!(matches!(outcomes.next(), Some(Err(TaskError::Refused(_)))) && outcomes.next().is_none());
    pool.join();
}

#[test]
fn a_closed_pool_finishes_and_takes_nothing() {
    let _dog = watchdog();
    let pool = pool(2);
    let handles: Vec<_> = (0..100).map(|n| pool.submit(move || n).unwrap()).collect();
    let mut squares = pool.buffer_size(5).imap(|n| n * n, 0..20);
    assert_eq!(squares.next().unwrap().unwrap(), 0);
    pool.close();
    assert!(matches!(pool.submit(|| 1), Err(SubmitError::Closed)));
    assert!(matches!(pool.map(|n| n, 0..3), Err(TaskError::Refused(SubmitError::Closed))));
    await_that(|| pool.statistics().workers == 0);
    assert!(squares.map(Result::unwrap).eq((1..20).map(|n| n * n)), "what was taken in is done");
    pool.join();
    assert!(handles.into_iter().map(|handle| handle.join().unwrap()).eq(0..100));
}

#[test]
fn terminating_cancels_what_waits() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let running = pool.submit(task).unwrap();
    gate.wait();
    let waiting: Vec<_> = (0..10).map(|n| pool.submit(move || n).unwrap()).collect();
    let mut stream = pool.imap(|n| n, 0..3);
    thread::scope(|scope| {
        let next = scope.spawn(|| stream.next().unwrap());
        await_that(|| pool.statistics().queued == 14);
        pool.terminate();
        assert!(matches!(next.join().unwrap(), Err(TaskError::Cancelled { .. })));
    });
    assert!(stream.all(|outcome| matches!(outcome, Err(TaskError::Cancelled { .. }))));
    assert!(waiting.into_iter().all(|handle| matches!(handle.join(), Err(TaskError::Cancelled { .. }))));
    assert!(running.is_running());
    gate.open();
    running.join().unwrap();
    pool.join();
}

#[test]
fn dropping_a_pool_does_not_wait() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let running = pool.submit(task).unwrap();
    let waiting = pool.submit(|| 1).unwrap();
    gate.wait();
    drop(pool);
    assert!(matches!(waiting.join(), Err(TaskError::Cancelled { .. })));
    gate.open();
    running.join().unwrap();
}

/// A task that has the last handle on its own pool.
#[test]
fn a_task_may_drop_its_pool() {
    let _dog = watchdog();
    let pool = Arc::new(pool(1));
    let (gate, task) = gate();
    let same = Arc::clone(&pool);
    let handle = pool.submit(move || {
        task();
        drop(same);
        3
    });
    gate.wait();
    drop(pool);
    gate.open();
    assert_eq!(handle.unwrap().join().unwrap(), 3);
}

/// The workers' threads are gone, and the watch's.
#[test]
fn nothing_is_left_of_a_pool() {
    let _dog = watchdog();
    let threads = |name: &str| {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.starts_with(name)).count()
    };
    let pool = ThreadPool::builder().workers(3).name("gone").build().unwrap();
    pool.task_timeout(LONG).map(|n| n, 0..100).unwrap();
    // A thread gets its name when it first runs.
    await_that(|| threads("gone-") == 4);
    let handle = pool.submit(|| 1).unwrap();
    pool.join();
    await_that(|| threads("gone-") == 0);
    assert_eq!(handle.join().unwrap(), 1);
}
