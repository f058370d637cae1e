//! Handles as futures.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use kettle::thread_pool::TaskError;

use crate::support::{SHORT, watchdog};
use crate::{gate, pool};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_handle_can_be_awaited_by_any_executor() {
    let _dog = watchdog();
    let pool = pool(2);
    for n in 0..1000 {
        assert_eq!(block_on(pool.submit(move || n).unwrap()).unwrap(), n);
    }
    assert!(matches!(block_on(pool.submit(|| panic!("oh")).unwrap()), Err::<(), _>(TaskError::Panicked(_))));
    let (gate, task) = gate();
    let limited = pool.task_timeout(SHORT).submit(task).unwrap();
    assert!(matches!(block_on(limited), Err(TaskError::TimedOut { .. })));
    gate.open();
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let mut handle = pin!(pool.submit(task).unwrap());
    let first = handle.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending());
    gate.open();
    block_on(handle).unwrap();
}

#[test]
fn a_future_that_is_dropped_lets_its_task_run_on() {
    let _dog = watchdog();
    let pool = pool(1);
    let (gate, task) = gate();
    let ran = Arc::new(AtomicBool::new(false));
    let (same, cancelled) = (Arc::clone(&ran), pool.submit(task).unwrap());
    let mut handle = pool.submit(move || same.store(true, Ordering::Relaxed)).unwrap();
    let mut never = pool.submit(|| unreachable!("it is cancelled")).unwrap().cancel_on_drop();
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(&mut handle).poll(&mut context).is_pending());
    assert!(pin!(&mut never).poll(&mut context).is_pending());
    drop((handle, never));
    gate.open();
    cancelled.join().unwrap();
    pool.join();
    assert!(ran.load(Ordering::Relaxed));
}
