//! A pool of threads, in four ways: all results at once or later, of many items or of one task at a time.

use std::error::Error;
use std::thread::{self, sleep};
use std::time::Duration;

use kettle::ThreadPool;

fn fun(msg: &str) -> String {
    println!("  {}: msg {msg}", thread::current().name().unwrap_or("?"));
    sleep(Duration::from_millis(50));
    format!("fun_return {msg}")
}

fn main() -> Result<(), Box<dyn Error>> {
    // Many items, and the program goes on meanwhile: results are pulled as they are wanted.
    let pool = ThreadPool::builder().workers(4).build()?;
    for result in pool.imap(|n| fun(&n.to_string()), [1, 2, 10, 11, 18]) {
        println!("{}", result?);
    }

    // Many items, and all results at once.
    let three = ThreadPool::builder().workers(3).build()?;
    println!("{:?}", three.map(|n| fun(&n.to_string()), [3, 5, 11, 19, 12])?);
    three.join();

    // One task at a time, and its result later.
    let handles: Vec<_> = (0..5).map(|i| pool.submit(move || fun(&format!("later {i}")))).collect::<Result<_, _>>()?;
    println!("Five tasks are given, none is waited for.");
    for handle in &handles {
        handle.wait();
    }
    for handle in handles {
        println!("{}", handle.join()?);
    }

    // One task at a time, and its result at once.
    let results: Vec<_> = (0..5).map(|i| pool.apply(move || fun(&format!("now {i}")))).collect::<Result<_, _>>()?;
    println!("{results:?}");

    // A task that fails loses only its result, and one that takes too long is not waited for.
    let Err(error) = pool.apply(|| "seven".parse::<u32>().expect("a number")) else { unreachable!() };
    println!("{error}");
    let Err(error) = pool.task_timeout(Duration::from_millis(50)).apply(|| sleep(Duration::from_secs(1))) else {
        unreachable!()
    };
    println!("{error}");
    println!("{:?}", pool.statistics());
    Ok(())
}
