//! What the tests have in common.
#![allow(dead_code, unreachable_pub)]

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Ends the whole test program if a test takes longer than any should: a wait that hangs must not hang the suite.
pub struct Watchdog(Sender<()>);

pub fn watchdog() -> Watchdog {
    let (alive, dog) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if dog.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    });
    Watchdog(alive)
}

/// Long enough for anything that must happen at all.
pub const LONG: Duration = Duration::from_secs(30);
/// A time limit that is meant to pass.
pub const SHORT: Duration = Duration::from_millis(30);

/// Numbers that look random and are the same in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// One of many, which says nothing.
    pub fn quiet(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        // The generator splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}
