//! Twenty threads take one from a number each, in three steps: without a lock, with one, and one thread after another.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use kettle::threads::Lock;

const THREADS: u32 = 20;
/// What each does besides, and may do together with the others.
const PREPARE: Duration = Duration::from_millis(20);
const THINK: Duration = Duration::from_millis(2);

fn main() -> Result<(), Box<dyn Error>> {
    // No step can go wrong by itself. But between the first and the last all others look at the same number.
    let n = AtomicU32::new(THREADS);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                sleep(PREPARE);
                let seen = n.load(Ordering::SeqCst);
                sleep(THINK);
                n.store(seen - 1, Ordering::SeqCst);
            });
        }
    });
    println!("without a lock: n is {} after {:?}", n.into_inner(), start.elapsed());

    // The lock is around the number: there is no way to it but through the guard, and no way to forget it.
    let n = Lock::new(THREADS)?;
    let start = Instant::now();
    let take_one = |n: &Lock<u32>| {
        sleep(PREPARE);
        let mut n = n.acquire().expect("no holder panicked");
        let seen = *n;
        sleep(THINK);
        *n = seen - 1;
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(|| take_one(&n)))));
    println!("with a lock:    n is {} after {:?}; {:?}", n.acquire()?, start.elapsed(), n.statistics());

    // As safe, but nothing is done together any more.
    let n = Lock::new(THREADS)?;
    let start = Instant::now();
    for _ in 0..THREADS {
        let n = n.clone();
        thread::spawn(move || take_one(&n)).join().expect("no panic");
    }
    println!("one by one:     n is {} after {:?}", n.acquire()?, start.elapsed());
    Ok(())
}
