//! Two processes that say who they are, and give back what they found out.

use std::error::Error;

use kettle::process::current;

kettle::task! {
    fn introduce(greeting: String) -> u32 {
        let me = current();
        println!("  {greeting}! I am {}, process {}, started by {:?}", me.name(), me.pid(), me.parent());
        me.pid()
    }

    fn stumble() {
        panic!("I stumbled");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    println!("The program is process {}.", current().pid());

    let first = introduce::start("Good morning".into())?;
    let second = introduce::builder("Good evening".into()).name("night-owl").start()?;
    let (first_pid, second_pid) = (first.pid(), second.pid());
    assert_eq!((first.join()?, second.join()?), (first_pid, second_pid));
    println!("Both have ended, and said their own numbers.");

    println!("A third one panics, which its join() tells:");
    let failed = stumble::start()?.join().expect_err("it panics");
    println!("  {failed}");

    println!("And the same function in this process:");
    introduce("Hello".into());
    Ok(())
}
