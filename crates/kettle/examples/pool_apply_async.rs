//! Ten tasks are given to three workers, and their results asked for later.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kettle::Pool;

kettle::task! {
    fn func(msg: String) -> String {
        println!("  msg: {msg}");
        sleep(Duration::from_millis(50));
        msg
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let pool = Pool::builder().workers(3).build()?;
    let handles: Vec<_> = (0..10).map(|i| pool.submit(func::call(format!("hello {i}")))).collect::<Result<_, _>>()?;
    println!("All ten are given, none is waited for.");

    // No more tasks; what was given is done, then the workers leave.
    pool.join();

    for handle in handles {
        println!("{}", handle.join()?);
    }
    Ok(())
}
