//! Idle workers: which of them are called, and which look for more work. Properties that must hold for every
//! interleaving are checked by the model in `loom.rs`.

use std::cell::Cell;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kettle_core::wait::{Idle, Patience, Searcher};

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(60);

/// Whether a worker that found work checks for more.
fn looks_for_more(worker: &mut Searcher<'_>) -> bool {
    let looked = Cell::new(false);
    worker.found(|| {
        looked.set(true);
        false
    });
    looked.get()
}

/// Waits until `count` workers are asleep.
fn until_asleep(idle: &Idle, count: u32) {
    while !format!("{idle:?}").contains(&format!("sleepers: {count},")) {
        thread::yield_now();
    }
}

/// A worker that rests until it is called, and reports its number then.
fn resting(idle: &Arc<Idle>, number: u32, woken: &Sender<u32>) -> JoinHandle<()> {
    let (idle, woken) = (Arc::clone(idle), woken.clone());
    let ready = Arc::new(Barrier::new(2));
    let begun = Arc::clone(&ready);
    let worker = thread::spawn(move || {
        let mut worker = idle.searcher();
        worker.look();
        begun.wait();
        worker.rest(&Patience::forever());
        woken.send(number).unwrap();
    });
    ready.wait();
    worker
}

#[test]
fn a_searcher_that_found_something_looks_for_more() {
    let idle = Idle::new();
    let mut worker = idle.searcher();
    worker.look();
    assert!(looks_for_more(&mut worker));
    assert!(!looks_for_more(&mut worker), "it is at work, so producers call another worker");
    worker.search();
    worker.search();
    assert!(looks_for_more(&mut worker));
    assert!(!looks_for_more(&mut worker), "it was registered as a searcher only once");
}

#[test]
fn rest_ends_at_once_where_there_was_a_call() {
    let idle = Idle::new();
    let mut worker = idle.searcher();
    worker.look();
    idle.call();
    worker.rest(&Patience::forever());
    assert!(looks_for_more(&mut worker), "it searches again");
    worker.look();
    worker.rest(&Patience::none());
    assert!(looks_for_more(&mut worker), "even if it was not called");
}

#[test]
fn a_call_wakes_one_that_sleeps() {
    let idle = Arc::new(Idle::default());
    let (woken, who) = channel();
    let worker = resting(&idle, 7, &woken);
    until_asleep(&idle, 1);
    idle.call();
    assert_eq!(who.recv_timeout(NEVER), Ok(7));
    worker.join().unwrap();
}

#[test]
fn a_searcher_is_called_before_one_that_sleeps() {
    let idle = Arc::new(Idle::new());
    let (woken, who) = channel();
    let worker = resting(&idle, 1, &woken);
    until_asleep(&idle, 1);
    let before = format!("{idle:?}");
    let word = |text: &str| text.split("word: ").nth(1).unwrap().to_owned();
    let mut me = idle.searcher();
    me.look();
    idle.call();
    assert_eq!(who.try_recv().ok(), None);
    // This worker found work and there is more, for which the sleeping worker is called.
    me.found(|| true);
    assert_eq!(who.recv_timeout(NEVER), Ok(1));
    assert_ne!(word(&before), word(&format!("{idle:?}")));
    worker.join().unwrap();
}

#[test]
fn all_are_dismissed() {
    let idle = Arc::new(Idle::new());
    let (woken, who) = channel();
    let workers: Vec<_> = (0..4).map(|i| resting(&idle, i, &woken)).collect();
    until_asleep(&idle, 4);
    idle.dismiss();
    let mut all: Vec<_> = (0..4).map(|_| who.recv_timeout(NEVER).unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}
