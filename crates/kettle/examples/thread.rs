//! Threads beside processes: two ways to start one, how long each takes, who they are, and what they share.

use std::error::Error;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// The threads of a process share it. Each process has one of its own.
static N: AtomicU32 = AtomicU32::new(100);

kettle::task! {
    fn work() {
        println!("  hello from process {}, thread {:?}", process::id(), thread::current().id());
    }

    fn set_to_zero() {
        N.store(0, Ordering::SeqCst);
    }
}

/// What a thread has to do, with all that it needs.
struct Task {
    name: &'static str,
    pause: Duration,
}

impl Task {
    fn run(self) -> String {
        println!("  running task {}", self.name);
        sleep(self.pause);
        format!("task {} is done", self.name)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let pause = Duration::from_millis(20);

    println!("A thread runs a function, or something that it is given:");
    let one = thread::spawn(|| println!("  task t1"));
    let task = Task { name: "t2", pause };
    let other = thread::Builder::new().name("t2".into()).spawn(|| task.run())?;
    one.join().expect("no panic");
    // Who joins a thread waits for its end, and has its result.
    println!("  {}", other.join().expect("no panic"));

    println!("It is of the same process, and starts at once:");
    let start = Instant::now();
    let thread = thread::spawn(work);
    println!("  main is process {}, and went on after {:?}", process::id(), start.elapsed());
    thread.join().expect("no panic");
    println!("A process is another one, and takes longer:");
    let start = Instant::now();
    let process = work::start()?;
    println!("  main is process {}, and went on after {:?}", process::id(), start.elapsed());
    process.join()?;
    println!("  and {:?} later it had ended", start.elapsed());

    set_to_zero::start()?.join()?;
    println!("After a process set its own n to 0, n is {} here;", N.load(Ordering::SeqCst));
    thread::spawn(set_to_zero).join().expect("no panic");
    println!("after a thread did so, n is {}.", N.load(Ordering::SeqCst));
    Ok(())
}
