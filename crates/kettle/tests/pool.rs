//! Pools: results, terms, cancellation, and the end.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kettle::pool::{Broken, SubmitError, TaskError};
use kettle::process::active_children;
use kettle::{AcquireError, Bytes, Event, Lock, Pool, Queue, Value};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn wait_if(event: Option<Event>) {
        if let Some(event) = event {
            event.wait();
        }
    }

    fn square(n: u64) -> u64 {
        n * n
    }

    fn repeat(len: usize) -> String {
        "x".repeat(len)
    }

    fn add(a: u64, b: u64) -> u64 {
        a + b
    }

    fn pid(_n: u32) -> u32 {
        std::process::id()
    }

    fn fail(why: String) -> u32 {
        panic!("no luck: {why}");
    }

    fn fail_at(n: u64, bad: u64) -> u64 {
        assert_ne!(n, bad, "bad");
        n
    }

    fn exit_with(code: i32) {
        std::process::exit(code);
    }

    fn spin(began: Event) -> u32 {
        began.set();
        loop {
            std::hint::spin_loop();
        }
    }

    fn wait_for(began: Event, go: Event) -> u32 {
        began.set();
        go.wait();
        std::process::id()
    }

    fn reverse(bytes: Bytes) -> Bytes {
        Bytes::from(bytes.iter().rev().copied().collect::<Vec<u8>>())
    }

    fn parcels(count: usize, len: usize) -> Vec<Bytes> {
        (0..count).map(|i| Bytes::from(vec![i as u8; len])).collect()
    }

    fn lengths(parcels: Vec<Bytes>) -> Vec<usize> {
        parcels.iter().map(|bytes| bytes.len()).collect()
    }

    fn nested(n: u64) -> u64 {
        let pool = Pool::builder().workers(2).build().unwrap();
        pool.map(square::call, 0..n).unwrap().into_iter().sum()
    }

    /// Never ends, and has a pool whose worker never ends and holds a lock.
    fn boss(lock: Lock<u32>, held: Event) {
        let pool = Pool::builder().workers(1).build().unwrap();
        let _ = pool.apply(hold_on::call(lock, held));
    }

    fn hold_on(lock: Lock<u32>, held: Event) {
        let _guard = lock.acquire().unwrap();
        held.set();
        loop {
            std::hint::spin_loop();
        }
    }

    fn set_up(value: Value<u32>) {
        value.fetch_add(1);
    }

    fn set_up_badly() {
        panic!("not today");
    }

    fn leave_at_once() {
        std::process::exit(7);
    }

    fn sleep_once(naps: Value<u32>, nap: Duration) -> u32 {
        let n = naps.fetch_add(1);
        if n == 0 {
            thread::sleep(nap);
        }
        n
    }

    fn die_first(lives: Value<u32>) -> u32 {
        let life = lives.fetch_add(1);
        if life < 2 {
            std::process::abort();
        }
        life
    }

    fn grow(bytes: usize, began: Event) -> usize {
        let fat = vec![1u8; bytes];
        std::hint::black_box(&fat);
        began.set();
        loop {
            std::hint::black_box(&fat);
        }
    }

    fn grow_and_keep(bytes: usize) -> u32 {
        std::mem::forget(std::hint::black_box(vec![1u8; bytes]));
        std::process::id()
    }
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

#[test]
fn results_come_back() {
    let _dog = watchdog();
    let pool = pool(2);
    assert_eq!(pool.apply(square::call(7)).unwrap(), 49);
    assert_eq!(pool.apply(add::call(1, 2)).unwrap(), 3);
    assert_ne!(pool.apply(pid::call(0)).unwrap(), std::process::id());
    let handles: Vec<_> = (0..100).map(|n| pool.submit(square::call(n)).unwrap()).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.join().unwrap(), n * n);
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.done, statistics.queued, statistics.workers), (103, 0, 2));
}

#[test]
fn no_caller_needs_to_wait() {
    let _dog = watchdog();
    let pool = pool(2);
    let count = Value::new(0).unwrap();
    for _ in 0..500 {
        drop(pool.submit(set_up::call(count.clone())).unwrap());
    }
    pool.join();
    assert_eq!(count.get(), 500);
}

#[test]
fn a_map_is_in_order_and_uses_all_workers() {
    let _dog = watchdog();
    let pool = pool(3);
    assert!(pool.map(square::call, 0..100_000).unwrap().into_iter().eq((0..100_000).map(|n| n * n)));
    assert!(pool.map(square::call, 0..0).unwrap().is_empty());
    assert_eq!(pool.map(|(a, b)| add::call(a, b), [(1, 2), (3, 4)]).unwrap(), [3, 7]);
    assert!(pool.chunks_of(7).map(square::call, 0..1000).unwrap().into_iter().eq((0..1000).map(|n| n * n)));
}

#[test]
fn short_and_long_results_take_turns() {
    let _dog = watchdog();
    let pool = pool(2);
    let texts = pool.map(|n| repeat::call(n % 3 * 9), 0..50_000).unwrap();
    assert!((0..50_000).zip(texts).all(|(n, text)| text.len() == n % 3 * 9));
}

#[test]
fn a_map_ends_with_the_first_failure() {
    let _dog = watchdog();
    let pool = pool(2);
    let pulled = AtomicUsize::new(0);
    let items = (0..u64::MAX).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
    let Err(TaskError::Panicked(panic)) = pool.map(|n| fail_at::call(n, 5000), items) else { panic!("no panic") };
    assert!(panic.message.contains("bad"), "{panic}");
    assert!(pulled.into_inner() > 5000);
    assert_eq!(pool.apply(square::call(3)).unwrap(), 9);
}

#[test]
fn imap_pulls_only_as_far_as_it_may() {
    let _dog = watchdog();
    let pool = pool(2);
    let pulled = AtomicUsize::new(0);
    let items = (0..).inspect(|_| _ = pulled.fetch_add(1, Ordering::Relaxed));
    let mut squares = pool.buffer_size(10).imap(square::call, items);
    assert_eq!(pulled.load(Ordering::Relaxed), 0);
    for n in 0..1000 {
        assert_eq!(squares.next().unwrap().unwrap(), n * n);
        assert!(pulled.load(Ordering::Relaxed) <= n as usize + 10);
    }
    drop(squares);
    assert!(pool.imap(square::call, 0..1000).map(Result::unwrap).eq((0..1000).map(|n| n * n)));
    assert!(pool.chunks_of(16).imap(square::call, 0..999).map(Result::unwrap).eq((0..999).map(|n| n * n)));
}

#[test]
fn imap_tells_each_outcome() {
    let _dog = watchdog();
    let pool = pool(2);
    let outcomes: Vec<_> = pool.chunks_of(5).imap(|n| fail_at::call(n, 13), 0..30).collect();
    assert_eq!(outcomes.len(), 30);
    for (n, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(m) => assert_eq!(m, n),
            Err(TaskError::Panicked(_)) => assert_eq!(n, 13),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn unordered_results_overtake() {
    let _dog = watchdog();
    let pool = pool(2);
    let (began, go) = (Event::new().unwrap(), Event::new().unwrap());
    let free = Event::new().unwrap();
    free.set();
    let gates = [go.clone(), free.clone(), free.clone(), free];
    let mut done = pool.imap_unordered(|gate| wait_for::call(began.clone(), gate), gates);
    for _ in 0..3 {
        done.next().unwrap().unwrap();
    }
    go.set();
    done.next().unwrap().unwrap();
    assert!(done.next().is_none());
    let all: HashSet<_> = pool.imap_unordered(square::call, 0..500).map(Result::unwrap).collect();
    assert_eq!(all.len(), 500);
}

#[test]
fn a_panic_says_where_and_why() {
    let _dog = watchdog();
    let pool = pool(1);
    let worker = pool.apply(pid::call(0)).unwrap();
    let TaskError::Panicked(panic) = pool.apply(fail::call("it rains".into())).unwrap_err() else { panic!() };
    assert_eq!(panic.message, "no luck: it rains");
    assert!(panic.location.as_ref().unwrap().contains("pool.rs"), "{panic}");
    assert!(panic.backtrace().contains("fail"), "{}", panic.backtrace());
    assert_eq!(pool.apply(pid::call(0)).unwrap(), worker, "a panic costs no worker");
}

#[test]
fn the_death_of_a_worker_costs_one_task() {
    let _dog = watchdog();
    let pool = pool(2);
    let (began, go) = (Event::new().unwrap(), Event::new().unwrap());
    let other = pool.submit(wait_for::call(began.clone(), go.clone())).unwrap();
    began.wait();
    let death = match pool.apply(exit_with::call(3)).unwrap_err() {
        TaskError::WorkerDied(death) => death,
        e => panic!("{e}"),
    };
    assert_eq!(death.status.unwrap().code(), Some(3));
    assert_eq!((death.task.as_str(), death.signal(), death.too_big), ("exit_with", None, false));
    go.set();
    assert_ne!(other.join().unwrap(), death.pid);
    assert_eq!(pool.apply(square::call(2)).unwrap(), 4);
    let statistics = pool.statistics();
    assert_eq!((statistics.workers, statistics.died, statistics.workers_lost), (2, 1, 1));
}

#[test]
fn a_chunk_loses_only_the_task_that_was_running() {
    let _dog = watchdog();
    kettle::task! {
        fn survive(n: u32) -> u32 {
            if n % 10 == 3 {
                std::process::abort();
            }
            n
        }
    }
    let pool = pool(2);
    let outcomes: Vec<_> = pool.chunks_of(20).imap(survive::call, 0..40).collect();
    for (n, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(m) => assert!(m == n && n % 10 != 3),
            Err(TaskError::WorkerDied(death)) => assert!(n % 10 == 3 && death.signal() == Some(6), "{death}"),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn retries_are_for_deaths() {
    let _dog = watchdog();
    let pool = pool(2);
    let lives = Value::new(0).unwrap();
    assert!(matches!(pool.retries(1).apply(die_first::call(lives.clone())), Err(TaskError::WorkerDied(_))));
    lives.set(0);
    assert_eq!(pool.retries(2).apply(die_first::call(lives)).unwrap(), 2);
    assert!(matches!(pool.retries(9).apply(fail::call("always".into())), Err(TaskError::Panicked(_))));
    let statistics = pool.statistics();
    assert_eq!((statistics.retried, statistics.died, statistics.failed), (3, 1, 1));
    assert_eq!(statistics.workers_lost, 4, "one for each retry, and one for the task that was lost");
}

#[test]
fn a_worker_that_is_killed_while_it_has_no_task_is_counted() {
    let _dog = watchdog();
    let pool = pool(1);
    let worker = pool.apply(pid::call(0)).unwrap();
    std::process::Command::new("kill").args(["-KILL", &worker.to_string()]).status().unwrap();
    while pool.statistics().workers_lost == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_ne!(pool.apply(pid::call(0)).unwrap(), worker);
    let statistics = pool.statistics();
    assert_eq!((statistics.workers_lost, statistics.died, statistics.retried, statistics.done), (1, 0, 0, 2));
}

#[test]
fn no_more_workers_are_busy_than_there_are() {
    let _dog = watchdog();
    let pool = pool(2);
    for _ in 0..5 {
        let began = [Event::new().unwrap(), Event::new().unwrap()];
        let handles = began.each_ref().map(|began| pool.submit(spin::call(began.clone())).unwrap());
        began.iter().for_each(Event::wait);
        assert_eq!((pool.statistics().workers, pool.statistics().busy), (2, 2));
        for handle in &handles {
            handle.cancel();
            let statistics = pool.statistics();
            assert!(statistics.busy <= statistics.workers, "{statistics:?}");
        }
        for handle in handles {
            assert!(matches!(handle.join(), Err(TaskError::Cancelled { .. })));
        }
    }
    assert_eq!((pool.statistics().cancelled, pool.statistics().workers_lost), (10, 0));
}

#[test]
fn a_task_that_takes_too_long_is_ended() {
    let _dog = watchdog();
    let pool = pool(2);
    let began = Event::new().unwrap();
    let limited = pool.task_timeout(Duration::from_millis(200));
    let start = Instant::now();
    match limited.apply(spin::call(began)).unwrap_err() {
        TaskError::TimedOut { task, timeout } => assert_eq!((task.as_str(), timeout.as_millis()), ("spin", 200)),
        e => panic!("{e}"),
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    // Each task of a chunk has its own limit, and the others have their results.
    let naps = Value::new(0).unwrap();
    let tasks = (0..8).map(|_| naps.clone());
    let outcomes: Vec<_> = limited.chunks_of(8).imap(|naps| sleep_once::call(naps, LONG), tasks).collect();
    assert!(matches!(outcomes[0], Err(TaskError::TimedOut { .. })));
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(pool.statistics().timed_out, 2);
}

#[test]
fn without_a_waiter_the_limit_holds() {
    let _dog = watchdog();
    let pool = pool(1);
    let began = Event::new().unwrap();
    let handle = pool.task_timeout(SHORT).submit(spin::call(began)).unwrap();
    // Only the pool's own thread looks at the time.
    while pool.statistics().timed_out == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(handle.join(), Err(TaskError::TimedOut { .. })));
}

#[test]
fn a_task_that_waits_is_cancelled_and_one_that_runs() {
    let _dog = watchdog();
    let pool = pool(1);
    let (began, go) = (Event::new().unwrap(), Event::new().unwrap());
    let running = pool.submit(spin::call(began.clone())).unwrap();
    began.wait();
    let waiting = pool.submit(spin::call(began)).unwrap();
    let last = pool.submit(square::call(5)).unwrap();
    assert!(waiting.cancel());
    assert!(!waiting.cancel());
    assert!(matches!(waiting.join(), Err(TaskError::Cancelled { task }) if task == "spin"));
    assert!(!last.wait_timeout(SHORT));
    assert!(running.cancel());
    assert!(matches!(running.join(), Err(TaskError::Cancelled { .. })));
    assert_eq!(last.join().unwrap(), 25);
    let done = pool.submit(square::call(6)).unwrap();
    done.wait();
    assert!(!done.cancel());
    assert_eq!(done.join().unwrap(), 36);
    go.set();
}

#[test]
fn a_handle_can_cancel_when_dropped() {
    let _dog = watchdog();
    let pool = pool(1);
    let began = Event::new().unwrap();
    let handle = pool.submit(spin::call(began.clone())).unwrap().cancel_on_drop();
    began.wait();
    drop(handle);
    assert_eq!(pool.apply(square::call(5)).unwrap(), 25);
}

#[test]
fn a_wait_can_end_early() {
    let _dog = watchdog();
    let pool = pool(1);
    let (began, go) = (Event::new().unwrap(), Event::new().unwrap());
    let handle = pool.submit(wait_for::call(began, go.clone())).unwrap();
    let handle = handle.join_timeout(SHORT).unwrap_err();
    assert!(!handle.is_done());
    go.set();
    handle.join_timeout(LONG).unwrap().unwrap();
}

#[test]
fn workers_are_replaced_when_they_have_done_enough() {
    let _dog = watchdog();
    let pool = Pool::builder().workers(2).max_tasks_per_worker(3).build().unwrap();
    let pids: Vec<_> = pool.imap(pid::call, 0..60).map(Result::unwrap).collect();
    let workers: HashSet<_> = pids.iter().collect();
    assert!(workers.len() >= 20, "{}", workers.len());
    assert!(workers.iter().all(|pid| pids.iter().filter(|p| p == pid).count() <= 3));
    pool.join();
}

#[test]
fn a_worker_that_grew_is_replaced_or_ended() {
    let _dog = watchdog();
    let limit = 100 << 20;
    let pool = Pool::builder().workers(1).max_memory_per_worker(limit as u64).build().unwrap();
    let first = pool.apply(grow_and_keep::call(limit + limit / 4)).unwrap();
    while pool.apply(pid::call(0)).unwrap() == first {
        thread::sleep(Duration::from_millis(1));
    }
    let began = Event::new().unwrap();
    match pool.apply(grow::call(2 * limit, began)).unwrap_err() {
        TaskError::WorkerDied(death) => assert!(death.too_big, "{death}"),
        e => panic!("{e}"),
    }
    assert_eq!(pool.apply(square::call(5)).unwrap(), 25);
}

#[test]
fn an_initializer_runs_in_each_worker() {
    let _dog = watchdog();
    let count = Value::new(0).unwrap();
    let pool = Pool::builder().workers(3).initializer(set_up::call(count.clone())).build().unwrap();
    pool.join();
    assert_eq!(count.get(), 3);
}

#[test]
fn an_initializer_that_panics_breaks_the_pool() {
    let _dog = watchdog();
    let pool = Pool::builder().workers(2).initializer(set_up_badly::call()).build().unwrap();
    let Err(TaskError::Refused(SubmitError::Broken(Broken::Initializer(panic)))) = pool.apply(square::call(1)) else {
        panic!("it works");
    };
    assert_eq!(panic.message, "not today");
    assert!(matches!(pool.submit(square::call(1)), Err(SubmitError::Broken(Broken::Initializer(_)))));
    assert!(matches!(pool.map(square::call, 0..9), Err(TaskError::Refused(SubmitError::Broken(_)))));
    pool.join();
}

#[test]
fn workers_that_die_early_are_not_started_for_ever() {
    let _dog = watchdog();
    for max_tasks in [1, 100] {
        let builder = Pool::builder().workers(2).max_tasks_per_worker(max_tasks).initializer(leave_at_once::call());
        let pool = builder.build().unwrap();
        match pool.apply(square::call(1)) {
            Err(TaskError::Refused(SubmitError::Broken(Broken::WorkersDie { status, .. }))) => {
                assert_eq!(status.unwrap().code(), Some(7));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn big_arguments_and_results() {
    let _dog = watchdog();
    let pool = pool(2);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let reversed: Vec<_> = bytes.iter().rev().copied().collect();
    assert_eq!(*pool.apply(reverse::call(Bytes::from(bytes.clone()))).unwrap(), *reversed);
    for back in pool.chunks_of(100).imap(reverse::call, (0..300).map(|n| Bytes::from(vec![n as u8; 70_000]))) {
        assert_eq!(back.unwrap().len(), 70_000);
    }
    // More parts than a message has.
    let parcels = pool.apply(parcels::call(200, 70_000)).unwrap();
    assert_eq!(pool.apply(lengths::call(parcels)).unwrap(), [70_000; 200]);
    assert!(pool.apply(kettle_text::call("x".repeat(1_000_000))).unwrap().len() == 1_000_000);
}

kettle::task! {
    fn kettle_text(text: String) -> String {
        text
    }

    fn first(queue: Queue<u32>) -> u32 {
        queue.get().unwrap()
    }
}

#[test]
fn what_processes_share_may_be_an_argument() {
    let _dog = watchdog();
    let pool = pool(2);
    let queue = Queue::new().unwrap();
    let handle = pool.submit(first::call(queue.clone())).unwrap();
    queue.put(5).unwrap();
    assert_eq!(handle.join().unwrap(), 5);
}

#[test]
fn a_pool_in_a_pool() {
    let _dog = watchdog();
    let pool = pool(2);
    assert_eq!(pool.map(nested::call, [10, 100]).unwrap(), [285, 328_350]);
}

#[test]
fn workers_die_with_the_process_that_made_their_pool() {
    let _dog = watchdog();
    let (lock, held) = (Lock::new(0).unwrap(), Event::new().unwrap());
    // A process that is killed.
    let process = boss::start(lock.clone(), held.clone()).unwrap();
    held.wait();
    process.kill().unwrap();
    assert!(matches!(lock.acquire_timeout(LONG), Err(AcquireError::OwnerDied(_))));
    // A worker whose task is cancelled.
    lock.reset().unwrap();
    held.clear();
    let pool = pool(1);
    let handle = pool.submit(boss::call(lock.clone(), held.clone())).unwrap();
    held.wait();
    assert!(handle.cancel());
    assert!(matches!(lock.acquire_timeout(LONG), Err(AcquireError::OwnerDied(_))));
}

#[test]
fn many_threads_use_one_pool() {
    let _dog = watchdog();
    let pool = pool(2);
    thread::scope(|scope| {
        for t in 0..6 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    match (n + t) % 3 {
                        0 => assert_eq!(pool.apply(square::call(n)).unwrap(), n * n),
                        1 => assert_eq!(pool.submit(square::call(n)).unwrap().join().unwrap(), n * n),
                        _ => assert_eq!(pool.map(square::call, n..n + 5).unwrap().len(), 5),
                    }
                }
            });
        }
    });
}

#[test]
fn a_closed_pool_finishes_and_takes_nothing() {
    let _dog = watchdog();
    let pool = pool(2);
    let handles: Vec<_> = (0..50).map(|n| pool.submit(square::call(n)).unwrap()).collect();
    pool.close();
    assert!(matches!(pool.submit(square::call(1)), Err(SubmitError::Closed)));
    assert!(matches!(pool.imap(square::call, 0..9).next(), Some(Err(TaskError::Refused(SubmitError::Closed)))));
    pool.join();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.join().unwrap(), n * n);
    }
}

#[test]
fn terminating_is_quick_and_tells_everybody() {
    let _dog = watchdog();
    let pool = pool(2);
    let began = Event::new().unwrap();
    let running = pool.submit(spin::call(began.clone())).unwrap();
    began.wait();
    let waiting: Vec<_> = (0..50).map(|_| pool.submit(spin::call(began.clone())).unwrap()).collect();
    let mut stream = pool.imap(square::call, 0..);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| running.join());
        pool.terminate();
        assert!(matches!(waiter.join().unwrap(), Err(TaskError::Cancelled { .. })));
    });
    for handle in waiting {
        assert!(matches!(handle.join(), Err(TaskError::Cancelled { .. })));
    }
    assert!(stream.by_ref().all(|outcome| outcome.is_err()));
    assert!(stream.next().is_none());
    assert_eq!(pool.statistics().workers, 0);
}

#[test]
fn nothing_is_left_of_a_pool() {
    let _dog = watchdog();
    let name = "passing";
    let pool = Pool::builder().workers(2).name(name).build().unwrap();
    let began = Event::new().unwrap();
    let handle = pool.submit(spin::call(began.clone())).unwrap();
    began.wait();
    assert_eq!(active_children().iter().filter(|(_, n)| n.starts_with(name)).count(), 2);
    drop(pool);
    assert_eq!(active_children().iter().filter(|(_, n)| n.starts_with(name)).count(), 0);
    assert!(matches!(handle.join(), Err(TaskError::Cancelled { .. })));
}

#[test]
fn a_map_tells_how_far_it_is() {
    let _dog = watchdog();
    let pool = Pool::builder().workers(2).build().unwrap();
    let (go, seen) = (Event::new().unwrap(), std::sync::Mutex::new(Vec::new()));
    let report = |at: kettle::pool::Progress| {
        seen.lock().unwrap().push((at.done, at.total));
        // The last task waits until the others are told.
        if at.done == 99 {
            go.set();
        }
    };
    let items = (0..100).map(|n| (n == 99).then(|| go.clone()));
    assert_eq!(pool.on_progress(&report).chunks_of(1).map(wait_if::call, items).unwrap().len(), 100);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{seen:?}");
    assert!(seen.iter().all(|(_, total)| *total == Some(100)));
    assert_eq!(seen.last(), Some(&(100, Some(100))));
}
