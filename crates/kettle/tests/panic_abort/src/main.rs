//! With `panic = "abort"` a process ends at a panic, and its message arrives all the same.

use std::error::Error;

use kettle::Pool;
use kettle::pool::{Broken, SubmitError, TaskError};
use kettle::process::JoinError;

kettle::task! {
    fn fail(why: String) -> u32 {
        panic!("no luck: {why}");
    }

    fn fail_at(n: u32, bad: u32) -> u32 {
        assert_ne!(n, bad, "bad");
        n
    }

    fn begin() {
        panic!("not today");
    }
}

fn a_process() -> Result<(), Box<dyn Error>> {
    match fail::start("it rains".into())?.join() {
        Err(JoinError::Panicked { message }) => assert_eq!(message, "no luck: it rains"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

fn a_task_of_a_pool() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().workers(2).build()?;
    match pool.retries(2).apply(fail::call("it rains".into())) {
        Err(TaskError::Panicked(panic)) => {
            assert_eq!(panic.message(), "no luck: it rains");
            assert!(panic.location.as_ref().is_some_and(|location| location.contains("main.rs")), "{panic}");
        }
        other => panic!("{other:?}"),
    }
    // A panic is not retried, and costs no other task of its chunk.
    for (n, outcome) in (0..).zip(pool.chunks_of(20).imap(|n| fail_at::call(n, 13), 0..40)) {
        match outcome {
            Ok(m) => assert!(m == n && n != 13),
            Err(TaskError::Panicked(panic)) => assert!(n == 13 && panic.message().contains("bad"), "{panic}"),
            Err(e) => panic!("{e}"),
        }
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.done, statistics.failed, statistics.died, statistics.retried), (39, 2, 0, 0));
    while pool.statistics().workers_lost < 2 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

fn an_initializer() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().workers(1).initializer(begin::call()).build()?;
    match pool.apply(fail_at::call(1, 2)) {
        Err(TaskError::Refused(SubmitError::Broken(Broken::Initializer(panic)))) => {
            assert_eq!(panic.message(), "not today");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    kettle::init();
    assert!(cfg!(panic = "abort"), "this program is to be built with panic = \"abort\"");
    a_process()?;
    a_task_of_a_pool()?;
    an_initializer()?;
    println!("all messages arrived");
    Ok(())
}
