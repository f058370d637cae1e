//! What ends other pools: workers that crash, hang, exit, panic. Each costs its own task, and nothing else.

use std::error::Error;
use std::time::{Duration, Instant};

use kettle::pool::TaskError;
use kettle::{Event, Pool, Value};

kettle::task! {
    fn square(n: u64) -> u64 {
        n * n
    }

    fn crash() {
        std::process::abort();
    }

    fn exit() {
        std::process::exit(3);
    }

    fn stumble(over: String) {
        panic!("I stumbled over {over}");
    }

    fn hang(began: Event) {
        began.set();
        loop {
            std::hint::spin_loop();
        }
    }

    /// Dies twice before it works.
    fn flaky(lives: Value<u32>) -> u32 {
        let life = lives.fetch_add(1);
        if life < 2 {
            std::process::abort();
        }
        life
    }

    /// One of a hundred kills its worker.
    fn risky(n: u64) -> u64 {
        if n == 57 {
            std::process::abort();
        }
        n
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let pool = Pool::builder().workers(2).build()?;
    let told = |outcome: Result<(), TaskError>| outcome.err().map_or("nothing".into(), |e| e.to_string());

    println!("crash: {}", told(pool.apply(crash::call())));
    println!("exit:  {}", told(pool.apply(exit::call())));
    println!("panic: {}", told(pool.apply(stumble::call("a stone".into()))));

    let began = Event::new()?;
    println!("hang:  {}", told(pool.task_timeout(Duration::from_millis(50)).apply(hang::call(began.clone()))));

    began.clear();
    let hanging = pool.submit(hang::call(began.clone()))?;
    began.wait();
    hanging.cancel();
    println!("hang:  {}", told(hanging.join()));

    println!(
        "flaky: with two retries it lives in its life number {}",
        pool.retries(2).apply(flaky::call(Value::new(0)?))?
    );

    let (mut done, mut lost) = (0, 0);
    for outcome in pool.chunks_of(10).imap(risky::call, 0..100) {
        match outcome {
            Ok(_) => done += 1,
            Err(_) => lost += 1,
        }
    }
    println!("risky: {done} of 100 have results, {lost} was lost with its worker");
    assert_eq!((done, lost), (99, 1));

    assert_eq!(pool.map(square::call, 0..1000)?.len(), 1000);
    let statistics = pool.statistics();
    println!("The pool has {} workers, and did {} tasks.", statistics.workers, statistics.done);

    let hanging: Vec<_> = (0..10).map(|_| pool.submit(hang::call(began.clone()))).collect::<Result<_, _>>()?;
    let start = Instant::now();
    drop(pool);
    println!("Dropped with {} hanging tasks, it is gone at once ({} ms).", hanging.len(), start.elapsed().as_millis());
    Ok(())
}
