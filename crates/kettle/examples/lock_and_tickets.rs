//! Four counters sell the same tickets: once without a lock, so that some are sold twice, and once with one.

use std::error::Error;
use std::hint::black_box;

use kettle::{Barrier, Lock, Value};

const COUNTERS: u32 = 4;
const TICKETS: u32 = 2_000;

kettle::task! {
    /// Looks, thinks, and writes: three steps, between which the others do the same.
    fn sell_carelessly(left: Value<u32>, open: Barrier) -> u32 {
        let mut sold = 0;
        open.wait().expect("all counters open");
        loop {
            let seen = left.get();
            if seen == 0 {
                return sold;
            }
            black_box((0..500).sum::<u32>());
            left.set(seen - 1);
            sold += 1;
        }
    }

    /// The lock is around the number itself, which is accessible only through its guard.
    fn sell(left: Lock<u32>, open: Barrier) -> u32 {
        let mut sold = 0;
        open.wait().expect("all counters open");
        loop {
            let mut left = left.acquire().expect("no counter died");
            if *left == 0 {
                return sold;
            }
            black_box((0..500).sum::<u32>());
            *left -= 1;
            sold += 1;
            drop(left);
            // The next customer comes to the counter.
            std::thread::yield_now();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let open = Barrier::new(COUNTERS)?;

    let left = Value::new(TICKETS)?;
    let counters = (0..COUNTERS).map(|_| sell_carelessly::start(left.clone(), open.clone()));
    let counters: Vec<_> = counters.collect::<Result<_, _>>()?;
    let sold = counters.into_iter().map(|c| c.join()).sum::<Result<u32, _>>()?;
    println!("without a lock: {TICKETS} tickets, {sold} sold, {} left", left.get());

    let left = Lock::new(TICKETS)?;
    let counters = (0..COUNTERS).map(|_| sell::start(left.clone(), open.clone()));
    let counters: Vec<_> = counters.collect::<Result<_, _>>()?;
    let each = counters.into_iter().map(|c| c.join()).collect::<Result<Vec<_>, _>>()?;
    let sold: u32 = each.iter().sum();
    println!("with a lock:    {TICKETS} tickets, {sold} sold, {} left; each counter sold {each:?}", left.acquire()?);
    assert_eq!(sold, TICKETS);
    println!("{:?}", left.statistics());
    Ok(())
}
