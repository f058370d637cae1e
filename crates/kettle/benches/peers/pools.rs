//! Pools of threads. A task of ours may own and return anything, panic, and wait for others; the items come from any
//! iterator, one after another. Rayon splits what can be split, and `par_bridge` is what it has for what cannot.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use kettle::ThreadPool;
use rayon::prelude::*;

use crate::table::{Cell, time};
use crate::work::Work;

const WORKERS: usize = 2;

pub(crate) fn cells() -> Vec<Cell> {
    let [one, ten] = [1, 10].map(|us| Work::of(Duration::from_micros(us)));
    let trivial = |n: usize| n.wrapping_mul(n);
    vec![
        map("map of a range, trivial", trivial),
        map_one_by_one("map of a range, trivial, one by one", trivial),
        map_bridged("map of any iterator, trivial", trivial),
        map("map of a range, 1 µs", move |n| one.run(n)),
        map_one_by_one("map of a range, 1 µs, one by one", move |n| one.run(n)),
        map("map of a range, 10 µs", move |n| ten.run(n)),
        map_one_by_one("map of a range, 10 µs, one by one", move |n| ten.run(n)),
        apply(),
        submit(),
    ]
}

fn pools() -> (ThreadPool, rayon::ThreadPool) {
    let ours = ThreadPool::builder().workers(WORKERS).build().expect("threads");
    (ours, rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build().expect("threads"))
}

fn map(name: &'static str, task: impl Fn(usize) -> usize + Copy + Send + Sync + 'static) -> Cell {
    let (ours, theirs) = pools();
    Cell::new(name, "tasks/s").with("kettle", move |n| time(|| drop(black_box(ours.map(task, 0..n as usize))))).with(
        "rayon",
        move |n| {
            time(|| drop(black_box(theirs.install(|| (0..n as usize).into_par_iter().map(task).collect::<Vec<_>>()))))
        },
    )
}

/// Where it is asked for that no task may be held up by another.
fn map_one_by_one(name: &'static str, task: impl Fn(usize) -> usize + Copy + Send + Sync + 'static) -> Cell {
    let (ours, theirs) = pools();
    Cell::new(name, "tasks/s")
        .with("kettle", move |n| time(|| drop(black_box(ours.chunks_of(1).map(task, 0..n as usize)))))
        .with("rayon", move |n| {
            let all = || (0..n as usize).into_par_iter().with_max_len(1).map(task).collect::<Vec<_>>();
            time(|| drop(black_box(theirs.install(all))))
        })
}

fn map_bridged(name: &'static str, task: impl Fn(usize) -> usize + Copy + Send + Sync + 'static) -> Cell {
    let (ours, theirs) = pools();
    Cell::new(name, "tasks/s")
        .with("kettle", move |n| {
            time(|| drop(black_box(ours.map(task, (0..n as usize).filter(|n| black_box(*n) < usize::MAX)))))
        })
        .with("rayon", move |n| {
            let items = (0..n as usize).filter(|n| black_box(*n) < usize::MAX);
            // It keeps no order.
            time(|| drop(black_box(theirs.install(|| items.par_bridge().map(task).collect::<Vec<_>>()))))
        })
}

fn apply() -> Cell {
    let (ours, theirs) = pools();
    Cell::new("apply, round trip", "trips/s")
        .with("kettle", move |n| time(|| (0..n).for_each(|i| _ = black_box(ours.apply(move || i + 1)))))
        .with("rayon", move |n| time(|| (0..n).for_each(|i| _ = black_box(theirs.install(move || i + 1)))))
}

/// All are given first, and then waited for.
fn submit() -> Cell {
    let (ours, theirs) = pools();
    Cell::new("submit many, then join", "tasks/s")
        .with("kettle", move |n| {
            time(|| {
                let handles: Vec<_> = (0..n).map(|i| ours.submit(move || i + 1).expect("it is open")).collect();
                handles.into_iter().for_each(|handle| _ = black_box(handle.join()));
            })
        })
        .with("rayon", move |n| {
            let sum = Arc::new(std::sync::atomic::AtomicU64::new(0));
            time(|| {
                theirs.scope(|scope| {
                    for i in 0..n {
                        let sum = Arc::clone(&sum);
                        scope.spawn(move |_| _ = sum.fetch_add(i + 1, std::sync::atomic::Ordering::Relaxed));
                    }
                })
            })
        })
}
