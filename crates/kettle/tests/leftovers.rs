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

/// What this process has mapped or open where other programs could find it by name: a file that outlives the process.
/// What other programs have there meanwhile is none of ours.
fn named_files() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter_map(|line| Some(line[line.find('/')?..].to_owned()));
    let opened = fs::read_dir("/proc/self/fd").unwrap();
    let opened = opened.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok());
    let temporary = std::env::temp_dir();
    mapped
        .chain(opened)
        .filter(|path| Path::new(path).starts_with("/dev/shm") || Path::new(path).starts_with(&temporary))
        .collect()
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
    let before = named_files();
    round();
    assert_eq!(named_files(), before);
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
    assert_eq!(named_files(), before);
}
