//! What the other processes notice when one is killed.

mod support;

use std::time::Duration;

use kettle::pipe::{RecvError, Sender};
use kettle::queue::JoinError;
use kettle::{
    AcquireError, Barrier, Condition, Connection, Event, JoinableQueue, Lock, LockGuard, OnOwnerDeath, Queue, RLock,
    Value, pipe,
};
use support::{LONG, Random, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn hold(lock: Lock<u64>, holding: Event) {
        let mut guard = lock.acquire().unwrap();
        *guard = 99;
        holding.set();
        Event::new().unwrap().wait();
    }

    fn hold_deeply(lock: RLock, holding: Event) {
        let _guard = lock.acquire().unwrap();
        holding.set();
        Event::new().unwrap().wait();
    }

    fn put_forever(queue: Queue<(u64, Vec<u8>)>) {
        for i in 0.. {
            // Short messages, longer ones, and some in blocks of their own.
            queue.put((i, vec![i as u8; (i as usize * 37) % 5000])).unwrap();
        }
    }

    fn forward_forever(from: Queue<(u64, Vec<u8>)>, to: Queue<(u64, Vec<u8>)>) {
        loop {
            to.put(from.get().unwrap()).unwrap();
        }
    }

    fn take_some(jobs: JoinableQueue<u32>, took: Event) {
        for _ in 0..3 {
            jobs.get().unwrap();
        }
        jobs.task_done().unwrap();
        took.set();
        Event::new().unwrap().wait();
    }

    fn wait_at(barrier: Barrier) {
        let _ = barrier.wait();
    }

    fn wait_for_change(lock: Lock<u32>, changed: Condition) {
        let _ = changed.wait(lock.acquire().unwrap());
    }

    fn listen(peer: Connection<u32>, listening: Event) {
        listening.set();
        let _ = peer.recv();
    }

    /// Starts a grandchild that computes, and ends only when it is killed.
    fn parent(life: Sender<u32>, deep: u32) {
        if deep > 0 {
            parent::start(life, deep - 1).unwrap();
            return Event::new().unwrap().wait();
        }
        life.send(std::process::id()).unwrap();
        loop {
            std::hint::spin_loop();
        }
    }

    fn outlive(life: Sender<u32>, go: Event) {
        life.send(1).unwrap();
        go.wait();
        life.send(2).unwrap();
    }

    fn leave_behind(life: Sender<u32>, go: Event) {
        outlive::builder(life, go).outlive_parent(true).start().unwrap();
    }
}

/// The process that died with a lock.
fn dead_holder<G>(acquired: Result<G, AcquireError>) -> Option<u32> {
    match acquired {
        Err(AcquireError::OwnerDied(death)) => death.pid,
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("it was acquired"),
    }
}

#[test]
fn a_lock_whose_holder_was_killed_says_so() {
    let _dog = watchdog();
    let (lock, holding) = (Lock::new(7).unwrap(), Event::new().unwrap());
    let holder = hold::start(lock.clone(), holding.clone()).unwrap();
    holding.wait();
    assert!(matches!(lock.try_acquire(), Err(AcquireError::TimedOut)));
    holder.kill().unwrap();
    assert_eq!(dead_holder(lock.acquire()), Some(holder.pid()));
    // Everybody is told, also who does not wait, until it is reset.
    assert!(matches!(lock.try_acquire(), Err(AcquireError::OwnerDied(_))));
    assert!(lock.statistics().broken);
    lock.reset().unwrap();
    assert_eq!(*lock.acquire().unwrap(), 7, "as it was before");
    holder.wait().unwrap();
}

#[test]
fn a_lock_that_recovers_passes_on() {
    let _dog = watchdog();
    let lock = Lock::with_policy(7, OnOwnerDeath::Recover).unwrap();
    let holding = Event::new().unwrap();
    let holder = hold::start(lock.clone(), holding.clone()).unwrap();
    holding.wait();
    holder.kill().unwrap();
    let guard = lock.acquire().unwrap();
    assert_eq!(LockGuard::recovered_from(&guard).unwrap().pid, Some(holder.pid()));
    assert_eq!(*guard, 7);
    drop(guard);
    assert_eq!(LockGuard::recovered_from(&lock.acquire().unwrap()), None);
}

#[test]
fn a_reentrant_lock_whose_holder_was_killed_says_so() {
    let _dog = watchdog();
    let (lock, holding) = (RLock::new().unwrap(), Event::new().unwrap());
    let holder = hold_deeply::start(lock.clone(), holding.clone()).unwrap();
    holding.wait();
    holder.kill().unwrap();
    assert_eq!(dead_holder(lock.acquire()), Some(holder.pid()));
    lock.reset().unwrap();
    drop(lock.acquire().unwrap());
}

#[test]
fn a_putter_killed_anywhere_tears_nothing() {
    let _dog = watchdog();
    let mut random = Random::new(0x6b65_7474);
    for _ in 0..10 {
        let queue = Queue::bounded(8).unwrap();
        let putter = put_forever::start(queue.clone()).unwrap();
        let read = 1 + random.below(300);
        for i in 0..read {
            assert_eq!(queue.get().unwrap(), message(i));
        }
        std::thread::sleep(Duration::from_micros(random.below(300)));
        putter.kill().unwrap();
        putter.wait().unwrap();
        // What was put is all there, in order and whole; then the queue is as good as ever.
        let mut i = read;
        while let Ok(found) = queue.try_get() {
            assert_eq!(found, message(i));
            i += 1;
        }
        queue.put((0, vec![])).unwrap();
        assert_eq!(queue.get().unwrap(), message(0));
    }
}

fn message(i: u64) -> (u64, Vec<u8>) {
    (i, vec![i as u8; (i as usize * 37) % 5000])
}

#[test]
fn a_getter_killed_anywhere_takes_one_message_at_most() {
    let _dog = watchdog();
    let mut random = Random::new(0x6c65);
    for _ in 0..10 {
        let (from, to) = (Queue::new().unwrap(), Queue::new().unwrap());
        for i in 0..500 {
            from.put(message(i)).unwrap();
        }
        let getter = forward_forever::start(from.clone(), to.clone()).unwrap();
        to.get().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        getter.kill().unwrap();
        getter.wait().unwrap();
        let there: Vec<_> = std::iter::from_fn(|| to.try_get().ok()).map(|(i, _)| i).collect();
        let here: Vec<_> = std::iter::from_fn(|| from.try_get().ok())
            .map(|m| {
                assert_eq!(m, message(m.0));
                m.0
            })
            .collect();
        assert!(there.iter().copied().eq(1..=there.len() as u64), "{there:?}");
        assert!(here.windows(2).all(|w| w[1] == w[0] + 1), "{here:?}");
        assert!(here.last().is_none_or(|&last| last == 499));
        let lost = 499 - there.len() - here.len();
        assert!(lost <= 1, "{lost} messages are lost");
    }
}

#[test]
fn a_join_does_not_wait_for_the_dead() {
    let _dog = watchdog();
    let (jobs, took) = (JoinableQueue::new().unwrap(), Event::new().unwrap());
    (0..3).for_each(|job| jobs.put(job).unwrap());
    let consumer = take_some::start(jobs.clone(), took.clone()).unwrap();
    took.wait();
    consumer.kill().unwrap();
    assert_eq!(jobs.join(), Err(JoinError::ConsumerDied { pid: Some(consumer.pid()), unfinished: 2 }));
    jobs.join().unwrap();
}

#[test]
fn a_barrier_breaks_when_a_party_is_killed() {
    let _dog = watchdog();
    let barrier = Barrier::new(3).unwrap();
    let party = wait_at::start(barrier.clone()).unwrap();
    while barrier.statistics().waiting == 0 {
        std::thread::yield_now();
    }
    party.kill().unwrap();
    party.wait().unwrap();
    assert!(barrier.wait().is_err());
}

#[test]
fn a_notification_does_not_go_to_the_dead() {
    let _dog = watchdog();
    let (lock, changed) = (Lock::new(0).unwrap(), Condition::new().unwrap());
    let dead = wait_for_change::start(lock.clone(), changed.clone()).unwrap();
    while changed.statistics().waiting == 0 {
        std::thread::yield_now();
    }
    dead.kill().unwrap();
    dead.wait().unwrap();
    let alive = wait_for_change::start(lock.clone(), changed.clone()).unwrap();
    while changed.statistics().waiting < 2 {
        std::thread::yield_now();
    }
    {
        let _guard = lock.acquire().unwrap();
        changed.notify_one();
    }
    alive.join_timeout(LONG).unwrap().unwrap();
}

#[test]
fn a_pipe_ends_with_its_process() {
    let _dog = watchdog();
    let (ours, theirs) = pipe().unwrap();
    let listening = Event::new().unwrap();
    let listener = listen::start(theirs, listening.clone()).unwrap();
    listening.wait();
    listener.kill().unwrap();
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));
    assert!(ours.send(1).is_err());
}

#[test]
fn children_die_with_their_parent() {
    let _dog = watchdog();
    let (life, end) = kettle::one_way_pipe().unwrap();
    let process = parent::start(end, 2).unwrap();
    let grandchild = life.recv().unwrap();
    assert_ne!(grandchild, process.pid());
    process.kill().unwrap();
    // The last one that has the other end is a grandchild that only computes.
    assert!(matches!(life.recv_timeout(LONG), Err(RecvError::Closed)));
}

#[test]
fn who_is_meant_to_outlives_its_parent() {
    let _dog = watchdog();
    let (life, end) = kettle::one_way_pipe().unwrap();
    let go = Event::new().unwrap();
    leave_behind::start(end, go.clone()).unwrap().join().unwrap();
    assert_eq!(life.recv().unwrap(), 1);
    go.set();
    assert_eq!(life.recv().unwrap(), 2);
    assert!(matches!(life.recv(), Err(RecvError::Closed)));
}

#[test]
fn values_survive() {
    let _dog = watchdog();
    kettle::task! {
        fn count_forever(value: Value<u64>) {
            loop {
                value.fetch_add(1);
            }
        }
    }
    let value = Value::new(0).unwrap();
    let counter = count_forever::start(value.clone()).unwrap();
    while value.get() < 1000 {
        std::thread::yield_now();
    }
    counter.kill().unwrap();
    counter.wait().unwrap();
    let after = value.get();
    assert_eq!((value.fetch_add(1), value.get()), (after, after + 1));
}
