//! A worker is killed at each step of its work: every task has exactly one outcome all the same.

mod support;

use kettle::pool::TaskError;
use kettle::{Event, Pool, Queue};
use support::{Random, watchdog};

kettle::init_in_tests!();

kettle::task! {
    /// Notes that it was begun, and arms a crash point of the worker if it is the one.
    fn arm(n: u32, at: u32, point: String, begun: Queue<u32>) -> u32 {
        begun.put(n).unwrap();
        if n == at {
            kettle_core::arm_crash_point(&point);
        }
        n
    }

    fn die_sometimes(n: u64, seed: u64) -> u64 {
        if Random::quiet(seed ^ n).below(20) == 0 {
            std::process::abort();
        }
        n
    }

    fn hold(began: Event, go: Event) {
        began.set();
        go.wait();
    }
}

const POINTS: [&str; 5] = [
    "pool.worker.taken",
    "pool.worker.begun",
    "pool.worker.before-report",
    "pool.worker.before-notify",
    "pool.worker.reported",
];

/// Points of the queues below, through which a worker takes and reports.
const BELOW: [&str; 8] = [
    "queue.put.before-commit",
    "queue.put.committed",
    "queue.put.before-unlock",
    "queue.put.before-notify",
    "queue.get.claimed",
    "queue.get.before-commit",
    "queue.get.committed",
    "queue.get.before-unlock",
];

#[test]
fn each_task_has_one_outcome_wherever_a_worker_dies() {
    let _dog = watchdog();
    for point in POINTS.iter().chain(&BELOW) {
        for chunk in [1, 4] {
            let pool = Pool::builder().workers(2).build().unwrap();
            let begun = Queue::new().unwrap();
            let tasks = |n| arm::call(n, 5, format!("{point}:1"), begun.clone());
            let outcomes: Vec<_> = pool.chunks_of(chunk).imap(tasks, 0..24).collect();
            assert_eq!(outcomes.len(), 24, "{point}");
            let mut dead = Vec::new();
            for (n, outcome) in (0..).zip(&outcomes) {
                match outcome {
                    Ok(m) => assert_eq!(*m, n),
                    Err(TaskError::WorkerDied(death)) => {
                        assert_eq!(death.signal(), Some(9), "{point}: {death}");
                        dead.push(n);
                    }
                    Err(e) => panic!("{point}: {e}"),
                }
            }
            // A task was lost only if it had begun and was not reported; and no task was begun twice unless it was not
            // known to have begun, which is never.
            assert!(dead.len() <= 1, "{point}: {dead:?}");
            let mut begun: Vec<u32> = std::iter::from_fn(|| begun.try_get().ok()).collect();
            begun.sort_unstable();
            let twice = begun.windows(2).find(|pair| pair[0] == pair[1]);
            assert_eq!(twice, None, "{point}");
            assert_eq!(pool.apply(arm::call(0, 1, String::new(), Queue::new().unwrap())).unwrap(), 0);
            assert_eq!(pool.statistics().workers, 2, "{point}");
        }
    }
}
