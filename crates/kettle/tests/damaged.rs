//! A session in which something was found that cannot be: everything that uses it says so, and threads go on.
//!
//! By itself, since the session stays damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kettle::pipe::{RecvError, SendError};
use kettle::sync::{BarrierError, WaitError};
use kettle::{
    AcquireError, Barrier, Condition, Event, GetError, JoinableQueue, Lock, OutOfMemory, PutError, Queue, RLock,
    Semaphore, Value, pipe, queue, threads,
};
use kettle_core::damage::{self, What};
use kettle_core::sys::futex::Scope;

#[test]
fn everything_says_so() -> Result<(), Box<dyn std::error::Error>> {
    let (queue, joinable) = (Queue::new()?, JoinableQueue::<u8>::new()?);
    let (lock, rlock, condition) = (Lock::new(1u32)?, RLock::new()?, Condition::new()?);
    let (event, semaphore, value) = (Event::new()?, Semaphore::new(1)?, Value::new(1u64)?);
    let (ours, theirs) = pipe::<u8, u8>()?;
    queue.put(1)?;
    event.set();
    let waiting = {
        let empty = Queue::<u8>::new()?;
        std::thread::spawn(move || empty.get())
    };
    let waiting_for_any = {
        let (one, other) = (Queue::<u8>::new()?, Event::new()?);
        std::thread::spawn(move || kettle::wait(&[&one, &other], None).is_err())
    };
    let (barrier, full, Ok(threads_event)) = (Barrier::new(1)?, Semaphore::new(0)?, threads::Event::new());
    threads_event.set();
    let held = lock.acquire()?;

    damage::mark(Scope::Shared, What::Message, 0, 7);

    assert!(matches!(waiting.join(), Ok(Err(GetError::Damaged(_)))), "who waits is told");
    let Err(PutError::Damaged(2, e)) = queue.put(2) else { panic!("the item comes back") };
    assert!(e.to_string().contains("is damaged: a message has an invalid header (0x7)"), "{e}");
    assert!(matches!(queue.get(), Err(GetError::Damaged(_))));
    assert!(matches!(queue.try_get(), Err(GetError::Damaged(_))));
    assert!(matches!(joinable.join(), Err(queue::JoinError::Damaged(_))));
    assert!(matches!(condition.wait(held), Err(WaitError::Damaged(_))));
    assert!(matches!(lock.acquire(), Err(AcquireError::Damaged(_))));
    assert!(matches!(lock.try_acquire(), Err(AcquireError::Damaged(_))));
    assert!(matches!(rlock.acquire_timeout(Duration::from_millis(1)), Err(AcquireError::Damaged(_))));
    assert!(matches!(ours.send(1), Err(SendError::Damaged(1, _))));
    assert!(matches!(theirs.recv(), Err(RecvError::Damaged(_))));
    assert!(matches!(barrier.wait(), Err(BarrierError::Damaged(_))));
    let told = |result: std::io::Result<Vec<usize>>| result.is_err_and(|e| e.to_string().contains("is damaged"));
    assert!(told(kettle::wait(&[&event], None)) && told(kettle::wait(&[&full], Some(Duration::ZERO))));
    assert!(matches!(waiting_for_any.join(), Ok(true)), "who waits for several things is told");
    assert!(kettle::wait(&[&threads_event], Some(Duration::ZERO)).is_ok_and(|ready| ready == [0]));
    let refused: OutOfMemory = Queue::<u8>::new().err().ok_or("a queue was made")?;
    assert!(refused.to_string().contains("is damaged"), "{refused}");

    let panics = |call: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(call)).expect_err("it has no other way to say so");
        let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains("is damaged"), "{text}");
    };
    panics(&|| drop(semaphore.acquire()));
    panics(&|| drop(semaphore.try_acquire()));
    panics(&|| event.wait());
    panics(&|| _ = value.get());

    let Ok(lock) = threads::Lock::new(1);
    *lock.acquire()? += 1;
    Ok(())
}
