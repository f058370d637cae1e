//! Limits: cancelled, given up, run again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kettle::thread_pool::TaskError;

use crate::support::{LONG, SHORT, watchdog};
use crate::{await_that, gate, pool};

#[test]
fn what_waits_can_be_cancelled_and_what_runs_cannot() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let running = pool.submit(task).unwrap();
    let ran = Arc::new(AtomicBool::new(false));
    let waiting = {
        let ran = Arc::clone(&ran);
        pool.submit(move || ran.store(true, Ordering::Relaxed)).unwrap()
    };
    gate.wait();
    assert!(running.is_running() && !waiting.is_running());
    assert!(!running.cancel());
    assert!(waiting.cancel() && !waiting.cancel());
    assert!(waiting.is_done() && waiting.is_cancelled() && !running.is_cancelled());
    let Err(TaskError::Cancelled { task }) = waiting.join() else { panic!("it was cancelled") };
    assert!(task.contains("what_waits_can_be_cancelled"), "{task}");
    let dropped = {
        let ran = Arc::clone(&ran);
        pool.submit(move || ran.store(true, Ordering::Relaxed)).unwrap()
    };
    drop(dropped.cancel_on_drop());
    gate.open();
    running.join().unwrap();
    pool.apply(|| ()).unwrap();
    assert!(!ran.load(Ordering::Relaxed));
    let statistics = pool.statistics();
    assert_eq!((statistics.done, statistics.cancelled, statistics.queued), (2, 2, 0));
}

#[test]
fn a_wait_can_end_early() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let handle = pool.submit(task).unwrap();
    assert!(!handle.wait_timeout(SHORT));
    let handle = handle.join_timeout(SHORT).unwrap_err();
    gate.open();
    handle.join_timeout(LONG).unwrap().unwrap();
}

#[test]
fn a_task_that_takes_too_long_is_given_up() {
    let _dog = watchdog();
    let pool = pool(1);
    let (first, task) = gate();
    let begin = Instant::now();
    let error = pool.task_timeout(SHORT).apply(task).unwrap_err();
    assert!(begin.elapsed() >= SHORT);
    assert!(matches!(error, TaskError::TimedOut { timeout: SHORT, .. }), "{error}");
    assert!(error.to_string().contains("it goes on"), "{error}");
    // The one worker is busy for as long as we like; so another one does this.
    assert_eq!(pool.task_timeout(LONG).apply(|| 1).unwrap(), 1);
    let statistics = pool.statistics();
    assert_eq!((statistics.workers, statistics.timed_out, statistics.queued), (1, 1, 0));
    first.wait();
    first.open();
    // Longer than a busy machine takes a thread off its processor.
    let limited = pool.task_timeout(20 * SHORT);
    assert!(limited.map(|n| n, 0..100).unwrap().into_iter().eq(0..100));
    let (second, task) = gate();
    let task = Mutex::new(Some(task));
    let one_stays = move |n| {
        if n == 3 {
            task.lock().unwrap().take().unwrap()();
        }
    };
    let outcomes: Vec<_> = limited.imap(one_stays, 0..6).collect();
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(matches!(outcome, Err(TaskError::TimedOut { .. })), n == 3);
    }
    second.open();
    pool.join();
}

/// A task is late while it waits for another one, which is late, too.
#[test]
fn a_task_that_waits_is_given_up_once() {
    let _dog = watchdog();
    let pool = Arc::new(pool(1));
    let (gate, task) = gate();
    let inner = Arc::clone(&pool);
    let late = pool.task_timeout(SHORT).apply(move || {
        let nested = inner.task_timeout(SHORT).submit(task).unwrap();
        drop(inner);
        drop(nested.join());
    });
    assert!(matches!(late, Err(TaskError::TimedOut { .. })));
    await_that(|| pool.statistics().timed_out == 2);
    gate.open();
    assert_eq!(pool.apply(|| 5).unwrap(), 5);
    await_that(|| pool.statistics().workers == 1);
}

#[test]
fn a_task_that_panics_can_be_run_again() {
    let _dog = watchdog();
    let pool = pool(2);
    let attempts = Arc::new(AtomicU32::new(0));
    let third_time = {
        let attempts = Arc::clone(&attempts);
        move || match attempts.fetch_add(1, Ordering::Relaxed) {
            2 => "lucky",
            _ => panic!("not yet"),
        }
    };
    assert!(matches!(pool.retries(1).apply(third_time.clone()), Err(TaskError::Panicked(_))));
    assert_eq!(attempts.swap(0, Ordering::Relaxed), 2);
    assert_eq!(pool.retries(2).apply(third_time).unwrap(), "lucky");
    let seen = Mutex::new(HashSet::new());
    let once = move |word: String| {
        assert!(!seen.lock().unwrap().insert(word.clone()), "the first time");
        word
    };
    let words = ["a", "b", "c"].map(String::from);
    assert_eq!(pool.retries(1).map(once, words.clone()).unwrap(), words);
    let statistics = pool.statistics();
    assert_eq!((statistics.retried, statistics.failed, statistics.done), (6, 1, 4));
}
