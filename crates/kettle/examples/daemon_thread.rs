//! A thread that is not joined ends with the program, in the middle of what it does: where others say daemon, that is
//! every thread here. `join` waits for one, and a scope for all that were started in it.

use std::thread::{self, sleep};
use std::time::Duration;

use kettle::threads::Event;

fn say_and_say_again(name: &str, pause: Duration) {
    println!("{name} begins");
    sleep(pause);
    println!("{name} has ended");
}

fn main() {
    let Ok(began) = Event::new();
    let daemon = thread::spawn({
        let began = began.clone();
        move || {
            began.set();
            say_and_say_again("the daemon", Duration::from_secs(3600));
        }
    });
    began.wait();

    thread::scope(|scope| {
        scope.spawn(|| say_and_say_again("the guest", Duration::from_millis(50)));
        println!("main goes on");
    });
    println!("main ends, though the daemon is {}", if daemon.is_finished() { "done" } else { "still there" });
}
