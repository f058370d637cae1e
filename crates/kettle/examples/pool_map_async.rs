//! The same without waiting: each item is given by itself, and has its own handle.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kettle::Pool;

kettle::task! {
    fn func(n: u32) -> String {
        println!("  msg: {n}");
        sleep(Duration::from_millis(50));
        format!("func_return: {n}")
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let pool = Pool::builder().workers(5).build()?;
    let handles: Vec<_> = (1..=6).map(|n| pool.submit(func::call(n))).collect::<Result<_, _>>()?;
    println!("This is printed before anything is done.");
    for handle in handles {
        println!("{}", handle.join()?);
    }
    Ok(())
}
