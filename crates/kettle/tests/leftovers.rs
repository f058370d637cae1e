//! Nothing is left behind. One test, since it counts what this process has.

mod support;

use std::fs;
use std::path::Path;

use kettle::{Bytes, Event, Lock, Queue};
use kettle_core::arena::Session;
use support::watchdog;

kettle::init_in_tests!();

kettle::task! {
    fn work(queue: Queue<Bytes>, lock: Lock<u32>) {
        *lock.acquire().unwrap() += 1;
        queue.put(Bytes::from(vec![1; 100_000])).unwrap();
    }

    fn stay(ready: Event, queue: Queue<Bytes>, lock: Lock<u32>) {
        let _guard = lock.acquire();
        queue.put(Bytes::from(vec![1; 100_000])).unwrap();
        ready.set();
        loop {
            std::hint::spin_loop();
        }
    }
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(folder)).into_iter().flatten();
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.filter(|name| name.contains("kettle")).collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The children of all threads of this process, zombies too.
fn children() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn round() {
    let (queue, lock) = (Queue::new().unwrap(), Lock::new(0).unwrap());
    let workers: Vec<_> = (0..3).map(|_| work::start(queue.clone(), lock.clone()).unwrap()).collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let ready = Event::new().unwrap();
    let killed = stay::start(ready.clone(), queue.clone(), lock.clone()).unwrap();
    ready.wait();
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Its handle is dropped while it still runs.
    let forgotten = stay::start(Event::new().unwrap(), Queue::new().unwrap(), Lock::new(0).unwrap()).unwrap();
    forgotten.kill().unwrap();
}

#[test]
fn nothing_is_left_behind() {
    let _dog = watchdog();
    let before = [names_in("/dev/shm"), names_in("/tmp")].concat();
    round();
    let session = Session::current().unwrap();
    while !kettle::process::active_children().is_empty() {
        std::thread::yield_now();
    }
    session.reclaim().unwrap();
    let (fds, objects) = (descriptors(), session.statistics().unwrap().objects);
    for _ in 0..5 {
        round();
    }
    while !kettle::process::active_children().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(children(), Vec::<String>::new());
    assert_eq!(descriptors(), fds);
    session.reclaim().unwrap();
    assert_eq!(session.statistics().unwrap().objects, objects);
    session.check().unwrap();
    assert_eq!(session.statistics().unwrap().participants, 1);
    let after = [names_in("/dev/shm"), names_in("/tmp")].concat();
    assert!(after.iter().all(|name| before.contains(name)), "{after:?}, before {before:?}");
}
