//! One test suite for every kind of memory that a primitive may be stored in, and for every kind of participant that
//! may use it.
//!
//! A case is a function over a [`World`]; [`conformance!`] makes it a test in each world. Cases wait for events, never
//! for time to pass; assertions about time are of the form "at least this long".
#![allow(dead_code, unreachable_pub)]

#[path = "../arena_support/mod.rs"]
pub mod support;

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kettle_core::arena::{Block, Body};
use kettle_core::queue::Store;
use kettle_core::shared::{self, ArenaStore, Content, HeapStore, InArena, Placement};
use kettle_core::sync::Home;
use kettle_core::wait::{Deadline, Patience};

use support::{Child, alone};

/// The limit for any case, on any machine and under any sanitizer.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Where primitives are stored, and which participants use them.
pub trait World: 'static {
    type Place: Placement<Store: Blocks>;

    /// Runs a case under a watchdog.
    fn case(name: &'static str, body: fn());

    /// Runs `body(0)` … `body(n - 1)` concurrently, each in a participant of its own.
    fn all(n: u32, body: impl Fn(u32) + Sync);
}

/// Blocks that can be created and inspected.
pub trait Blocks: Store {
    fn block(bytes: &[u8]) -> Self::Block;
    fn bytes(block: &Self::Block) -> &[u8];
}

impl Blocks for HeapStore {
    fn block(bytes: &[u8]) -> Box<[u8]> {
        bytes.into()
    }
    fn bytes(block: &Box<[u8]>) -> &[u8] {
        block
    }
}

impl Blocks for ArenaStore {
    fn block(bytes: &[u8]) -> Block {
        Block::copy_of(bytes).unwrap()
    }
    fn bytes(block: &Block) -> &[u8] {
        block.as_slice()
    }
}

pub type H<W> = <<W as World>::Place as Placement>::Home;
pub type S<W> = <<W as World>::Place as Placement>::Store;
pub type Ref<W, B> = <<W as World>::Place as Placement>::Ref<B>;

/// Places a body in this world's memory.
pub fn place<W: World, B: Content>(body: B) -> Ref<W, B> {
    shared::init();
    W::Place::place(body).unwrap()
}

/// The threads of one process.
pub struct Threads<P>(PhantomData<P>);

impl<P: Placement<Store: Blocks>> World for Threads<P> {
    type Place = P;

    fn case(name: &'static str, body: fn()) {
        let done = Arc::new(AtomicBool::new(false));
        let watchdog = {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let begun = Instant::now();
                while !done.load(Ordering::Acquire) {
                    std::thread::park_timeout(Duration::from_secs(1));
                    if begun.elapsed() > WATCHDOG {
                        eprintln!("{name} hangs");
                        std::process::abort();
                    }
                }
            })
        };
        body();
        done.store(true, Ordering::Release);
        watchdog.thread().unpark();
        watchdog.join().unwrap();
    }

    fn all(n: u32, body: impl Fn(u32) + Sync) {
        std::thread::scope(|scope| {
            let body = &body;
            let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || body(i))).collect();
            // Joined one by one, which sanitizers understand, unlike the implicit join of the scope.
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }
}

/// Processes, forked from the one that runs the case.
pub struct Forked;

impl World for Forked {
    type Place = InArena;

    fn case(_: &'static str, body: fn()) {
        alone(body);
    }

    fn all(n: u32, body: impl Fn(u32) + Sync) {
        let children: Vec<_> = (0..n).map(|i| Child::fork(|| body(i))).collect();
        children.into_iter().for_each(Child::succeeds);
    }
}

/// Makes each case a test in each world.
#[allow(unused_macros)]
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod heap_threads {
            use crate::conformance::{Threads, World};
            $(#[test] fn $case() {
                type W = Threads<kettle_core::shared::OnHeap>;
                W::case(stringify!($case), super::$case::<W>);
            })*
        }
        mod arena_threads {
            use crate::conformance::{Threads, World};
            $(#[test] fn $case() {
                type W = Threads<kettle_core::shared::InArena>;
                W::case(stringify!($case), super::$case::<W>);
            })*
        }
        mod arena_processes {
            use crate::conformance::{Forked, World};
            $(#[test] fn $case() {
                Forked::case(stringify!($case), super::$case::<Forked>);
            })*
        }
    };
}
#[allow(unused_imports)]
pub(crate) use conformance;

/// Counters that the participants of a case share.
#[repr(C)]
pub struct Tally {
    pub counts: [AtomicU64; 8],
    guarded: UnsafeCell<u64>,
}

// SAFETY: `repr(C)`, numbers, no pointers. The plain number is accessed under the lock that a case tests; if that lock
// fails to exclude, the case fails, and a sanitizer reports the race.
unsafe impl Sync for Tally {}
// SAFETY: as above, and a kind of its own.
unsafe impl Body for Tally {
    const KIND: u32 = 0xABCDE;
}
impl Content for Tally {}

impl Tally {
    pub fn new() -> Self {
        Self { counts: Default::default(), guarded: UnsafeCell::new(0) }
    }

    pub fn add(&self, i: usize, n: u64) -> u64 {
        self.counts[i].fetch_add(n, Ordering::SeqCst).wrapping_add(n)
    }

    pub fn get(&self, i: usize) -> u64 {
        self.counts[i].load(Ordering::SeqCst)
    }

    /// Increments the plain number, for a caller that excludes all others.
    pub fn add_guarded(&self) {
        // SAFETY: the caller holds the lock under test.
        unsafe { *self.guarded.get() += 1 };
    }

    pub fn guarded(&self) -> u64 {
        // SAFETY: as above.
        unsafe { *self.guarded.get() }
    }
}

/// Polls until the condition holds. For conditions that cannot be waited for otherwise, such as a thread being asleep.
pub fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn forever() -> Patience<'static> {
    Patience::forever()
}

pub fn within(d: Duration) -> Patience<'static> {
    Patience::until(Deadline::after(d))
}

/// Asserts that `body` takes at least this long.
pub fn at_least<T>(d: Duration, body: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = body();
    assert!(begun.elapsed() >= d, "ended after {:?} already", begun.elapsed());
    result
}

pub const A_MOMENT: Duration = Duration::from_millis(30);

/// The caller's name in this world.
pub fn me<W: World>() -> kettle_core::sys::Owner {
    H::<W>::me()
}

/// Forks a process in which `body` panics at `crash`, and runs `others` while that process lives on.
#[cfg(feature = "crash-points")]
pub fn panics_at(crash: &str, body: impl FnOnce(), others: impl FnOnce()) {
    let (panicked, over) = (support::Gate::new(), support::Gate::new());
    let child = Child::fork(|| {
        panics_here(crash, body);
        panicked.open();
        over.pass();
    });
    panicked.pass();
    others();
    over.open();
    child.succeeds();
}

/// The same in this process: `body` panics at `crash`.
#[cfg(feature = "crash-points")]
pub fn panics_here(crash: &str, body: impl FnOnce()) {
    kettle_core::arm_crash_point(&format!("{crash}:panic"));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    kettle_core::disarm_crash_point();
    assert!(result.is_err(), "{crash} was never reached");
}

/// Forks a process that runs `body` until it dies at `crash`, and asserts that it did.
#[cfg(feature = "crash-points")]
pub fn dies_at(crash: &str, body: impl FnOnce()) {
    let child = Child::fork(|| {
        kettle_core::arm_crash_point(crash);
        body();
    });
    assert_eq!(child.wait(), support::Ended::Killed(libc::SIGKILL), "{crash} was never reached");
}
