//! The awaitable forms, on both of tokio's schedulers.

mod support;

use std::future::Future;
use std::time::Duration;

use kettle::pipe::RecvError;
use kettle::pool::TaskError;
use kettle::queue::JoinError;
use kettle::{
    AcquireError, Barrier, Bytes, Connection, Event, JoinableQueue, Lock, Pool, Queue, Semaphore, ThreadPool, pipe,
};
use support::{LONG, SHORT, watchdog};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

kettle::init_in_tests!();

kettle::task! {
    fn put_all(queue: Queue<u64>, count: u64) {
        for i in 0..count {
            queue.put(i).unwrap();
        }
    }

    fn sum_all(queue: Queue<u64>) -> u64 {
        queue.iter().map(|n| n.unwrap()).sum()
    }

    fn hold(lock: Lock<u32>, holding: Event, go: Event) {
        let mut guard = lock.acquire().unwrap();
        *guard += 1;
        holding.set();
        go.wait();
    }

    fn take_one(jobs: JoinableQueue<u32>, took: Event) {
        jobs.get().unwrap();
        took.set();
        Event::new().unwrap().wait();
    }

    fn echo(peer: Connection<Bytes>) {
        for bytes in peer.iter() {
            peer.send(bytes.unwrap()).unwrap();
        }
    }

    fn set(event: Event) {
        event.set();
    }

    fn square(n: u64) -> u64 {
        n * n
    }

    fn spin(began: Event) {
        began.set();
        loop {
            std::hint::spin_loop();
        }
    }
}

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let _dog = watchdog();
    for runtime in runtimes() {
        runtime.block_on(test());
    }
}

#[test]
fn items_cross_processes() {
    on_both(|| async {
        let queue = Queue::bounded(4).unwrap();
        let process = put_all::start(queue.clone(), 1000).unwrap();
        for i in 0..1000 {
            assert_eq!(queue.get_async().await, Ok(i));
        }
        process.join_async().await.unwrap();

        let process = sum_all::start(queue.clone()).unwrap();
        for i in 0..1000 {
            queue.put_async(i).await.unwrap();
        }
        queue.shutdown();
        assert_eq!(process.join_async().await.unwrap(), 499_500);
    });
}

#[test]
fn many_tasks_wait_at_one_queue() {
    on_both(|| async {
        let queue = Queue::new().unwrap();
        let waiting: Vec<_> = (0..200)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get_async().await.unwrap() })
            })
            .collect();
        tokio::task::yield_now().await;
        let process = put_all::start(queue.clone(), 200).unwrap();
        let mut got = Vec::new();
        for task in waiting {
            got.push(timeout(LONG, task).await.unwrap().unwrap());
        }
        got.sort_unstable();
        assert!(got.into_iter().eq(0..200));
        process.join_async().await.unwrap();
        assert!(queue.is_empty());
    });
}

#[test]
fn a_wait_that_is_dropped_took_nothing() {
    on_both(|| async {
        let queue = Queue::new().unwrap();
        for i in 0..50 {
            // Another one waits behind it, which must not miss what the first one was rung for.
            let behind = tokio::spawn({
                let queue = queue.clone();
                async move { queue.get_async().await.unwrap() }
            });
            assert!(timeout(Duration::from_micros(i * 20), queue.get_async()).await.is_err());
            queue.put(i).unwrap();
            assert_eq!(timeout(LONG, behind).await.unwrap().unwrap(), i);
        }
        queue.put(1).unwrap();
        assert_eq!(queue.try_get(), Ok(1));
    });
}

#[test]
fn a_full_queue_makes_room() {
    on_both(|| async {
        let queue = Queue::bounded(1).unwrap();
        queue.put(1).unwrap();
        assert!(timeout(SHORT, queue.put_async(2)).await.is_err());
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.put_async(3).await.unwrap() }
        });
        tokio::task::yield_now().await;
        assert_eq!(queue.get(), Ok(1));
        timeout(LONG, waiting).await.unwrap().unwrap();
        assert_eq!(queue.get(), Ok(3));
    });
}

#[test]
fn a_lock_is_waited_for_and_its_dead_holder_told() {
    on_both(|| async {
        let lock = Lock::new(1).unwrap();
        let (holding, go) = (Event::new().unwrap(), Event::new().unwrap());
        let holder = hold::start(lock.clone(), holding.clone(), go.clone()).unwrap();
        holding.wait_async().await;
        assert!(timeout(SHORT, lock.acquire_async()).await.is_err());
        let (value, ()) = tokio::join!(async { *lock.acquire_async().await.unwrap() }, async { go.set() });
        assert_eq!(value, 2);
        holder.join_async().await.unwrap();

        holding.clear();
        go.clear();
        let holder = hold::start(lock.clone(), holding.clone(), go).unwrap();
        holding.wait_async().await;
        let (death, ()) = tokio::join!(lock.acquire_async(), async { holder.kill().unwrap() });
        assert!(matches!(death, Err(AcquireError::OwnerDied(death)) if death.pid == Some(holder.pid())));
    });
}

#[test]
fn parties_meet() {
    on_both(|| async {
        let barrier = std::sync::Arc::new(Barrier::new(3).unwrap());
        for _ in 0..20 {
            let party = |barrier: std::sync::Arc<Barrier>| async move { barrier.wait_async().await.unwrap() };
            let (a, b) = (tokio::spawn(party(barrier.clone())), tokio::spawn(party(barrier.clone())));
            let all = [barrier.wait_async().await.unwrap(), a.await.unwrap(), b.await.unwrap()];
            assert_eq!(all.iter().filter(|r| r.is_leader()).count(), 1);
            assert_eq!(all.iter().map(|r| r.index()).sum::<u32>(), 3);
        }
        // Who leaves without the others breaks it; who comes is told.
        assert!(timeout(SHORT, barrier.wait_async()).await.is_err());
        assert!(barrier.is_broken());
        assert!(barrier.wait_async().await.is_err());
        barrier.reset();
        assert!(!barrier.is_broken());
    });
}

#[test]
fn permits_and_events() {
    on_both(|| async {
        let semaphore = Semaphore::new(1).unwrap();
        let permit = semaphore.acquire_async().await;
        assert!(timeout(SHORT, semaphore.acquire_async()).await.is_err());
        drop(permit);
        drop(timeout(LONG, semaphore.acquire_async()).await.unwrap());

        let event = Event::new().unwrap();
        let process = set::start(event.clone()).unwrap();
        timeout(LONG, event.wait_async()).await.unwrap();
        process.join_async().await.unwrap();
    });
}

/// Tasks of one runtime have turns of their own. Where all is slow, a turn may be lost; then it is tried again.
#[test]
fn tasks_and_threads_are_served_in_the_order_of_arrival() {
    on_both(|| async { while served_in_turn().await != [0, 1, 2, 3] {} });
}

async fn served_in_turn() -> Vec<usize> {
    // More than the millisecond after which a turn is due.
    let until_due = || tokio::time::sleep(Duration::from_millis(3));
    let permits = Semaphore::new(0).unwrap();
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    let mut threads = Vec::new();
    for i in 0..4 {
        let (waited_for, served) = (permits.clone(), served.clone());
        if i == 2 {
            threads.push(std::thread::spawn(move || {
                waited_for.acquire().forget();
                served.send(i).unwrap();
            }));
            while permits.statistics().waiting == 0 {
                tokio::task::yield_now().await;
            }
        } else {
            let (waits, is_waiting) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                let mut waiting = std::pin::pin!(waited_for.acquire_async());
                assert!(polled_once(waiting.as_mut()).await.is_none());
                waits.send(()).unwrap();
                waiting.await.forget();
                served.send(i).unwrap();
            });
            is_waiting.await.unwrap();
        }
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        until_due().await;
        permits.release(1).unwrap();
        seen.push(timeout(LONG, order.recv()).await.unwrap().unwrap());
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    seen
}

/// Polls once.
async fn polled_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn a_join_does_not_wait_for_the_dead() {
    on_both(|| async {
        let (jobs, took) = (JoinableQueue::new().unwrap(), Event::new().unwrap());
        jobs.put_async(1).await.unwrap();
        let consumer = take_one::start(jobs.clone(), took.clone()).unwrap();
        took.wait_async().await;
        let kill = async { consumer.kill().unwrap() };
        let (result, ()) = tokio::join!(jobs.join_async(), kill);
        assert_eq!(result, Err(JoinError::ConsumerDied { pid: Some(consumer.pid()), unfinished: 1 }));
    });
}

#[test]
fn a_pipe_is_awaited() {
    on_both(|| async {
        let (ours, theirs) = pipe().unwrap();
        let process = echo::start(theirs).unwrap();
        for len in [1, 5_000, 3_000_000] {
            ours.send_async(Bytes::from(vec![5; len])).await.unwrap();
            assert_eq!(timeout(LONG, ours.recv_async()).await.unwrap().unwrap().len(), len);
        }
        assert!(timeout(SHORT, ours.recv_async()).await.is_err());
        process.kill().unwrap();
        assert!(matches!(timeout(LONG, ours.recv_async()).await.unwrap(), Err(RecvError::Closed)));
    });
}

#[test]
fn more_than_a_pipe_holds() {
    on_both(|| async {
        let (ours, theirs) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        let send = async {
            for _ in 0..300 {
                ours.send_async(vec![1; 10_000]).await.unwrap();
            }
            for _ in 0..5 {
                ours.send_async(vec![2; 5_000_000]).await.unwrap();
            }
        };
        let receive = async {
            for i in 0..305 {
                let len = if i < 300 { 10_000 } else { 5_000_000 };
                assert_eq!(theirs.recv_async().await.unwrap().len(), len);
            }
        };
        timeout(LONG, async { tokio::join!(send, receive) }).await.unwrap();
    });
}

#[test]
fn waits_need_no_threads() {
    let _dog = watchdog();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    runtime.block_on(async {
        let queues: Vec<_> = (0..100).map(|_| Queue::<u32>::new().unwrap()).collect();
        let before = threads();
        let tasks: Vec<_> = queues
            .iter()
            .map(|queue| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.get_async().await.unwrap() })
            })
            .collect();
        tokio::task::yield_now().await;
        // Other tests of this program come and go meanwhile, with a few threads each.
        assert!(threads() < before + 50);
        for queue in &queues {
            queue.put(1).unwrap();
        }
        for task in tasks {
            assert_eq!(timeout(LONG, task).await.unwrap().unwrap(), 1);
        }
    });
}

#[test]
fn a_task_of_a_pool_is_awaited() {
    on_both(|| async {
        let pool = Pool::builder().workers(2).build().unwrap();
        for n in 0..50 {
            assert_eq!(pool.submit(square::call(n)).unwrap().await.unwrap(), n * n);
        }
        let handles: Vec<_> = (0..200).map(|n| tokio::spawn(pool.submit(square::call(n)).unwrap())).collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(timeout(LONG, handle).await.unwrap().unwrap().unwrap(), n * n);
        }
    });
}

#[test]
fn an_awaited_task_is_cancelled_when_asked() {
    on_both(|| async {
        let pool = Pool::builder().workers(1).build().unwrap();
        let began = Event::new().unwrap();
        let mut handle = pool.submit(spin::call(began.clone())).unwrap();
        began.wait_async().await;
        assert!(timeout(SHORT, &mut handle).await.is_err());
        // The wait was given up, the task was not.
        assert!(handle.cancel());
        assert!(matches!(handle.await, Err(TaskError::Cancelled { .. })));

        began.clear();
        let handle = pool.submit(spin::call(began.clone())).unwrap().cancel_on_drop();
        began.wait_async().await;
        assert!(timeout(SHORT, handle).await.is_err());
        // Dropped with its handle: the worker's successor is free.
        assert_eq!(timeout(LONG, pool.submit(square::call(3)).unwrap()).await.unwrap().unwrap(), 9);
    });
}

#[test]
fn a_task_that_dies_or_takes_too_long_wakes_who_awaits_it() {
    on_both(|| async {
        let pool = Pool::builder().workers(1).build().unwrap();
        let began = Event::new().unwrap();
        let late = pool.task_timeout(SHORT).submit(spin::call(began.clone())).unwrap();
        assert!(matches!(timeout(LONG, late).await.unwrap(), Err(TaskError::TimedOut { .. })));
        began.clear();
        let handle = pool.submit(spin::call(began.clone())).unwrap();
        began.wait_async().await;
        let ended = tokio::task::spawn_blocking(move || drop(pool));
        assert!(matches!(timeout(LONG, handle).await.unwrap(), Err(TaskError::Cancelled { .. })));
        ended.await.unwrap();
    });
}

#[test]
fn a_task_of_a_thread_pool_is_awaited() {
    on_both(|| async {
        let pool = ThreadPool::builder().workers(2).build().unwrap();
        let handles: Vec<_> = (0..200).map(|n| tokio::spawn(pool.submit(move || n * n).unwrap())).collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(timeout(LONG, handle).await.unwrap().unwrap().unwrap(), n * n);
        }
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let mut handle = pool.submit(move || may_go.recv().is_ok()).unwrap();
        assert!(timeout(SHORT, &mut handle).await.is_err());
        // The wait was given up, the task was not.
        go.send(()).unwrap();
        assert!(timeout(LONG, handle).await.unwrap().unwrap());
    });
}
