//! Producers and consumers around one bounded queue. A consumer is killed in the middle; the others go on.

use std::error::Error;

use kettle::{Event, Queue};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Loaf {
    baker: String,
    number: u32,
}

kettle::task! {
    fn bake(baker: String, shelf: Queue<Loaf>) {
        for number in 1..=5 {
            shelf.put(Loaf { baker: baker.clone(), number }).expect("the shelf is there");
        }
        println!("  {baker} has gone home");
    }

    fn eat(shelf: Queue<Loaf>) -> u32 {
        let mut eaten = 0;
        for loaf in shelf.iter() {
            let Loaf { baker, number } = loaf.expect("a loaf is a loaf");
            println!("  {} eats loaf {number} of {baker}", kettle::process::current().name());
            eaten += 1;
        }
        eaten
    }

    fn wait_hungrily(shelf: Queue<Loaf>, waiting: Event) {
        waiting.set();
        // There is none yet; this process will be killed while it waits.
        let _ = shelf.get();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let shelf = Queue::bounded(3)?;

    let waiting = Event::new()?;
    let unlucky = wait_hungrily::start(shelf.clone(), waiting.clone())?;
    waiting.wait();
    unlucky.kill()?;
    println!("One consumer was killed while it waited: {}", unlucky.wait()?);

    let bakers: Vec<_> =
        ["Anna", "Boris"].into_iter().map(|name| bake::start(name.into(), shelf.clone())).collect::<Result<_, _>>()?;
    let guests: Vec<_> = ["Clara", "Dora", "Emil"]
        .into_iter()
        .map(|name| eat::builder(shelf.clone()).name(name).start())
        .collect::<Result<_, _>>()?;

    for baker in bakers {
        baker.join()?;
    }
    // What is on the shelf is still eaten; then the guests know that there will be no more.
    shelf.shutdown();
    let eaten = guests.into_iter().map(|guest| guest.join()).sum::<Result<u32, _>>()?;
    println!("{eaten} loaves baked, {eaten} eaten.");
    assert_eq!(eaten, 10);
    println!("{:?}", shelf.statistics());
    Ok(())
}
