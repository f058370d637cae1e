//! Some threads take A and then B, others B and then A: with two locks, they end up waiting for each other. One of them
//! is told so by an error, and the others go on. With one re-entrant lock in place of both it cannot happen.

use std::error::Error;
use std::thread::{self, sleep};
use std::time::Duration;

use kettle::AcquireError;
use kettle::deadlock::{self, Policy};
use kettle::threads::{Lock, RLock};

const THINK: Duration = Duration::from_millis(50);

fn say(what: &str) {
    println!("{} {what}", thread::current().name().unwrap_or("?"));
}

fn func1(a: &Lock, b: &Lock) -> Result<(), AcquireError> {
    let _a = a.acquire()?;
    say("has A");
    let _b = b.acquire()?;
    say("has B as well");
    Ok(())
}

fn func2(a: &Lock, b: &Lock) -> Result<(), AcquireError> {
    let _b = b.acquire()?;
    say("has B");
    sleep(THINK);
    let _a = a.acquire()?;
    say("has A as well");
    Ok(())
}

/// Nested as deep as one likes.
fn both(lock: &RLock) -> Result<(), AcquireError> {
    let _a = lock.acquire()?;
    let _b = lock.acquire()?;
    say("has it twice");
    Ok(())
}

/// Runs `body` in four threads; says how many went through with it.
fn four(body: impl Fn() -> Result<(), AcquireError> + Sync) -> Result<usize, Box<dyn Error>> {
    thread::scope(|scope| {
        let start = |n| thread::Builder::new().name(format!("thread {n}")).spawn_scoped(scope, &body);
        let threads = (1..=4).map(start).collect::<Result<Vec<_>, _>>()?;
        let results = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        let errors = results.filter_map(Result::err).inspect(|e| println!("\n{e}\n"));
        Ok(4 - errors.count())
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    // Another thread might release a plain lock, so by itself this would only be reported.
    deadlock::set_policy(Policy::Raise);
    deadlock::set_threshold(Duration::from_millis(100));

    let (a, b) = (Lock::new(())?.named("A"), Lock::new(())?.named("B"));
    let through = four(|| func1(&a, &b).and_then(|()| func2(&a, &b)))?;
    println!("two locks: {through} of 4 threads got through");

    let lock = RLock::new()?;
    let through = four(|| both(&lock))?;
    println!("one re-entrant lock: {through} of 4 threads got through");
    Ok(())
}
