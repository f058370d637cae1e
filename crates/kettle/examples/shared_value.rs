//! Numbers, arrays and whole records that several processes change at once.

use std::error::Error;

use bytemuck::{Pod, Zeroable};
use kettle::{Array, Lock, Value};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Account {
    balance: i64,
    bookings: u64,
}

kettle::task! {
    fn work(me: u64, hits: Value<u64>, longest: Value<f64>, histogram: Array<u32>, account: Lock<Account>) {
        for round in 0..ROUNDS {
            hits.fetch_add(1);
            histogram.fetch_add((round % 4) as usize, 1);
            let mut account = account.acquire().expect("no holder dies here");
            account.balance += if round % 2 == 0 { 5 } else { -4 };
            account.bookings += 1;
        }
        longest.fetch_max(me as f64 * 1.5);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let hits = Value::new(0)?;
    let longest = Value::new(0.0)?;
    let histogram = Array::zeroed(4)?;
    let account = Lock::new(Account { balance: 0, bookings: 0 })?;

    let start = |me| work::start(me, hits.clone(), longest.clone(), histogram.clone(), account.clone());
    let workers: Vec<_> = (0..WORKERS).map(start).collect::<Result<_, _>>()?;
    for worker in workers {
        worker.join()?;
    }

    println!("{WORKERS} processes, {ROUNDS} rounds each:");
    println!("  hits       {}", hits.get());
    println!("  longest    {}", longest.get());
    println!("  histogram  {:?}", histogram.to_vec());
    println!("  account    {:?}", account.acquire()?);
    assert_eq!(hits.get(), WORKERS * ROUNDS);
    assert_eq!(histogram.to_vec(), [(WORKERS * ROUNDS / 4) as u32; 4]);
    let expected = Account { balance: (WORKERS * ROUNDS / 2) as i64, bookings: WORKERS * ROUNDS };
    assert_eq!(*account.acquire()?, expected);
    Ok(())
}
