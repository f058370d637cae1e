//! Pools of threads: results, terms, cancellation, tasks that wait for tasks, and the end.

mod support;

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use kettle::ThreadPool;
use kettle::thread_pool::{Broken, SubmitError, TaskError};
use support::{LONG, Random, SHORT, watchdog};

fn pool(workers: usize) -> ThreadPool {
    ThreadPool::builder().workers(workers).build().unwrap()
}

/// Waits for what another thread is about to make true.
fn await_that(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LONG, "it does not come true");
        thread::yield_now();
    }
}

/// A task that says that it has begun, and ends when it is let.
struct Gate {
    began: Receiver<()>,
    go: Sender<()>,
}

fn gate() -> (Gate, impl FnOnce() + Send + 'static) {
    let ((has_begun, began), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    let task = move || {
        has_begun.send(()).unwrap();
        // Also if the test is over.
        let _ = may_go.recv();
    };
    (Gate { began, go }, task)
}

impl Gate {
    fn wait(&self) {
        self.began.recv_timeout(LONG).unwrap();
    }
    fn open(&self) {
        self.go.send(()).unwrap();
    }
}

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
fn nobody_needs_to_wait() {
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

/// With any number of workers, every one of which waits for what it gave.
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

/// Nobody helps one who waits for a limited time; so another worker takes its place.
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

/// Whoever waits does nothing else than what it waits for: that might need a lock that it holds.
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

// ---- futures ----

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_handle_can_be_awaited_by_any_executor() {
    let _dog = watchdog();
    let pool = pool(2);
    for n in 0..1000 {
        assert_eq!(block_on(pool.submit(move || n).unwrap()).unwrap(), n);
    }
    assert!(matches!(block_on(pool.submit(|| panic!("oh")).unwrap()), Err::<(), _>(TaskError::Panicked(_))));
    let (gate, task) = gate();
    let limited = pool.task_timeout(SHORT).submit(task).unwrap();
    assert!(matches!(block_on(limited), Err(TaskError::TimedOut { .. })));
    gate.open();
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let mut handle = pin!(pool.submit(task).unwrap());
    let first = handle.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending());
    gate.open();
    block_on(handle).unwrap();
}

#[test]
fn a_future_that_is_dropped_lets_its_task_run_on() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let ran = Arc::new(AtomicBool::new(false));
    let (same, cancelled) = (Arc::clone(&ran), pool.submit(task).unwrap());
    let mut handle = pool.submit(move || same.store(true, Ordering::Relaxed)).unwrap();
    let mut never = pool.submit(|| unreachable!("it is cancelled")).unwrap().cancel_on_drop();
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(&mut handle).poll(&mut context).is_pending());
    assert!(pin!(&mut never).poll(&mut context).is_pending());
    drop((handle, never));
    gate.open();
    cancelled.join().unwrap();
    pool.join();
    assert!(ran.load(Ordering::Relaxed));
}

// ---- many at once ----

#[test]
fn many_threads_use_one_pool() {
    let _dog = watchdog();
    let pool = pool(3);
    thread::scope(|scope| {
        for t in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..500 {
                    assert_eq!(pool.apply(move || n * t).unwrap(), n * t);
                }
                let results = pool.map(move |n| n + t, 0..10_000).unwrap();
                assert!(results.into_iter().eq(t..10_000 + t));
                let handles: Vec<_> = (0..1000).map(|n| pool.submit(move || n ^ t).unwrap()).collect();
                assert!(handles.into_iter().map(|h| h.join().unwrap()).eq((0..1000).map(|n| n ^ t)));
            });
        }
    });
    assert_eq!((pool.statistics().done, pool.statistics().queued), (6 * 11_500, 0));
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
            for _ in 0..random.below(2000) {
                thread::yield_now();
            }
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
        let kind = random.below(8);
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
