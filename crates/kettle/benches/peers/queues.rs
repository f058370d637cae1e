//! Queues of values between threads.

use std::hint::black_box;
use std::sync::mpsc;
use std::time::Duration;

use kettle::threads::Queue;

use crate::table::{Cell, time, time_threads};
use crate::work::Work;

/// As many items lie in a bounded queue at most.
const BOUND: u32 = 1024;
/// Or so few that putters wait for getters often.
const NARROW: u32 = 16;

pub(crate) fn cells() -> Vec<Cell> {
    let work = Work::of(Duration::from_nanos(100));
    vec![
        alone(),
        pairs("unbounded, 1 putter, 1 getter", 1, None),
        pairs("bounded to 1024, 1 putter, 1 getter", 1, Some(BOUND)),
        many_to_one("unbounded, 4 putters, 1 getter", None),
        pairs("unbounded, 4 putters, 4 getters", 4, None),
        pairs("bounded to 1024, 4 putters, 4 getters", 4, Some(BOUND)),
        at_work("unbounded, 1 putter, 1 getter, 100 ns of work each", (1, 1), work, None),
        at_work("unbounded, 4 putters, 1 getter, 100 ns of work each", (4, 1), work, None),
        at_work("unbounded, 1 putter, 4 getters, 100 ns of work each", (1, 4), work, None),
        at_work("unbounded, 4 putters, 4 getters, 100 ns of work each", (4, 4), work, None),
        at_work("bounded to 16, 1 putter, 1 getter, 100 ns of work each", (1, 1), work, Some(NARROW)),
        at_work("bounded to 16, 4 putters, 1 getter, 100 ns of work each", (4, 1), work, Some(NARROW)),
        at_work("bounded to 16, 1 putter, 4 getters, 100 ns of work each", (1, 4), work, Some(NARROW)),
        at_work("bounded to 16, 4 putters, 4 getters, 100 ns of work each", (4, 4), work, Some(NARROW)),
        at_work("unbounded, 1 putter, 1 getter on one core, 100 ns of work each", (1, 1), work, None).on_one_core(),
        at_work("bounded to 16, 4 putters, 4 getters on one core, 100 ns of work each", (4, 4), work, Some(NARROW))
            .on_one_core(),
        ping_pong("ping-pong over two queues"),
        ping_pong("ping-pong over two queues on one core").on_one_core(),
    ]
}

fn ours(bound: Option<u32>) -> Queue<u64> {
    let Ok(queue) = Queue::bounded(bound.unwrap_or(0));
    queue
}

fn crossbeam(bound: Option<u32>) -> (crossbeam_channel::Sender<u64>, crossbeam_channel::Receiver<u64>) {
    match bound {
        Some(bound) => crossbeam_channel::bounded(bound as usize),
        None => crossbeam_channel::unbounded(),
    }
}

/// Some threads put and some get, each its share of `n`.
fn exchange(threads: (u64, u64), n: u64, put: impl Fn(u64) + Sync, get: impl Fn() -> u64 + Sync) -> Duration {
    let (putters, getters) = threads;
    // As many are put as are got.
    let rounds = n.div_ceil(putters * getters);
    time_threads(putters + getters, |number| match number < putters {
        true => (0..rounds * getters).for_each(&put),
        false => (0..rounds * putters).for_each(|_| _ = black_box(get())),
    })
}

fn alone() -> Cell {
    Cell::new("one thread puts and gets", "messages/s")
        .with("kettle", |n| {
            let queue = ours(None);
            time(|| {
                for i in 0..n {
                    queue.put(i).expect("it is open");
                    black_box(queue.get().expect("it is open"));
                }
            })
        })
        .with("std", |n| {
            let (sender, receiver) = mpsc::channel();
            time(|| {
                for i in 0..n {
                    sender.send(i).expect("it is open");
                    black_box(receiver.recv().expect("it is open"));
                }
            })
        })
        .with("crossbeam-channel", |n| {
            let (sender, receiver) = crossbeam(None);
            time(|| {
                for i in 0..n {
                    sender.send(i).expect("it is open");
                    black_box(receiver.recv().expect("it is open"));
                }
            })
        })
}

fn pairs(name: &'static str, threads: u64, bound: Option<u32>) -> Cell {
    let cell = Cell::new(name, "messages/s")
        .with("kettle", move |n| {
            let queue = ours(bound);
            exchange((threads, threads), n, |i| queue.put(i).expect("it is open"), || queue.get().expect("it is open"))
        })
        .with("crossbeam-channel", move |n| {
            let (sender, receiver) = crossbeam(bound);
            exchange(
                (threads, threads),
                n,
                |i| sender.send(i).expect("it is open"),
                || receiver.recv().expect("it is open"),
            )
        });
    // The standard library's has one getter.
    match (threads, bound) {
        (1, None) => cell.with("std", |n| {
            let (sender, receiver) = mpsc::channel();
            gathered(1, n, move |i| sender.send(i).expect("it is open"), receiver)
        }),
        (1, Some(bound)) => cell.with("std", move |n| {
            let (sender, receiver) = mpsc::sync_channel(bound as usize);
            gathered(1, n, move |i| sender.send(i).expect("it is open"), receiver)
        }),
        _ => cell,
    }
}

/// Each putter works for an item before it puts it, and each getter after it has got one.
fn at_work(name: &'static str, threads: (u64, u64), work: Work, bound: Option<u32>) -> Cell {
    let made = move |i| work.run(i as usize) as u64;
    Cell::new(name, "messages/s")
        .with("kettle", move |n| {
            let queue = ours(bound);
            let get = || made(queue.get().expect("it is open"));
            exchange(threads, n, |i| queue.put(made(i)).expect("it is open"), get)
        })
        .with("crossbeam-channel", move |n| {
            let (sender, receiver) = crossbeam(bound);
            let get = || made(receiver.recv().expect("it is open"));
            exchange(threads, n, |i| sender.send(made(i)).expect("it is open"), get)
        })
}

/// Some threads put, and this one gets.
fn gathered(putters: u64, n: u64, put: impl Fn(u64) + Send + Clone, receiver: mpsc::Receiver<u64>) -> Duration {
    gather(putters, n, put, || receiver.recv().expect("it is open"))
}

fn gather(putters: u64, n: u64, put: impl Fn(u64) + Send + Clone, get: impl Fn() -> u64) -> Duration {
    let share = n.div_ceil(putters);
    std::thread::scope(|scope| {
        time(|| {
            for _ in 0..putters {
                let put = put.clone();
                scope.spawn(move || (0..share).for_each(put));
            }
            (0..putters * share).for_each(|_| _ = black_box(get()));
        })
    })
}

fn many_to_one(name: &'static str, bound: Option<u32>) -> Cell {
    Cell::new(name, "messages/s")
        .with("kettle", move |n| {
            let queue = ours(bound);
            gather(4, n, |i| queue.put(i).expect("it is open"), || queue.get().expect("it is open"))
        })
        .with("std", move |n| {
            let (sender, receiver) = mpsc::channel();
            gathered(4, n, move |i| sender.send(i).expect("it is open"), receiver)
        })
        .with("crossbeam-channel", move |n| {
            let (sender, receiver) = crossbeam(bound);
            gather(4, n, |i| sender.send(i).expect("it is open"), || receiver.recv().expect("it is open"))
        })
}

/// Two threads, two queues, one item.
fn ping_pong(name: &'static str) -> Cell {
    fn play(
        n: u64,
        there: (impl Fn(u64) + Send, impl Fn() -> u64 + Send),
        back: (impl Fn(u64) + Send, impl Fn() -> u64),
    ) -> Duration {
        let ((send_there, get_there), (send_back, get_back)) = (there, back);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..n).for_each(|_| send_back(get_there())));
            time(|| {
                for i in 0..n {
                    send_there(i);
                    black_box(get_back());
                }
            })
        })
    }
    Cell::new(name, "trips/s")
        .with("kettle", |n| {
            let (there, back) = (ours(None), ours(None));
            let put = |queue: &Queue<u64>, i| queue.put(i).expect("it is open");
            let get = |queue: &Queue<u64>| queue.get().expect("it is open");
            play(n, (|i| put(&there, i), || get(&there)), (|i| put(&back, i), || get(&back)))
        })
        .with("std", |n| {
            let ((a, b), (c, d)) = (mpsc::channel(), mpsc::channel());
            let send = |sender: &mpsc::Sender<u64>, i| sender.send(i).expect("it is open");
            let get = |receiver: &mpsc::Receiver<u64>| receiver.recv().expect("it is open");
            play(n, (move |i| send(&a, i), move || get(&b)), (move |i| send(&c, i), move || get(&d)))
        })
        .with("crossbeam-channel", |n| {
            let ((a, b), (c, d)) = (crossbeam(None), crossbeam(None));
            let get = |receiver: &crossbeam_channel::Receiver<u64>| receiver.recv().expect("it is open");
            let send = |sender: &crossbeam_channel::Sender<u64>, i| sender.send(i).expect("it is open");
            play(n, (|i| send(&a, i), || get(&b)), (|i| send(&c, i), || get(&d)))
        })
}
