//! Locks and what threads wait by. Neither the standard library nor parking_lot has semaphores and events: what stands
//! for them is what one writes instead, a mutex and a condition variable.

use std::hint::black_box;
use std::sync::{self, Arc};
use std::time::Duration;

use kettle::threads::{Condition, Event, Lock, RLock, Semaphore};

use crate::table::{Cell, time, time_threads};
use crate::work::Work;

pub(crate) fn cells() -> Vec<Cell> {
    let [short, long, outside] = [50, 1000, 200].map(|ns| Work::of(Duration::from_nanos(ns)));
    let nothing = (Work::NONE, Work::NONE);
    vec![
        lock("Lock, one thread", 1, nothing),
        lock("Lock, 2 threads", 2, nothing),
        lock("Lock, 4 threads", 4, nothing),
        lock("Lock, 2 threads, 50 ns inside, 200 outside", 2, (short, outside)),
        lock("Lock, 4 threads, 50 ns inside, 200 outside", 4, (short, outside)),
        lock("Lock, 2 threads, 1 µs inside, 200 ns outside", 2, (long, outside)),
        lock("Lock, 4 threads, 1 µs inside, 200 ns outside", 4, (long, outside)),
        lock("Lock, 2 threads on one core, 50 ns inside, 200 outside", 2, (short, outside)).on_one_core(),
        lock("Lock, 4 threads on one core, 1 µs inside, 200 ns outside", 4, (long, outside)).on_one_core(),
        reentrant("RLock, one thread", 1),
        reentrant("RLock, 4 threads", 4),
        semaphore("Semaphore of 2, one thread", 1),
        semaphore("Semaphore of 2, 4 threads", 4),
        event(),
        notify(),
        turns("Condition, two threads in turn"),
        turns("Condition, two threads in turn on one core").on_one_core(),
    ]
}

/// Each of some threads does its share of `n` operations.
fn shared(threads: u64, n: u64, operation: impl Fn() + Sync) -> Duration {
    let all = |times: u64| (0..times).for_each(|_| operation());
    match threads {
        1 => time(|| all(n)),
        _ => time_threads(threads, |_| all(n.div_ceil(threads))),
    }
}

/// `work`: what each thread does while it holds the lock, and between two holds.
fn lock(name: &'static str, threads: u64, work: (Work, Work)) -> Cell {
    let (inside, outside) = work;
    let Ok(ours) = Lock::new(0);
    let (std, parking) = (sync::Mutex::new(0), parking_lot::Mutex::new(0));
    let change = move |value: &mut usize| *value = inside.run(*value).wrapping_add(1);
    let between = move || _ = black_box(outside.run(0));
    Cell::new(name, "acquire + release/s")
        .with("kettle", move |n| {
            shared(threads, n, || {
                change(&mut ours.acquire().expect("no panic"));
                between();
            })
        })
        .with("std", move |n| {
            shared(threads, n, || {
                change(&mut std.lock().expect("no panic"));
                between();
            })
        })
        .with("parking_lot", move |n| {
            shared(threads, n, || {
                change(&mut parking.lock());
                between();
            })
        })
}

fn reentrant(name: &'static str, threads: u64) -> Cell {
    let Ok(ours) = RLock::new();
    let parking = parking_lot::ReentrantMutex::new(());
    Cell::new(name, "acquire + release/s")
        .with("kettle", move |n| shared(threads, n, || drop(black_box(ours.acquire()))))
        .with("parking_lot", move |n| shared(threads, n, || drop(black_box(parking.lock()))))
}

fn semaphore(name: &'static str, threads: u64) -> Cell {
    let Ok(ours) = Semaphore::new(2);
    let (std, free) = (sync::Mutex::new(2), sync::Condvar::new());
    let (parking, parked) = (parking_lot::Mutex::new(2), parking_lot::Condvar::new());
    Cell::new(name, "acquire + release/s")
        .with("kettle", move |n| shared(threads, n, || drop(ours.acquire())))
        .with("std", move |n| {
            shared(threads, n, || {
                *free.wait_while(std.lock().expect("no panic"), |permits| *permits == 0).expect("no panic") -= 1;
                *std.lock().expect("no panic") += 1;
                free.notify_one();
            })
        })
        .with("parking_lot", move |n| {
            shared(threads, n, || {
                let mut permits = parking.lock();
                parked.wait_while(&mut permits, |permits| *permits == 0);
                *permits -= 1;
                drop(permits);
                *parking.lock() += 1;
                parked.notify_one();
            })
        })
}

fn event() -> Cell {
    let Ok(ours) = Event::new();
    let (std, changed) = (sync::Mutex::new(false), sync::Condvar::new());
    let (parking, parked) = (parking_lot::Mutex::new(false), parking_lot::Condvar::new());
    Cell::new("Event, set + is_set + clear, no waiters", "times/s")
        .with("kettle", move |n| {
            shared(1, n, || {
                ours.set();
                black_box(ours.is_set());
                ours.clear();
            })
        })
        .with("std", move |n| {
            shared(1, n, || {
                *std.lock().expect("no panic") = true;
                changed.notify_all();
                black_box(*std.lock().expect("no panic"));
                *std.lock().expect("no panic") = false;
            })
        })
        .with("parking_lot", move |n| {
            shared(1, n, || {
                *parking.lock() = true;
                parked.notify_all();
                black_box(*parking.lock());
                *parking.lock() = false;
            })
        })
}

fn notify() -> Cell {
    let (Ok(ours), Ok(changed)) = (Lock::new(()), Condition::new());
    let (std, std_changed) = (sync::Mutex::new(()), sync::Condvar::new());
    let (parking, parked) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
    Cell::new("Condition, notify_one under its lock, no waiters", "times/s")
        .with("kettle", move |n| {
            shared(1, n, || {
                let _held = ours.acquire().expect("no panic");
                changed.notify_one();
            })
        })
        .with("std", move |n| {
            shared(1, n, || {
                let _held = std.lock().expect("no panic");
                std_changed.notify_one();
            })
        })
        .with("parking_lot", move |n| {
            shared(1, n, || {
                let _held = parking.lock();
                parked.notify_one();
            })
        })
}

/// Two threads, each of which waits for the other's turn to be over.
fn turns(name: &'static str) -> Cell {
    let (Ok(ours), Ok(changed)) = (Lock::new(0), Condition::new());
    let std = Arc::new((sync::Mutex::new(0), sync::Condvar::new()));
    let parking = Arc::new((parking_lot::Mutex::new(0), parking_lot::Condvar::new()));
    Cell::new(name, "turns/s")
        .with("kettle", move |n| {
            time_threads(2, |me| {
                for _ in 0..n / 2 {
                    let turn = ours.acquire().expect("no panic");
                    let mut turn = changed.wait_while(turn, |turn| *turn != me).expect("no panic");
                    *turn = 1 - me;
                    changed.notify_one();
                }
            })
        })
        .with("std", move |n| {
            time_threads(2, |me| {
                for _ in 0..n / 2 {
                    let turn = std.0.lock().expect("no panic");
                    *std.1.wait_while(turn, |turn| *turn != me).expect("no panic") = 1 - me;
                    std.1.notify_one();
                }
            })
        })
        .with("parking_lot", move |n| {
            time_threads(2, |me| {
                for _ in 0..n / 2 {
                    let mut turn = parking.0.lock();
                    parking.1.wait_while(&mut turn, |turn| *turn != me);
                    *turn = 1 - me;
                    parking.1.notify_one();
                }
            })
        })
}
