//! A function is applied to each item, in five workers; the results come in order, when all are there.

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
    let results = pool.map(func::call, 1..=6)?;
    println!("This is printed when all is done.");
    println!("{results:?}");
    Ok(())
}
