//! One task after another: each is waited for before the next is given.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kettle::Pool;

kettle::task! {
    fn func(msg: String) -> String {
        println!("  msg: {msg}");
        sleep(Duration::from_millis(20));
        msg
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let pool = Pool::builder().workers(3).build()?;
    let results: Vec<_> = (0..10).map(|i| pool.apply(func::call(format!("hello {i}")))).collect::<Result<_, _>>()?;
    pool.join();
    println!("{results:?}");
    Ok(())
}
