//! Four philosophers, two in each of two processes, take the fork at their left and wait for the one at their right.
//! After a second one of them is told who waits for whom. It puts its fork back and takes the other one first: where
//! one does that, no circle can close, and all of them eat.

use std::error::Error;
use std::thread;

use kettle::{AcquireError, Barrier, RLock};

fn eat(name: &str, first: &RLock, second: &RLock, sit: impl FnOnce()) -> Result<(), AcquireError> {
    let _first = first.acquire()?;
    sit();
    let _second = second.acquire()?;
    println!("{name} eats.");
    Ok(())
}

fn dine(name: &str, left: &RLock, right: &RLock, all_sit: &Barrier) -> Result<(), AcquireError> {
    match eat(name, left, right, || {
        all_sit.wait().expect("all come");
    }) {
        Err(AcquireError::Deadlock(found)) => {
            println!("{name} is told:\n\n{found}\n\n{name} puts its fork back, and takes the other one first.");
            eat(name, right, left, || ())
        }
        result => result,
    }
}

kettle::task! {
    fn side_of_the_table(names: [String; 2], forks: [RLock; 3], all_sit: Barrier) {
        thread::scope(|scope| {
            for (seat, name) in names.iter().enumerate() {
                let (left, right, all_sit) = (&forks[seat], &forks[seat + 1], &all_sit);
                let dine = move || dine(name, left, right, all_sit).expect("no holder died");
                thread::Builder::new().name(name.clone()).spawn_scoped(scope, dine).expect("a thread");
            }
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let names = ["Kant", "Hume", "Hegel", "Arendt"].map(str::to_owned);
    let fork = |name| Ok(RLock::new()?.named(&format!("{name}'s fork")));
    let forks = names.iter().map(fork).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let [a, b, c, d] = forks.as_slice() else { unreachable!("four names") };
    let [kant, hume, hegel, arendt] = names;

    let all_sit = Barrier::new(4)?;
    let near = side_of_the_table::start([kant, hume], [a.clone(), b.clone(), c.clone()], all_sit.clone())?;
    let far = side_of_the_table::start([hegel, arendt], [c.clone(), d.clone(), a.clone()], all_sit)?;
    near.join()?;
    far.join()?;
    println!("All four have eaten.");
    Ok(())
}
