//! The examples run, say something, and end by themselves.

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::watchdog;

/// Where cargo puts the examples: beside the folder of this very test.
fn path_of(example: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(example);
    assert!(path.exists(), "{} is not built; `cargo test` without a choice of targets builds it", path.display());
    path
}

macro_rules! examples {
    ($($name:ident => $says:literal),+ $(,)?) => {$(
        #[test]
        fn $name() {
            let _dog = watchdog();
            let output = Command::new(path_of(stringify!($name))).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{:?}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
            assert!(said.contains($says), "{said}");
        }
    )+};
}

examples! {
    process => "the task panicked: I stumbled",
    daemon => "worker: main is over",
    lock_and_tickets => "with a lock:    2000 tickets, 2000 sold",
    deadlock => "All four have eaten.",
    thread => "after a thread did so, n is 0.",
    daemon_thread => "main ends, though the daemon is still there",
    thread_lock => "with a lock:    n is 0 after",
    thread_deadlock => "one re-entrant lock: 4 of 4 threads got through",
    thread_queues => "priority: (10, \"b\"), (20, \"a\"), (30, \"c\")",
    producer_consumer => "10 loaves baked, 10 eaten.",
    joinable_queue => "died with 1 unfinished item(s)",
    pipe => "6000500 bytes in all",
    shared_value => "hits       40000",
    semaphore => "Eight parties have eaten",
    pool_apply_async => "All ten are given, none is waited for.",
    pool_apply => "\"hello 9\"]",
    pool_map => "\"func_return: 6\"]",
    pool_map_async => "func_return: 6",
    pool_callback => "Five pages with 3500 bytes.",
    thread_pool => "\"fun_return now 4\"]",
    pool_survives => "99 of 100 have results, 1 was lost with its worker",
}
