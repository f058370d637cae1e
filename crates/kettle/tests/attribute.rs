//! Tasks by the attribute.
#![cfg(feature = "macros")]

mod support;

use kettle::attr::task;
use kettle::{Pool, Queue};
use support::watchdog;

kettle::init_in_tests!();

#[derive(serde::Serialize, serde::Deserialize)]
struct Point {
    x: i64,
    y: i64,
}

/// Has a pattern of each kind.
#[task]
fn patterns(mut total: i64, (a, b): (i64, i64), Point { x, y }: Point, _: bool, [c, ..]: [i64; 3]) -> i64 {
    total += a + b;
    total + x + y + c
}

/// An argument that is named as its function, and others that are named as what is made for it.
#[task]
fn start(start: u32, builder: u32, received: u32, argument_1: u32) -> u32 {
    start + 10 * builder + 100 * received + 1000 * argument_1
}

#[task]
fn nothing() {}

#[task]
#[cfg(any())]
fn is_not_there(_: NoSuchType) {}

#[cfg(any())]
#[task]
fn is_not_there_either(_: NoSuchType) {}

#[task]
#[cfg_attr(all(), cfg(any()))]
fn nor_this(_: NoSuchType) {}

#[task]
#[cfg(target_os = "linux")]
#[must_use]
#[inline]
pub(crate) fn r#type(r#fn: Queue<u8>) -> Option<u8> {
    r#fn.try_get().ok()
}

mod inner {
    #[kettle::attr::task(crate = ::kettle)]
    pub(super) fn start(n: u32) -> u32 {
        n + 1
    }
}

kettle::task! {
    /// The other macro, with an argument that is named as its function.
    fn count(count: u32, task: u32, arguments: u32) -> u32 {
        count + task + arguments
    }
}

#[test]
fn arguments_may_be_patterns() {
    let _dog = watchdog();
    let call = || (1, (2, 3), Point { x: 4, y: 5 }, true, [6, 0, 0]);
    let (a, b, c, d, e) = call();
    assert_eq!(patterns(a, b, c, d, e), 21);
    let (a, b, c, d, e) = call();
    assert_eq!(patterns::start(a, b, c, d, e).unwrap().join().unwrap(), 21);
    let pool = Pool::builder().workers(1).build().unwrap();
    let (a, b, c, d, e) = call();
    assert_eq!(pool.apply(patterns::call(a, b, c, d, e)).unwrap(), 21);
}

#[test]
fn arguments_may_have_any_name() {
    let _dog = watchdog();
    assert_eq!(start(1, 2, 3, 4), 4321);
    assert_eq!(start::start(1, 2, 3, 4).unwrap().join().unwrap(), 4321);
    assert_eq!(inner::start::start(4).unwrap().join().unwrap(), 5);
    assert_eq!(count::start(1, 2, 3).unwrap().join().unwrap(), 6);
}

#[test]
fn functions_may_be_of_any_kind() {
    let _dog = watchdog();
    nothing::builder().name("idle").start().unwrap().join().unwrap();
    let queue = Queue::new().unwrap();
    queue.put(7).unwrap();
    let process = r#type::start(queue.clone()).unwrap();
    assert!(process.name().starts_with("type-"), "{}", process.name());
    assert_eq!(process.join().unwrap(), Some(7));
    assert_eq!(r#type(queue), None);

    #[task]
    fn local(n: u8) -> u8 {
        n + 1
    }
    assert_eq!(local::start(1).unwrap().join().unwrap(), 2);
}
