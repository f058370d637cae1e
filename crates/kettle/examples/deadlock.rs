//! Four philosophers, two in each of two processes, take the fork at their left and wait for the one at their right.
//! After a second one of them says who waits for whom, and leaves the table with whoever sits on its side.

use std::error::Error;
use std::process;
use std::thread;

use kettle::{Barrier, RLock};

fn dine(name: &str, left: &RLock, right: &RLock, all_sit: &Barrier) {
    let Ok(_left) = left.acquire() else { return };
    all_sit.wait().expect("all sit");
    match right.acquire() {
        Ok(_right) => println!("{name} eats"),
        Err(died) => println!("{name} may not eat: {died}"),
    }
}

kettle::task! {
    fn side_of_the_table(names: [String; 2], forks: [RLock; 3], all_sit: Barrier) {
        kettle::deadlock::on_report(|found| {
            println!("{found}\n");
            // What this process holds is broken now, and those who wait for it are told.
            process::exit(1);
        });
        thread::scope(|scope| {
            for (seat, name) in names.iter().enumerate() {
                let (left, right, all_sit) = (&forks[seat], &forks[seat + 1], &all_sit);
                let person = thread::Builder::new().name(name.clone());
                person.spawn_scoped(scope, move || dine(name, left, right, all_sit)).expect("a thread");
            }
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let forks = [RLock::new()?, RLock::new()?, RLock::new()?, RLock::new()?];
    let all_sit = Barrier::new(4)?;
    let [a, b, c, d] = &forks;
    let names = |one: &str, other: &str| [one.to_owned(), other.to_owned()];
    let near = side_of_the_table::start(names("Kant", "Hume"), [a.clone(), b.clone(), c.clone()], all_sit.clone())?;
    let far = side_of_the_table::start(names("Hegel", "Arendt"), [c.clone(), d.clone(), a.clone()], all_sit)?;
    for side in [near, far] {
        let name = side.name().to_owned();
        match side.join() {
            Ok(()) => println!("{name} stayed"),
            Err(why) => println!("{name} left: {why}"),
        }
    }
    Ok(())
}
