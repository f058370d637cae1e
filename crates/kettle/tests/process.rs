//! Processes: started, named, watched, ended.

mod support;

use std::io;
use std::os::unix::process::ExitStatusExt;

use kettle::process::{JoinError, active_children, current};
use kettle::{Event, Lock, Queue, StartError};
use serde::{Serialize, Serializer};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn whoami() -> (String, u32, Option<u32>) {
        (current().name().into(), current().pid(), current().parent())
    }

    fn fail(why: String) -> u32 {
        panic!("no luck: {why}");
    }

    fn exit_with(code: i32) {
        std::process::exit(code);
    }

    fn wait_for(event: Event) {
        event.wait();
    }

    fn spin(began: Event) {
        began.set();
        loop {
            std::hint::spin_loop();
        }
    }

    fn fallible(n: i32) -> Result<i32, String> {
        if n < 0 { Err(format!("{n} is negative")) } else { Ok(n) }
    }

    fn big(len: usize) -> Vec<u64> {
        (0..len as u64).collect()
    }

    fn nested(depth: u32) -> u32 {
        if depth == 0 { 0 } else { nested::start(depth - 1).unwrap().join().unwrap() + 1 }
    }

    fn unsendable() -> Unsendable {
        Unsendable
    }

    fn hand_out(locks: Queue<Lock<u32>>) {
        locks.put(Lock::new(17).unwrap()).unwrap();
    }

    fn comm() -> String {
        std::fs::read_to_string("/proc/self/comm").unwrap().trim().into()
    }
}

#[derive(serde::Deserialize)]
struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[test]
fn a_process_knows_who_it_is() {
    let _dog = watchdog();
    let process = whoami::builder().name("the one").start().unwrap();
    let pid = process.pid();
    assert_eq!(process.name(), "the one");
    assert_eq!(process.join().unwrap(), ("the one".into(), pid, Some(std::process::id())));
    assert_eq!(comm::builder().name("a-kettle").start().unwrap().join().unwrap(), "a-kettle");
    assert_eq!(whoami().0, "main");
}

#[test]
fn results_of_any_size_come_back() {
    let _dog = watchdog();
    for len in [0, 10, 1_000_000] {
        assert_eq!(big::start(len).unwrap().join().unwrap(), big(len));
    }
    assert_eq!(fallible::start(3).unwrap().join().unwrap(), Ok(3));
    assert_eq!(fallible::start(-3).unwrap().join().unwrap(), Err("-3 is negative".into()));
}

#[test]
fn a_panic_is_an_error_with_its_message() {
    let _dog = watchdog();
    let process = fail::start("rain".into()).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(101));
    match process.join() {
        Err(JoinError::Panicked { message }) => assert_eq!(message, "no luck: rain"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_early_end_tells_how() {
    let _dog = watchdog();
    let process = exit_with::start(3).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(3));
    match process.join() {
        Err(JoinError::Died { status, .. }) => assert_eq!(status.code(), Some(3)),
        other => panic!("{other:?}"),
    }
    match unsendable::start().unwrap().join() {
        Err(JoinError::Lost(why)) => assert!(why.contains("the result"), "{why}"),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn waiting_has_a_limit() {
    let _dog = watchdog();
    let go = Event::new().unwrap();
    let process = wait_for::start(go.clone()).unwrap();
    assert!(process.is_alive());
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    assert!(process.exit_status().is_none());
    let process = process.join_timeout(SHORT).unwrap_err();
    assert!(active_children().contains(&(process.pid(), process.name().into())));
    go.set();
    process.join_timeout(LONG).unwrap().unwrap();
}

#[test]
fn a_process_can_be_ended() {
    let _dog = watchdog();
    for (end, signal) in [
        (kettle::Process::<()>::terminate as fn(&_) -> io::Result<()>, 15),
        (kettle::Process::<()>::kill as fn(&_) -> io::Result<()>, 9),
    ] {
        let began = Event::new().unwrap();
        let process = spin::start(began.clone()).unwrap();
        began.wait();
        end(&process).unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(signal));
        // A second signal is permitted, and reaches no process.
        end(&process).unwrap();
        assert!(!process.is_alive());
        assert_eq!(process.join().unwrap_err().signal(), Some(signal));
    }
}

#[test]
fn processes_start_processes() {
    let _dog = watchdog();
    assert_eq!(nested::start(3).unwrap().join().unwrap(), 3);
}

#[test]
fn arguments_that_cannot_be_sent_fail_at_the_call() {
    let _dog = watchdog();
    kettle::task! {
        fn take(value: Unsendable) {
            let Unsendable = value;
        }
    }
    assert!(matches!(take::start(Unsendable), Err(StartError::Encode(_))));
}

#[test]
fn what_a_child_made_outlives_it() {
    let _dog = watchdog();
    let locks = Queue::new().unwrap();
    hand_out::start(locks.clone()).unwrap().join().unwrap();
    assert_eq!(*locks.get().unwrap().acquire().unwrap(), 17);
}

#[test]
fn many_at_once() {
    let _dog = watchdog();
    let processes: Vec<_> = (0..20).map(|i| fallible::start(i).unwrap()).collect();
    for (i, process) in processes.into_iter().enumerate() {
        assert_eq!(process.join().unwrap(), Ok(i as i32));
    }
}
