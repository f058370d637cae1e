//! Many threads at once.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kettle::ThreadPool;
use kettle::thread_pool::{SubmitError, TaskError};

use crate::futures::block_on;
use crate::support::{Random, SHORT, watchdog};
use crate::{await_that, pool};

#[test]
fn many_threads_use_one_pool() {
    let _dog = watchdog();
    let pool = pool(3);
    thread::scope(|scope| {
        for t in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    assert_eq!(pool.apply(move || n * t).unwrap(), n * t);
                }
                let results = pool.map(move |n| n + t, 0..10_000).unwrap();
                assert!(results.into_iter().eq(t..10_000 + t));
                let handles: Vec<_> = (0..1000).map(|n| pool.submit(move || n ^ t).unwrap()).collect();
                assert!(handles.into_iter().map(|h| h.join().unwrap()).eq((0..1000).map(|n| n ^ t)));
            });
        }
    });
    assert_eq!((pool.statistics().done, pool.statistics().queued), (6 * 11_200, 0));
}

/// Threads do to pools whatever can be done to them, in no order; whatever is taken in has an outcome.
#[test]
fn everything_has_an_outcome_whatever_happens() {
    let _dog = watchdog();
    for seed in 0..40 {
        let mut random = Random::quiet(seed);
        let workers = 1 + random.below(3) as usize;
        let mut builder = ThreadPool::builder().workers(workers);
        if random.below(3) == 0 {
            builder = builder.max_tasks_per_worker(1 + random.below(9) as u32);
        }
        let pool = Arc::new(builder.build().unwrap());
        thread::scope(|scope| {
            for t in 0..3 {
                let (pool, mut random) = (Arc::clone(&pool), Random::quiet(seed << 8 | t));
                scope.spawn(move || rummage(&pool, &mut random));
            }
            // Not by yielding so often: beside threads that never rest, each time costs a slice of theirs.
            thread::sleep(Duration::from_micros(random.below(1000)));
            match random.below(3) {
                0 => pool.close(),
                1 => pool.terminate(),
                _ => {}
            }
        });
        eprintln!("seed {seed}: {:?}", pool.statistics());
        await_that(|| pool.statistics().queued == 0);
        if let Some(pool) = Arc::into_inner(pool) {
            pool.join();
        }
    }
}

fn rummage(pool: &Arc<ThreadPool>, random: &mut Random) {
    let mut handles = Vec::new();
    for _ in 0..60 {
        let kind = random.below(10);
        let same = Arc::clone(pool);
        let submitted = match kind {
            0 => pool.submit(|| panic!("a panic of a test")),
            1 => pool.submit(move || drop(same.submit(|| ()).map(|handle| handle.join()))),
            2 => pool.task_timeout(Duration::from_micros(random.below(200))).submit(thread::yield_now),
            3 => pool.submit(move || drop(same.map(|n| n, 0..20))),
            4 => {
                let stream = pool.chunks_of(1 + random.below(4) as u32).imap(|n| n, 0..random.below(40));
                let taken = random.below(40) as usize;
                let _ = stream.take(taken).count();
                continue;
            }
            8 => {
                let count = random.below(300);
                let results = pool.chunks_of(1 + random.below(2) as u32).map(|n| n, 0..count);
                assert!(results.is_err() || results.unwrap().into_iter().eq(0..count));
                continue;
            }
            9 => pool.submit(move || drop(same.chunks_of(1).map(|n| assert_ne!(n, 150, "a panic of a test"), 0..200))),
            5 => pool.submit(move || drop(same.submit(|| ()).map(|handle| handle.join_timeout(SHORT)))),
            _ => pool.submit(|| ()),
        };
        let Ok(handle) = submitted else { continue };
        match random.below(4) {
            0 => drop(handle.cancel_on_drop()),
            1 => {
                handle.cancel();
                handles.push(handle);
            }
            _ => handles.push(handle),
        }
    }
    for handle in handles {
        let outcome = if random.below(2) == 0 { block_on(handle) } else { handle.join() };
        assert!(!matches!(outcome, Err(TaskError::Refused(SubmitError::Closed))), "it was taken in");
    }
}
