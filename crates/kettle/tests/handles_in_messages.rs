//! What travels in a message lives as long as the message and those who got it. One test, since it counts objects.

mod support;

use kettle::{Event, Lock, Pool, Queue, pipe};
use kettle_core::arena::Session;
use support::{LONG, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn answer(requests: Queue<(u32, Queue<u32>)>) {
        for request in requests.iter() {
            let (n, answers) = request.unwrap();
            answers.put(n + 1).unwrap();
        }
    }

    fn set_up(queue: Queue<u32>) {
        queue.put(0).unwrap();
    }

    fn add(lock: Lock<u32>, n: u32) -> Lock<u32> {
        *lock.acquire().unwrap() += n;
        lock
    }

    fn die_once(lock: Lock<u32>, began: Queue<u32>) -> Queue<u32> {
        let is_first = {
            let mut n = lock.acquire().unwrap();
            *n += 1;
            *n == 1
        };
        if is_first {
            std::process::abort();
        }
        began
    }
}

fn objects() -> u64 {
    let session = Session::current().unwrap();
    session.reclaim().unwrap();
    session.check().unwrap();
    let statistics = session.statistics().unwrap();
    assert_eq!(statistics.pinned, 0);
    statistics.objects
}

fn reply_queues(requests: &Queue<(u32, Queue<u32>)>) {
    for n in 0..200 {
        let answers = Queue::new().unwrap();
        requests.put((n, answers.clone())).unwrap();
        assert_eq!(answers.get_timeout(LONG).unwrap(), n + 1);
    }
}

fn pipes() {
    let (left, right) = pipe::<Event, Event>().unwrap();
    for _ in 0..100 {
        left.send(Event::new().unwrap()).unwrap();
        let event = right.recv_timeout(LONG).unwrap();
        event.set();
        right.send(event).unwrap();
        assert!(left.recv_timeout(LONG).unwrap().is_set());
    }
    // This one is never received.
    left.send(Event::new().unwrap()).unwrap();
}

fn pools() {
    let ready = Queue::new().unwrap();
    let pool = Pool::builder().workers(2).initializer(set_up::call(ready.clone())).build().unwrap();
    drop(ready);
    for n in 0..100 {
        let lock = pool.apply(add::call(Lock::new(1).unwrap(), n)).unwrap();
        assert_eq!(*lock.acquire().unwrap(), n + 1);
    }
    let locks = pool.map(|n| add::call(Lock::new(n).unwrap(), 1), 0..300).unwrap();
    for (n, lock) in locks.into_iter().enumerate() {
        assert_eq!(*lock.acquire().unwrap() as usize, n + 1);
    }
    // The task is sent again, and with it what it names.
    let queue = Queue::new().unwrap();
    queue.put(7).unwrap();
    let call = die_once::call(Lock::new(0).unwrap(), queue);
    let queue = pool.retries(1).apply(call).unwrap();
    assert_eq!(queue.get().unwrap(), 7);
}

#[test]
fn nothing_lives_longer_than_it_is_named() {
    let _dog = watchdog();
    let requests = Queue::new().unwrap();
    let server = answer::start(requests.clone()).unwrap();
    reply_queues(&requests);
    let before = objects();
    reply_queues(&requests);
    assert!(objects() <= before + 5);
    requests.shutdown();
    server.join().unwrap();
    drop(requests);
    let before = objects();
    pipes();
    assert!(objects() <= before);
    pools();
    // A pool's workers end, and its own thread lets go of it, a moment later.
    while !kettle::process::active_children().is_empty() || objects() > before {
        std::thread::yield_now();
    }
}
