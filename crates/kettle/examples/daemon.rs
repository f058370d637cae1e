//! A daemon ends with the program; the program waits for everybody else.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kettle::Event;

kettle::task! {
    /// Would go on for ever.
    fn heartbeat(began: Event) {
        loop {
            println!("  daemon: tick");
            began.set();
            sleep(Duration::from_millis(50));
        }
    }

    fn last_words(main_is_over: Event) {
        main_is_over.wait();
        println!("  worker: main is over, but the program waits until I have finished");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    let began = Event::new()?;
    let daemon = heartbeat::builder(began.clone()).daemon(true).start()?;
    println!("{} is a daemon: {}", daemon.name(), daemon.is_daemon());

    let main_is_over = Event::new()?;
    last_words::start(main_is_over.clone())?;

    began.wait();
    println!("main: returns now; the daemon is killed, the worker is waited for");
    main_is_over.set();
    Ok(())
}
