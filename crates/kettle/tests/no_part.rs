//! A process that cannot take part in its session, since the table of processes is full: what needs to name it says so
//! by the error that it has, and none panics.
//!
//! By itself, since the table stays full.

use std::time::Duration;

use kettle::pipe::{RecvError, SendError};
use kettle::sync::{BarrierError, WaitError};
use kettle::{
    AcquireError, Barrier, Condition, Event, GetError, JoinableQueue, Lock, OutOfMemory, PutError, Queue, RLock,
    Semaphore, Value, pipe,
};
use kettle_core::arena::{self, participants};

const LONG: usize = 1 << 20;

#[test]
fn everything_says_so() -> Result<(), Box<dyn std::error::Error>> {
    let (queue, joinable) = (Queue::new()?, JoinableQueue::<u8>::new()?);
    let (lock, guarded, rlock) = (Lock::new(1u32)?, Lock::new(2u32)?, RLock::new()?);
    let (condition, barrier, alone) = (Condition::new()?, Barrier::new(2)?, Barrier::new(1)?);
    let (event, semaphore, value) = (Event::new()?, Semaphore::new(1)?, Value::new(1u64)?);
    let (ours, theirs) = pipe::<Vec<u8>, Vec<u8>>()?;
    queue.put(1)?;
    joinable.put(1)?;
    ours.send(vec![1; LONG])?;
    let held = guarded.acquire()?;

    // SAFETY: what is used from here on is not used as one that takes part. Nothing else does, so nothing is reclaimed.
    unsafe { arena::leave() };
    while participants::reserve_child().is_ok() {}
    let why = participants::try_me().expect_err("there is no room left").to_string();
    let said = |e: &OutOfMemory| e.to_string() == why;

    assert!(matches!(queue.put(2), Err(PutError::OutOfMemory(2, e)) if said(&e)));
    assert!(matches!(queue.try_put(2), Err(PutError::OutOfMemory(2, e)) if said(&e)));
    assert!(matches!(queue.get(), Err(GetError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(queue.try_get(), Err(GetError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(joinable.get_timeout(Duration::from_secs(1)), Err(GetError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(ours.send(vec![2; LONG]), Err(SendError::OutOfMemory(_, e)) if said(&e)));
    assert!(matches!(theirs.recv(), Err(RecvError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(lock.acquire(), Err(AcquireError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(lock.try_acquire(), Err(AcquireError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(lock.acquire_timeout(Duration::from_secs(1)), Err(AcquireError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(rlock.acquire(), Err(AcquireError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(rlock.try_acquire(), Err(AcquireError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(condition.wait(held), Err(WaitError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(barrier.wait(), Err(BarrierError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(alone.wait(), Err(BarrierError::OutOfMemory(e)) if said(&e)));
    assert!(matches!(Queue::<u8>::new(), Err(e) if said(&e)));
    assert_eq!((barrier.statistics().waiting, barrier.is_broken()), (0, false), "it did not arrive");

    // What does not name its process goes on.
    event.set();
    event.wait();
    drop(semaphore.acquire());
    assert_eq!(value.get(), 1);
    assert_eq!(queue.len(), 1, "the message is where it was");
    Ok(())
}
