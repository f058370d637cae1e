//! Pools of threads: results, terms, cancellation, tasks that wait for tasks, and the end.

mod claims;
mod futures;
mod life;
mod many;
mod nesting;
mod results;
mod scopes;
#[path = "../support/mod.rs"]
mod support;
mod terms;

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use kettle::ThreadPool;
use support::LONG;

fn pool(workers: usize) -> ThreadPool {
    ThreadPool::builder().workers(workers).build().unwrap()
}

/// Waits for what another thread is about to make true.
fn await_that(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LONG, "it does not come true");
        thread::yield_now();
    }
}

/// A task that says that it has begun, and ends when it is let.
struct Gate {
    began: Receiver<()>,
    go: Sender<()>,
}

fn gate() -> (Gate, impl FnOnce() + Send + 'static) {
    let ((has_begun, began), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    let task = move || {
        has_begun.send(()).unwrap();
        // Also if the test is over.
        let _ = may_go.recv();
    };
    (Gate { began, go }, task)
}

impl Gate {
    fn wait(&self) {
        self.began.recv_timeout(LONG).unwrap();
    }
    fn open(&self) {
        self.go.send(()).unwrap();
    }
}
