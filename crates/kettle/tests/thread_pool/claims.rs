//! Maps, whose tasks are claimed many at once: this delays no worker, and no task is run twice or lost.

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use kettle::thread_pool::TaskError;

use crate::support::{Random, watchdog};
use crate::{await_that, gate, pool};

/// By then they are claimed by the hundred.
const LATE: usize = 3000;

#[test]
fn a_slow_task_holds_no_other_up() {
    let _dog = watchdog();
    for (workers, slow) in [(2, 0), (2, LATE), (4, LATE), (2, 4999)] {
        let pool = pool(workers);
        let done = AtomicUsize::new(0);
        let one_waits_for_all = move |n| {
            if n == slow {
                await_that(|| done.load(Ordering::Relaxed) == 4999);
            }
            done.fetch_add(1, Ordering::Relaxed);
            n
        };
        assert!(pool.chunks_of(1).map(one_waits_for_all, 0..5000).unwrap().into_iter().eq(0..5000));
    }
}

/// But for the few that are taken in hand together.
#[test]
fn a_slow_task_holds_few_up_where_chunks_are_measured() {
    let _dog = watchdog();
    let pool = pool(2);
    let done = AtomicUsize::new(0);
    let one_waits_for_most = move |n| {
        if n == 100_000 {
            await_that(|| done.load(Ordering::Relaxed) >= 200_000 - 64);
        }
        done.fetch_add(1, Ordering::Relaxed);
        n
    };
    assert!(pool.map(one_waits_for_most, 0..200_000).unwrap().into_iter().eq(0..200_000));
}

#[test]
fn a_map_ends_with_its_pool_although_a_task_does_not() {
    let _dog = watchdog();
    let pool = pool(2);
    let (gate, task) = gate();
    let task = Mutex::new(Some(task));
    let one_stays = move |n| {
        if n == LATE {
            task.lock().unwrap().take().unwrap()();
        }
    };
    thread::scope(|scope| {
        let map = scope.spawn(|| pool.chunks_of(1).map(one_stays, 0..));
        gate.wait();
        pool.terminate();
        assert!(matches!(map.join().unwrap(), Err(TaskError::Cancelled { .. })));
    });
    gate.open();
    pool.join();
}

/// Also what the worker has claimed whose task goes on.
#[test]
fn a_map_that_failed_drops_what_was_not_begun() {
    struct Item(usize, Arc<AtomicUsize>);
    impl Drop for Item {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let _dog = watchdog();
    let pool = pool(2);
    let (gate, task) = gate();
    let task = Mutex::new(Some(task));
    let one_stays_and_one_fails = move |item: Item| match item.0 {
        LATE => task.lock().unwrap().take().unwrap()(),
        n => assert_ne!(n, 2 * LATE, "bad"),
    };
    let (pulled, dropped) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let items = (0..).map(|n| {
        pulled.fetch_add(1, Ordering::Relaxed);
        Item(n, Arc::clone(&dropped))
    });
    assert!(matches!(pool.chunks_of(1).map(one_stays_and_one_fails, items), Err(TaskError::Panicked(_))));
    await_that(|| dropped.load(Ordering::Relaxed) + 1 == pulled.load(Ordering::Relaxed));
    gate.open();
    pool.join();
    assert_eq!(dropped.load(Ordering::Relaxed), pulled.into_inner());
}

#[test]
fn each_task_is_done_exactly_once() {
    let _dog = watchdog();
    for seed in 0..60 {
        let mut random = Random::quiet(seed);
        let pool = pool(1 + random.below(4) as usize);
        let maps: Vec<_> =
            (0..2).map(|_| (random.below(3000) as usize, random.below(5) as u32, random.below(300))).collect();
        eprintln!("seed {seed}: {maps:?}");
        thread::scope(|scope| {
            for (count, chunk, rarity) in maps {
                let pool = &pool;
                scope.spawn(move || {
                    let times: Arc<[AtomicU8]> = (0..count).map(|_| AtomicU8::new(0)).collect();
                    let same = Arc::clone(&times);
                    let task = move |n: usize| {
                        let is_slow = Random::quiet(seed ^ n as u64).below(rarity + 1) == 0;
                        (0..if is_slow { 20_000 } else { 0 }).for_each(|i| _ = black_box(i));
                        same[n].fetch_add(1, Ordering::Relaxed);
                        n
                    };
                    let results = match chunk {
                        0 => pool.map(task, 0..count),
                        _ => pool.chunks_of(chunk).map(task, 0..count),
                    };
                    assert!(results.unwrap().into_iter().eq(0..count));
                    assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1));
                });
            }
        });
        let statistics = pool.statistics();
        assert_eq!((statistics.queued, statistics.cancelled), (0, 0));
    }
}
