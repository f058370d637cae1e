//! What `{:?}` says of a thing: its type, and what matters of its state.

mod support;

use std::fmt::Debug;
use std::time::Duration;

use kettle::process::{Limit, Stdio};
use kettle::{
    Array, Barrier, BoundedSemaphore, Bytes, Condition, Described, Event, JoinableQueue, Lock, Once, OnceLock, Pool,
    Queue, RLock, Readable, RwLock, Select, Semaphore, SharedSlice, SimpleQueue, ThreadPool, Value, threads,
};
use support::watchdog;

kettle::init_in_tests!();

kettle::task! {
    fn nothing() {}
}

/// What is not as it should be.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    /// The text is to begin with this, and to show nothing of the machinery.
    fn unless(&mut self, thing: &dyn Debug, beginning: &str) {
        let text = format!("{thing:?}");
        let internals = ["0x", "Arc", "Phantom", "Unsafe", "Atomic", "Off(", "Token", "Raw"];
        let shown: Vec<_> = internals.into_iter().filter(|internal| text.contains(internal)).collect();
        if !text.starts_with(beginning) || !shown.is_empty() || text.len() > 300 {
            self.0.push(format!("{text}\n    is to begin with {beginning}; internals: {shown:?}"));
        }
    }

    fn expect_none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

#[test]
fn queues_and_channels() {
    let (_dog, mut wrong) = (watchdog(), Wrong::default());
    let queue = Queue::<u8>::new().unwrap();
    queue.put(1).unwrap();
    wrong.unless(&queue, "Queue { len: 1, ");
    wrong.unless(&queue.statistics(), "QueueStatistics { size: 1, ");
    wrong.unless(&JoinableQueue::<u8>::new().unwrap(), "JoinableQueue { len: 0, ");
    wrong.unless(&SimpleQueue::<u8>::new().unwrap(), "SimpleQueue { len: 0, ");
    wrong.unless(&queue.iter(), "Iter(Queue { len: 1, ");
    let jobs = JoinableQueue::<u8>::new().unwrap();
    jobs.put(5).unwrap();
    wrong.unless(&jobs.take().unwrap(), "Taken(5)");
    let (sender, receiver) = kettle::bounded_channel::<u8>(3).unwrap();
    wrong.unless(&sender, "Sender { len: 0, capacity: Some(3), ");
    wrong.unless(&receiver, "Receiver { len: 0, capacity: Some(3), ");
    wrong.unless(&receiver.iter(), "Iter(Receiver");
    wrong.unless(&receiver.try_iter(), "TryIter(Receiver");
    wrong.unless(&sender.try_send(1), "Ok");
    let (ours, theirs) = kettle::pipe::<u8, u8>().unwrap();
    ours.send(1).unwrap();
    wrong.unless(&theirs, "Connection");
    let (receiver, sender) = kettle::one_way_pipe::<u8>().unwrap();
    wrong.unless(&sender, "Sender(Connection { ");
    wrong.unless(&receiver, "Receiver(Connection { ");
    wrong.unless(&Select::new().on(&queue, |_| ()), "Select { arms: 1, ");

    let queue: threads::Queue<_> = [1, 2].into_iter().collect();
    wrong.unless(&queue, "Queue { len: 2, ");
    wrong.unless(&queue.iter(), "Iter(Queue { len: 2, ");
    wrong.unless(&queue.take().unwrap(), "Taken(1)");
    wrong.unless(&threads::LifoQueue::<u8>::new().unwrap(), "LifoQueue { len: 0, ");
    wrong.unless(&threads::PriorityQueue::<u8>::new().unwrap(), "PriorityQueue { len: 0, ");
    let Ok((sender, receiver)) = threads::channel::<u8>();
    wrong.unless(&sender, "Sender { len: 0, capacity: None, ");
    wrong.unless(&receiver, "Receiver { len: 0, capacity: None, ");
    wrong.unless(&receiver.into_iter(), "IntoIter(Receiver");
    wrong.expect_none();
}

#[test]
fn locks_and_the_like() {
    let (_dog, mut wrong) = (watchdog(), Wrong::default());
    let lock = Lock::new(5u32).unwrap().named("five");
    wrong.unless(&lock, "Lock { locked: false, broken: false, ");
    wrong.unless(&lock.statistics(), "LockStatistics { owner: None, ");
    wrong.unless(&lock.acquire().unwrap(), "5");
    let rlock = RLock::new().unwrap();
    wrong.unless(&rlock, "RLock { ");
    wrong.unless(&rlock.acquire().unwrap(), "RLockGuard");
    let shared = RwLock::new(6u32).unwrap();
    wrong.unless(&shared, "RwLock { readers: 0, ");
    wrong.unless(&shared.read().unwrap(), "6");
    wrong.unless(&shared.write().unwrap(), "6");
    let semaphore = Semaphore::new(2).unwrap();
    wrong.unless(&semaphore, "Semaphore { ");
    wrong.unless(&semaphore.acquire(), "Permit");
    wrong.unless(&BoundedSemaphore::new(2).unwrap(), "BoundedSemaphore { ");
    wrong.unless(&Condition::new().unwrap(), "Condition");
    wrong.unless(&Event::new().unwrap(), "Event { ");
    wrong.unless(&Barrier::new(2).unwrap(), "Barrier { ");
    wrong.unless(&OnceLock::<u8>::new().unwrap(), "OnceLock(<no value>)");
    wrong.unless(&Once::new().unwrap(), "Once { completed: false }");

    let mutex = threads::Mutex::new(5);
    wrong.unless(&mutex, "Mutex { locked: false, ");
    wrong.unless(&mutex.lock().unwrap(), "5");
    wrong.unless(&threads::MutexGuard::map(mutex.lock().unwrap(), |five| five), "5");
    let Ok(lock) = threads::Lock::new(5);
    wrong.unless(&lock, "Lock { locked: false, ");
    wrong.unless(&threads::RwLock::new(5), "RwLock { readers: 0, ");
    let Ok(rlock) = threads::RLock::new();
    wrong.unless(&rlock, "RLock { ");
    wrong.unless(&threads::OnceLock::from(5), "OnceLock(5)");
    wrong.unless(&threads::Once::new(), "Once { completed: false }");
    let Ok(event) = threads::Event::new();
    wrong.unless(&event, "Event { ");
    wrong.expect_none();
}

#[test]
fn data() {
    let (_dog, mut wrong) = (watchdog(), Wrong::default());
    wrong.unless(&Value::new(7u64).unwrap(), "Value(7)");
    wrong.unless(&Array::from_slice(&[1u32, 2]).unwrap(), "Array { len: 2, ");
    wrong.unless(&Bytes::from(vec![1, 2, 3]), "Bytes { len: 3, ");
    wrong.unless(&SharedSlice::from(vec![1u32, 2]), "SharedSlice { len: 2, ");
    wrong.unless(&Described(5), "Described(5)");
    wrong.unless(&Readable(5), "Readable(5)");
    wrong.expect_none();
}

#[test]
fn processes_and_pools() {
    let (_dog, mut wrong) = (watchdog(), Wrong::default());
    wrong.unless(&nothing::builder().name("clerk"), "Builder { task: ");
    let process = nothing::builder().name("clerk").start().unwrap();
    wrong.unless(&process, "Process { name: \"clerk\", pid: ");
    process.join().unwrap();
    wrong.unless(&kettle::process::current(), "Current { ");
    wrong.unless(&Stdio::null(), "Stdio(Null)");
    wrong.unless(&Limit::Memory, "Memory");
    wrong.unless(&nothing::call(), "Call { task: ");

    let pool = Pool::builder().workers(1).build().unwrap();
    wrong.unless(&Pool::builder(), "Builder { ");
    wrong.unless(&pool, "Pool { ");
    let handle = pool.submit(nothing::call()).unwrap();
    wrong.unless(&handle, "Handle");
    handle.join().unwrap();
    wrong.unless(&pool.retries(2), "Tasks { ");
    wrong.unless(&pool.imap(|()| nothing::call(), []), "Imap { ");
    wrong.unless(&pool.statistics(), "Statistics { workers: ");

    let threads = ThreadPool::builder().workers(1).build().unwrap();
    wrong.unless(&ThreadPool::builder(), "Builder { ");
    wrong.unless(&threads, "ThreadPool { ");
    let handle = threads.submit(|| 5).unwrap();
    wrong.unless(&handle, "Handle");
    handle.join().unwrap();
    wrong.unless(&threads.task_timeout(Duration::from_secs(5)), "Tasks { ");
    wrong.unless(&threads.imap(|n: u8| n, []), "Imap { ");
    wrong.expect_none();
}
