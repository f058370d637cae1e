//! Workers are killed at each step of their work, and at random: every task has exactly one outcome all the same.

mod support;

use std::thread;
use std::time::Duration;

use kettle::pool::{Handle, TaskError};
use kettle::process::active_children;
use kettle::{Event, Pool, Queue};
use kettle_core::sys::child::Child;
use support::{Random, watchdog};

kettle::init_in_tests!();

kettle::task! {
    /// Notes that it was begun, and arms a crash point of the worker if it is the one.
    ///
    /// Gives back `n` and some bytes, so that the outcome is short or long.
    fn arm(n: u32, at: u32, point: String, len: usize, begun: Queue<(u32, u32)>) -> (u32, Vec<u8>) {
        begun.put((n, std::process::id())).unwrap();
        if n == at {
            kettle_core::arm_crash_point(&point);
        }
        (n, vec![0; len])
    }

    fn echo(n: u64) -> u64 {
        n
    }

    fn note(n: u64, begun: Queue<u64>) -> u64 {
        begun.put(n).unwrap();
        n
    }

    fn nap(n: u64, micros: u64) -> u64 {
        thread::sleep(Duration::from_micros(micros));
        n
    }

    fn hold(began: Event, go: Event) {
        began.set();
        go.wait();
    }
}

/// Where a worker dies, and whether the task that it was at is lost then: exactly if it had begun and was not reported.
/// The first five are the worker's own steps, the others are those of its queues: only long outcomes are put into one.
const POINTS: [(&str, bool); 13] = [
    ("pool.worker.taken", false),
    ("pool.worker.begun", true),
    ("pool.worker.before-report", true),
    ("pool.worker.before-notify", false),
    ("pool.worker.reported", false),
    ("queue.put.before-commit", true),
    ("queue.put.committed", false),
    ("queue.put.before-unlock", false),
    ("queue.put.before-notify", false),
    ("queue.get.claimed", false),
    ("queue.get.before-commit", false),
    ("queue.get.committed", false),
    ("queue.get.before-unlock", false),
];

fn pid_of_worker(pool: &str) -> Vec<u32> {
    active_children().into_iter().filter(|(_, name)| name.starts_with(pool)).map(|(pid, _)| pid).collect()
}

#[test]
fn each_task_has_one_outcome_wherever_a_worker_dies() {
    let _dog = watchdog();
    for (point, is_lost) in POINTS {
        for (chunk, len) in [(1, 0), (4, 0), (1, 20), (4, 20), (1, 5000)] {
            if len == 0 && point.starts_with("queue.put") {
                continue;
            }
            let pool = Pool::builder().workers(2).name(point).build().unwrap();
            let begun = Queue::new().unwrap();
            let tasks = |n| arm::call(n, 5, point.to_string(), len, begun.clone());
            let outcomes: Vec<_> = pool.chunks_of(chunk).imap(tasks, 0..24).collect();
            let begun: Vec<(u32, u32)> = std::iter::from_fn(|| begun.try_get().ok()).collect();
            let (_, armed) = *begun.iter().find(|(n, _)| *n == 5).unwrap();
            let mut deaths = 0;
            // It may be that all that was left was done by the other one: both are given something at once.
            while pid_of_worker(point).contains(&armed) {
                deaths += pool.imap(|n| nap::call(n, 500), 0..4).filter(Result::is_err).count();
            }
            assert_eq!(outcomes.len(), 24, "{point}");
            for (n, outcome) in (0..).zip(outcomes) {
                match outcome {
                    Ok((m, bytes)) => assert_eq!((m, bytes.len()), (n, len)),
                    Err(TaskError::WorkerDied(death)) => {
                        assert_eq!((death.signal(), death.pid), (Some(9), armed), "{point}: {death}");
                        deaths += 1;
                    }
                    Err(e) => panic!("{point}: {e}"),
                }
            }
            assert_eq!(deaths, usize::from(is_lost), "{point}");
            let mut numbers: Vec<_> = begun.into_iter().map(|(n, _)| n).collect();
            numbers.sort_unstable();
            let twice = numbers.windows(2).find(|pair| pair[0] == pair[1]);
            assert_eq!(twice, None, "{point}: begun twice");
            assert_eq!(pool.apply(echo::call(2)).unwrap(), 2);
            assert_eq!(pool.statistics().workers, 2, "{point}");
        }
    }
}

/// Kills a worker of the pool now and then, until it is dropped.
fn with_killer<R>(pool: &'static str, kills: u32, random: &mut Random, work: impl FnOnce() -> R) -> R {
    let (enough, is_enough) = std::sync::mpsc::channel::<()>();
    let waits: Vec<_> = (0..kills).map(|_| (random.below(3000), random.below(1 << 30))).collect();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (wait, which) in waits {
                if is_enough.recv_timeout(Duration::from_micros(wait))
                    != Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    return;
                }
                let pids = pid_of_worker(pool);
                if let Some(&pid) = pids.get(which as usize % pids.len().max(1)) {
                    // It may have ended meanwhile.
                    let _ = Child::adopt(pid).and_then(|child| child.signal(9));
                }
            }
        });
        let result = work();
        drop(enough);
        result
    })
}

#[test]
fn workers_killed_at_random_lose_only_what_had_begun() {
    let _dog = watchdog();
    let mut random = Random::new(1);
    for chunk in [1, 8] {
        let pool = Pool::builder().workers(3).name("mortal").build().unwrap();
        let begun = Queue::new().unwrap();
        let outcomes: Vec<_> = with_killer("mortal", 60, &mut random, || {
            pool.chunks_of(chunk).imap(|n| note::call(n, begun.clone()), 0..5000).collect()
        });
        assert_eq!(outcomes.len(), 5000);
        let died = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(m) => assert_eq!(m, n),
                // A worker that is killed before it is ready loses no task.
                Err(TaskError::WorkerDied(death)) => assert_eq!(death.signal(), Some(9)),
                Err(e) => panic!("{e}"),
            }
        }
        let mut begun: Vec<u64> = std::iter::from_fn(|| begun.try_get().ok()).collect();
        let all = begun.len();
        begun.sort_unstable();
        begun.dedup();
        assert_eq!(begun.len(), all, "a task was begun twice without a retry");
        assert!(begun.len() + died >= 5000);
        assert_eq!(pool.map(echo::call, 0..100).unwrap().len(), 100);
        let statistics = pool.statistics();
        assert_eq!((statistics.workers, statistics.queued, statistics.died), (3, 0, died as u64));
    }
}

#[test]
fn with_retries_all_have_results() {
    let _dog = watchdog();
    let mut random = Random::new(2);
    let pool = Pool::builder().workers(3).name("stubborn").build().unwrap();
    let results = with_killer("stubborn", 60, &mut random, || pool.retries(100).map(|n| nap::call(n, 50), 0..5000));
    assert!(results.unwrap().into_iter().eq(0..5000));
}

#[test]
fn time_limits_cancels_and_kills_at_random_instants() {
    let _dog = watchdog();
    let mut random = Random::new(3);
    for _ in 0..3 {
        let pool = Pool::builder().workers(2).name("hectic").max_tasks_per_worker(20).build().unwrap();
        let naps: Vec<_> = (0..600).map(|_| random.below(1200)).collect();
        let cancels: Vec<_> = (0..600).map(|_| random.below(6) == 0).collect();
        let mut counts = [0; 4];
        with_killer("hectic", 20, &mut random, || {
            let limited = pool.task_timeout(Duration::from_millis(1));
            let submit = |n: u64| limited.submit(nap::call(n, naps[n as usize])).unwrap();
            let handles: Vec<Handle<u64>> = (0..600).map(submit).collect();
            for (n, handle) in (0..).zip(handles) {
                let was_cancelled = cancels[n as usize] && handle.cancel();
                match handle.join() {
                    Ok(m) => {
                        assert_eq!(m, n);
                        assert!(!was_cancelled);
                        counts[0] += 1;
                    }
                    Err(TaskError::TimedOut { .. }) => counts[1] += 1,
                    Err(TaskError::Cancelled { .. }) => {
                        assert!(was_cancelled);
                        counts[2] += 1;
                    }
                    Err(TaskError::WorkerDied(_)) => counts[3] += 1,
                    Err(e) => panic!("{e}"),
                }
            }
        });
        let [done, timed_out, cancelled, died] = counts;
        let statistics = pool.statistics();
        assert_eq!((statistics.done, statistics.timed_out), (done, timed_out));
        assert_eq!((statistics.cancelled, statistics.died, statistics.queued), (cancelled, died, 0));
        assert_eq!(done + timed_out + cancelled + died, 600);
    }
}

#[test]
fn terminated_at_random_instants() {
    let _dog = watchdog();
    let mut random = Random::new(4);
    for _ in 0..30 {
        let pool = Pool::builder().workers(2).name("brief").build().unwrap();
        let handles: Vec<_> = (0..200).map(|n| pool.submit(nap::call(n, 100)).unwrap()).collect();
        thread::sleep(Duration::from_micros(random.below(20_000)));
        drop(pool);
        assert_eq!(pid_of_worker("brief"), []);
        for (n, handle) in (0..).zip(handles) {
            match handle.join() {
                Ok(m) => assert_eq!(m, n),
                Err(TaskError::Cancelled { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn what_waits_behind_a_long_task_goes_elsewhere() {
    let _dog = watchdog();
    let pool = Pool::builder().workers(2).build().unwrap();
    for _ in 0..20 {
        // Short tasks, so that several wait at each worker.
        let warm: Vec<_> = (0..300).map(|n| pool.submit(echo::call(n)).unwrap()).collect();
        warm.into_iter().for_each(|handle| _ = handle.join().unwrap());
        let (began, go) = (Event::new().unwrap(), Event::new().unwrap());
        let long = pool.submit(hold::call(began.clone(), go.clone())).unwrap();
        let short: Vec<_> = (0..100).map(|n| pool.submit(echo::call(n)).unwrap()).collect();
        short.into_iter().for_each(|handle| _ = handle.join().unwrap());
        assert!(!long.is_done());
        // Also one that is to be ended, with others behind it.
        let short: Vec<_> = (0..50).map(|n| pool.submit(echo::call(n)).unwrap()).collect();
        assert!(long.cancel());
        short.into_iter().for_each(|handle| _ = handle.join().unwrap());
    }
    assert_eq!(pool.statistics().cancelled, 20);
}
