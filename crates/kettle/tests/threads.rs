//! What only threads can share: values that cannot be sent, and panics among them.

mod support;

use std::cell::{Cell, RefCell};
use std::cmp::{Ordering, Reverse};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};
use std::thread;

use kettle::threads::{
    Barrier, BoundedSemaphore, Condition, Event, LifoQueue, Lock, LockGuard, OnOwnerDeath, PriorityQueue, Queue, RLock,
    RLockGuard, Semaphore,
};
use kettle::{AcquireError, GetError, PutError};
use support::{Random, SHORT, watchdog};

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn any_value_can_be_shared() {
    let _dog = watchdog();
    let Ok(queue) = Queue::<Box<dyn FnOnce() -> String + Send>>::new();
    let here = "here".to_string();
    queue.put(Box::new(move || here + " and there")).unwrap();
    assert_eq!(thread::scope(|scope| scope.spawn(|| queue.get().unwrap()()).join().unwrap()), "here and there");

    let Ok(lock) = Lock::new(vec![String::new()]);
    thread::scope(|scope| {
        scope.spawn(|| lock.acquire().unwrap().push("more".into()));
    });
    assert_eq!(lock.acquire().unwrap().len(), 2);
    let Ok(tree) = RLock::around(RefCell::new(vec![1]));
    let (outer, inner) = (tree.acquire().unwrap(), tree.acquire().unwrap());
    inner.borrow_mut().push(2);
    assert_eq!(*outer.borrow(), [1, 2]);
}

/// Counts how many of its kind there are.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, atomic::Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, atomic::Ordering::SeqCst);
    }
}

#[test]
fn what_is_inside_is_dropped_once() {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = || alive.load(atomic::Ordering::SeqCst);
    let Ok(queue) = Queue::new();
    queue.put_many((0..10).map(|_| Counted::new(&alive))).unwrap();
    drop(queue.get().unwrap());
    assert_eq!(count(), 9);
    queue.shutdown_now();
    assert_eq!(count(), 0);
    drop(queue.put(Counted::new(&alive)));

    let Ok(stack) = LifoQueue::new();
    let Ok(lock) = Lock::new(Counted::new(&alive));
    stack.put_many((0..10).map(|_| Counted::new(&alive))).unwrap();
    let other = (stack.clone(), lock.clone());
    drop((stack, lock));
    assert_eq!(count(), 11);
    drop(other);
    assert_eq!(count(), 0);
}

#[test]
fn many_threads_at_one_queue() {
    let _dog = watchdog();
    for maxsize in [0, 1, 7] {
        let Ok(queue) = Queue::bounded(maxsize);
        let taken: u64 = thread::scope(|scope| {
            let takers: Vec<_> = (0..3).map(|_| scope.spawn(|| queue.iter().map(|Ok(n)| n).sum::<u64>())).collect();
            let putters: Vec<_> = (0..3)
                .map(|p| p * 2_000)
                .map(|from| {
                    let queue = &queue;
                    scope.spawn(move || queue.put_many(from..from + 2_000).unwrap())
                })
                .collect();
            putters.into_iter().for_each(|putter| putter.join().unwrap());
            queue.shutdown();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, (0..6_000).sum());
        assert_eq!(queue.statistics().put, 6_000);
    }
}

#[test]
fn many_go_in_and_out_together() {
    let _dog = watchdog();
    let Ok(queue) = Queue::bounded(3);
    let mut numbers = 0..5;
    thread::scope(|scope| {
        scope.spawn(|| queue.put_many(0..5).unwrap());
        let mut got = vec![];
        while got.len() < 5 {
            got.extend(queue.get_many(2).unwrap());
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
    assert_eq!(queue.get_many_timeout(2, SHORT), Err(GetError::Empty));
    assert_eq!(queue.get_many(0), Ok(vec![]));
    // What was not asked of the iterator is still there.
    queue.put_many(numbers.by_ref().take(2)).unwrap();
    queue.shutdown();
    assert!(matches!(queue.put_many(numbers.by_ref()), Err(PutError::ShutDown(2))));
    assert_eq!(numbers, 3..5);
    assert_eq!(queue.get_many(10), Ok(vec![0, 1]));
    assert_eq!(queue.get_many(10), Err(GetError::ShutDown));
}

#[test]
fn queues_have_their_orders() {
    let Ok(stack) = LifoQueue::new();
    stack.put_many(["first", "second", "third"]).unwrap();
    stack.shutdown();
    assert!(stack.iter().eq([Ok("third"), Ok("second"), Ok("first")]));

    let mut random = Random::new(5);
    let (Ok(least), Ok(greatest)) = (PriorityQueue::new(), PriorityQueue::new());
    let numbers: Vec<u64> = (0..500).map(|_| random.below(100)).collect();
    least.put_many(numbers.iter().copied()).unwrap();
    greatest.put_many(numbers.iter().copied().map(Reverse)).unwrap();
    let mut sorted = numbers;
    sorted.sort_unstable();
    assert_eq!(least.get_many(500).unwrap(), sorted);
    assert!(greatest.get_many(500).unwrap().into_iter().map(|Reverse(n)| n).eq(sorted.into_iter().rev()));
}

/// Compares by its key, and panics where one is `BAD`.
#[derive(Debug)]
struct Keyed(u32, &'static str);
const BAD: u32 = 99;

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Keyed {}
impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Keyed {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(self.0 != BAD && other.0 != BAD, "these do not compare");
        self.0.cmp(&other.0)
    }
}

#[test]
fn a_priority_queue_is_stable_and_survives_a_comparison_that_panics() {
    let _dog = watchdog();
    let Ok(queue) = PriorityQueue::new();
    queue.put_many([Keyed(2, "a"), Keyed(1, "b"), Keyed(2, "c"), Keyed(1, "d")]).unwrap();
    panics(|| queue.put(Keyed(BAD, "lost")).unwrap());
    assert_eq!(queue.len(), 4);
    // The first item has nothing to be compared with, so it is accepted, and the next `put` panics.
    let Ok(poisoned) = PriorityQueue::new();
    poisoned.put(Keyed(BAD, "first")).unwrap();
    panics(|| poisoned.put(Keyed(1, "lost")).unwrap());
    assert_eq!(poisoned.len(), 1);
    assert_eq!(poisoned.get().unwrap().1, "first");
    poisoned.put(Keyed(1, "again")).unwrap();
    assert_eq!(poisoned.get().unwrap().1, "again");

    queue.shutdown();
    let names: Vec<_> = queue.iter().map(|Ok(item)| item.1).collect();
    assert_eq!(names, ["b", "d", "a", "c"]);
}

#[test]
fn a_take_in_which_a_comparison_panics_takes_nothing() {
    thread_local! {
        static UNWILLING: Cell<bool> = const { Cell::new(false) };
    }
    #[derive(PartialEq, Eq)]
    struct Moody(u32);
    impl PartialOrd for Moody {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Moody {
        fn cmp(&self, other: &Self) -> Ordering {
            assert!(!UNWILLING.get(), "not now");
            self.0.cmp(&other.0)
        }
    }
    let Ok(queue) = PriorityQueue::new();
    queue.put_many((0..9).rev().map(Moody)).unwrap();
    UNWILLING.set(true);
    panics(|| drop(queue.get()));
    UNWILLING.set(false);
    assert_eq!(queue.len(), 9);
    assert!(queue.get_many(9).unwrap().into_iter().map(|item| item.0).eq(0..9));
}

#[test]
fn a_holder_that_panics_breaks_the_lock() {
    let _dog = watchdog();
    let Ok(lock) = Lock::new((1, -1));
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let mut pair = lock.acquire().unwrap();
            pair.0 = 2;
            panic!("half way");
        });
        assert!(holder.join().is_err());
    });
    for refused in [lock.acquire().map(drop), lock.try_acquire().map(drop), lock.acquire_timeout(SHORT).map(drop)] {
        let Err(AcquireError::OwnerDied(death)) = refused else { panic!("{refused:?}") };
        assert_eq!(death.pid, Some(std::process::id()));
        assert!(death.to_string().starts_with(&format!("thread {} panicked", death.thread)));
    }
    assert!(lock.is_locked() && lock.statistics().broken);
    lock.reset().unwrap();
    assert_eq!(*lock.acquire().unwrap(), (2, -1), "as it was left");

    let Ok(reentrant) = RLock::new();
    panics(|| {
        let _outer = reentrant.acquire().unwrap();
        let _inner = reentrant.acquire().unwrap();
        panic!("half way");
    });
    assert!(matches!(reentrant.acquire().map(drop), Err(AcquireError::OwnerDied(_))));
    reentrant.reset().unwrap();
    assert!(RLockGuard::recovered_from(&reentrant.acquire().unwrap()).is_none());
}

#[test]
fn a_lock_that_recovers_tells_the_next_one() {
    let _dog = watchdog();
    let Ok(lock) = Lock::with_policy(0, OnOwnerDeath::Recover);
    let waits = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        let next = scope.spawn(|| {
            waits.wait();
            LockGuard::recovered_from(&lock.acquire().unwrap())
        });
        panics(|| {
            let _guard = lock.acquire().unwrap();
            waits.wait();
            panic!("half way");
        });
        assert_eq!(next.join().unwrap().expect("it is told").pid, Some(std::process::id()));
    });
    assert_eq!(LockGuard::recovered_from(&lock.acquire().unwrap()), None);
}

#[test]
fn who_waits_for_a_change_learns_of_the_panic() {
    let _dog = watchdog();
    let (Ok(lock), Ok(changed)) = (Lock::new(0), Condition::new());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| changed.wait_while(lock.acquire().unwrap(), |n| *n == 0).map(drop));
        while changed.statistics().waiting == 0 {
            thread::yield_now();
        }
        panics(|| {
            let mut guard = lock.acquire().unwrap();
            *guard = 1;
            changed.notify_all();
            panic!("half way");
        });
        assert!(matches!(waiting.join().unwrap(), Err(kettle::sync::WaitError::OwnerDied(_))));
    });
}

#[test]
fn a_party_that_panics_in_its_action_breaks_the_barrier() {
    let _dog = watchdog();
    let Ok(barrier) = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        while barrier.statistics().waiting == 0 {
            thread::yield_now();
        }
        panics(|| assert!(barrier.wait_and(|| panic!("in its action")).is_err()));
        assert_eq!(other.join().unwrap(), Err(kettle::sync::BarrierError::Broken));
    });
}

/// Compiles if these may go to, and be used by, other threads.
const fn shared<T: Send + Sync>() {}
const fn sent<T: Send>() {}

#[test]
fn what_may_go_where() {
    const {
        // Threads pass the value to each other, and never look at it together.
        shared::<Lock<Cell<u8>>>();
        shared::<RLock<Cell<u8>>>();
        shared::<Queue<Cell<u8>>>();
        shared::<LifoQueue<Cell<u8>>>();
        shared::<PriorityQueue<u8>>();
        shared::<(Semaphore, BoundedSemaphore, Event, Barrier, Condition)>();
        sent::<LockGuard<'_, Cell<u8>>>();
        shared::<LockGuard<'_, u8>>();
        // Code that catches the panic finds the lock broken.
        const fn unwinds<T: std::panic::RefUnwindSafe + std::panic::UnwindSafe>() {}
        unwinds::<Lock<Cell<u8>>>();
        unwinds::<RLock<Cell<u8>>>();
    }
}

#[test]
fn channels_end_with_the_ends_of_the_other_kind() {
    use kettle::threads::{RecvError, SendError, bounded_channel, channel};
    let _dog = watchdog();
    // A producer that panics is gone, too.
    let Ok((sender, receiver)) = channel();
    let other = sender.clone();
    let producer = thread::spawn(move || {
        sender.send(Cell::new(1)).unwrap();
        panic!("in the middle");
    });
    let items: Vec<_> = thread::scope(|scope| {
        let receiver = &receiver;
        let waiting = scope.spawn(move || receiver.iter().map(|Ok(item)| item.get()).collect());
        assert!(producer.join().is_err());
        other.send(Cell::new(2)).unwrap();
        drop(other);
        waiting.join().unwrap()
    });
    assert_eq!(items, [1, 2]);
    assert!(receiver.is_disconnected() && receiver.try_recv().unwrap_err() == RecvError::Disconnected);

    let Ok((sender, receiver)) = bounded_channel(1);
    let again = receiver.clone();
    let counts = Arc::new(AtomicUsize::new(0));
    let item = || Counted::new(&counts);
    sender.send(item()).unwrap();
    drop(receiver);
    assert!(sender.try_send(item()).unwrap_err().is_full());
    let last = item();
    let waiting = thread::spawn(move || sender.send(last).is_err_and(|e| matches!(e, SendError::Disconnected(_))));
    thread::sleep(SHORT);
    drop(again);
    assert!(waiting.join().unwrap());
    assert_eq!(counts.load(atomic::Ordering::SeqCst), 0);
}

#[test]
fn taken_items_are_done_when_their_guards_end() {
    use kettle::queue::{JoinError, Taken};
    let _dog = watchdog();
    let Ok(jobs) = Queue::new();
    jobs.put_many(0..4).unwrap();
    assert_eq!(*jobs.take().unwrap(), 0);
    let mut held = jobs.try_take().unwrap();
    *held += 10;
    assert_eq!((*held, jobs.unfinished()), (11, 3));
    assert_eq!(Taken::into_inner(held), 11);
    assert_eq!(jobs.join_timeout(SHORT), Err(JoinError::TimedOut));

    // A consumer that panics loses its item, and `join` reports it once, when all others are done.
    let consumer = thread::spawn({
        let jobs = jobs.clone();
        move || {
            let _job = jobs.take().unwrap();
            panic!("with an item");
        }
    });
    assert!(consumer.join().is_err());
    let waiting = thread::spawn({
        let jobs = jobs.clone();
        move || jobs.join()
    });
    assert_eq!(*jobs.take_timeout(SHORT).unwrap(), 3);
    let lost = waiting.join().unwrap().unwrap_err();
    assert_eq!(lost, JoinError::ConsumerDied { pid: Some(std::process::id()), unfinished: 1 });
    assert!(lost.to_string().contains("panicked with 1 unfinished item"), "{lost}");
    assert_eq!(jobs.join(), Ok(()));
    assert!(matches!(jobs.try_take(), Err(GetError::Empty)));

    let Ok(ranked) = PriorityQueue::new();
    ranked.put_many([2, 1]).unwrap();
    assert_eq!([*ranked.take().unwrap(), *ranked.take().unwrap()], [1, 2]);
    assert_eq!(ranked.join(), Ok(()));
}

#[test]
fn familiar_traits_are_there() {
    let _dog = watchdog();
    let mut ranked: PriorityQueue<_> = [3, 1].into_iter().collect();
    ranked.extend([2]);
    (&ranked).extend([0]);
    ranked.shutdown();
    let mut sorted = Vec::new();
    for Ok(n) in &ranked {
        sorted.push(n);
    }
    assert_eq!(sorted, [0, 1, 2, 3]);
    panics(|| (&ranked).extend([4]));
    assert!(Queue::<u8>::default().is_empty() && !Event::default().is_set());
    assert_eq!(*Lock::from(5).acquire().unwrap() + *Lock::<i32>::default().acquire().unwrap(), 5);
    drop(Condition::default());
}
