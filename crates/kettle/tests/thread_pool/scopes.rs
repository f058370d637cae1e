//! Tasks that borrow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use kettle::thread_pool::TaskError;

use crate::pool;
use crate::support::watchdog;

#[test]
fn tasks_may_borrow_what_outlives_the_scope() {
    let _dog = watchdog();
    let pool = pool(3);
    let mut numbers: Vec<u64> = (0..1000).collect();
    let words = ["tea".to_string(), "kettle".to_string()];
    let longest = pool
        .scope(|scope| {
            for part in numbers.chunks_mut(100) {
                drop(scope.submit(move || part.iter_mut().for_each(|n| *n *= 2)).unwrap());
            }
            // The result borrows, too.
            let longest = scope.submit(|| words.iter().max_by_key(|word| word.len()).unwrap()).unwrap();
            longest.join().unwrap()
        })
        .unwrap();
    assert!(std::ptr::eq(longest, &words[1]));
    assert!((0..1000).zip(&numbers).all(|(n, twice)| *twice == 2 * n));
    assert_eq!(pool.statistics().done, 11);
}

#[test]
fn tasks_may_submit_tasks_to_their_scope() {
    let _dog = watchdog();
    for workers in [1, 3] {
        let pool = pool(workers);
        let count = AtomicU32::new(0);
        pool.scope(|scope| {
            for _ in 0..10 {
                let inner = scope.clone();
                let count = &count;
                drop(scope.submit(move || {
                    for _ in 0..10 {
                        drop(inner.submit(|| count.fetch_add(1, Ordering::Relaxed)).unwrap());
                    }
                }));
            }
        })
        .unwrap();
        assert_eq!(count.into_inner(), 100);
    }
}

#[test]
fn a_task_may_open_a_scope_of_its_own_pool() {
    let _dog = watchdog();
    let pool = std::sync::Arc::new(pool(1));
    let inside = std::sync::Arc::clone(&pool);
    let total = pool.apply(move || {
        let mut numbers = [1, 2, 3];
        inside
            .scope(|scope| {
                for n in &mut numbers {
                    drop(scope.submit(move || *n *= 10).unwrap());
                }
            })
            .unwrap();
        numbers.iter().sum::<i32>()
    });
    assert_eq!(total.unwrap(), 60);
}

#[test]
fn a_failure_is_told_by_its_handle_or_else_by_the_scope() {
    let _dog = watchdog();
    let pool = pool(2);
    let told = pool.scope(|scope| scope.submit(|| panic!("no luck")).unwrap().join().map(|never: ()| never));
    assert!(matches!(told, Ok(Err(TaskError::Panicked(panic))) if panic.message() == "no luck"));

    let told = pool.scope(|scope| {
        drop(scope.submit(|| 1).unwrap());
        drop(scope.submit(|| panic!("not asked for")).unwrap());
    });
    assert!(matches!(told, Err(TaskError::Panicked(panic)) if panic.message() == "not asked for"));
}

#[test]
fn a_panic_of_the_body_waits_for_the_tasks() {
    let _dog = watchdog();
    let pool = pool(2);
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let mut number = 0;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            let go = go;
            drop(scope.submit(|| {
                // Until the body is unwound.
                let _ = may_go.lock().unwrap().recv();
                number = 7;
            }));
            let _go = go;
            panic!("no luck");
        })
    }));
    assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "no luck");
    assert_eq!(number, 7);
}

#[test]
fn a_scope_waits_for_the_code_of_a_task_that_took_too_long() {
    let _dog = watchdog();
    let pool = pool(1);
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let mut is_over = false;
    let (outcome, later) = pool
        .task_timeout(Duration::from_millis(20))
        .scope(|scope| {
            let late = scope.submit(|| {
                let _ = may_go.lock().unwrap().recv();
                is_over = true;
            });
            let outcome = late.unwrap().join();
            let later = scope.submit(|| 3).unwrap().join();
            go.send(()).unwrap();
            (outcome, later)
        })
        .unwrap();
    assert!(matches!(outcome, Err(TaskError::TimedOut { .. })), "{outcome:?}");
    assert_eq!(later.unwrap(), 3);
    assert!(is_over);
}

#[test]
fn what_a_pool_does_not_run_is_dropped_in_its_scope() {
    let _dog = watchdog();
    let pool = pool(1);
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let began = AtomicU32::new(0);
    let text = String::from("borrowed");
    let (cancelled, refused) = pool
        .scope(|scope| {
            let first = scope.submit(|| {
                began.store(1, Ordering::SeqCst);
                let _ = may_go.lock().unwrap().recv();
            });
            while began.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let second = scope.submit(|| text.len()).unwrap();
            let third = scope.submit(|| text.len()).unwrap();
            assert!(second.cancel());
            pool.terminate();
            let refused = scope.submit(|| text.len()).map(drop);
            go.send(()).unwrap();
            first.unwrap().join().unwrap();
            assert!(matches!(third.join(), Err(TaskError::Cancelled { .. })));
            (second.join(), refused)
        })
        .unwrap();
    assert!(matches!(cancelled, Err(TaskError::Cancelled { .. })));
    assert!(refused.is_err());
}
