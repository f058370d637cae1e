// Included into two modules of places.rs, with other types for the same names.

use std::error::Error;
use std::thread;
use std::time::Duration;

use kettle::queue::{JoinError, TooManyDone};
use kettle::sync::{BarrierError, ReleasedTooOften};
use kettle::{AcquireError, GetError, OutOfMemory, PutError};

use crate::support::{LONG, SHORT, watchdog};

type Outcome = Result<(), Box<dyn Error>>;

fn count(lock: Lock<u64>) {
    for _ in 0..1_000 {
        *lock.acquire().expect("no holder died") += 1;
    }
}

#[test]
fn a_lock_excludes() -> Outcome {
    let _dog = watchdog();
    let lock = Lock::new(0)?.named("the counter");
    let threads: Vec<_> = (0..3).map(|_| lock.clone()).map(|lock| thread::spawn(|| count(lock))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let guard = lock.acquire()?;
    assert_eq!(*guard, 3_000);
    assert_eq!(lock.try_acquire().map(drop), Err(AcquireError::TimedOut));
    assert_eq!(lock.acquire_timeout(SHORT).map(drop), Err(AcquireError::TimedOut));
    assert_eq!(lock.reset().unwrap_err().pid, Some(std::process::id()));
    assert!(lock.is_locked() && lock.statistics().contended >= 2);
    drop(guard);
    assert_eq!(format!("{lock:?}"), "Lock { locked: false, broken: false, .. }");
    Ok(())
}

#[test]
fn a_reentrant_lock_is_its_holders_alone() -> Outcome {
    let _dog = watchdog();
    let lock = RLock::with_policy(OnOwnerDeath::Raise)?;
    let outer = lock.acquire()?;
    let inner = lock.try_acquire()?;
    let elsewhere =
        |lock: RLock| thread::spawn(move || lock.acquire_timeout(SHORT).map(drop)).join().expect("no panic");
    assert_eq!(elsewhere(lock.clone()), Err(AcquireError::TimedOut));
    drop((outer, inner));
    assert_eq!(elsewhere(lock), Ok(()));
    Ok(())
}

#[test]
fn semaphores_let_so_many_in() -> Outcome {
    let _dog = watchdog();
    let seats = Semaphore::new(2)?;
    let (one, other) = (seats.acquire(), seats.try_acquire());
    assert!(other.is_some() && seats.try_acquire().is_none() && seats.acquire_timeout(SHORT).is_none());
    let waiting = seats.clone();
    let waiting = thread::spawn(move || waiting.acquire().forget());
    drop(one);
    waiting.join().expect("no panic");
    drop(other);
    assert_eq!(seats.available(), 1);
    seats.release(3)?;
    assert_eq!(seats.statistics().value, 4);

    let one = BoundedSemaphore::new(1)?;
    assert_eq!(one.release(1), Err(ReleasedTooOften));
    drop(one.acquire());
    assert_eq!(one.available(), 1);
    Ok(())
}

#[test]
fn turns_are_taken_by_a_condition() -> Outcome {
    let _dog = watchdog();
    let (lock, turn) = (Lock::new(0u32)?, Condition::new()?);
    let take_turns = |mine: u32| {
        let (lock, turn) = (lock.clone(), turn.clone());
        thread::spawn(move || {
            for _ in 0..50 {
                let mut whose = turn.wait_while(lock.acquire().unwrap(), |whose| *whose % 3 != mine).unwrap();
                *whose += 1;
                turn.notify_all();
            }
        })
    };
    let threads: Vec<_> = (0..3).map(take_turns).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let (guard, notified) = turn.wait_timeout(lock.acquire()?, SHORT)?;
    assert!(!notified && *guard == 150);
    let (guard, changed) = turn.wait_timeout_while(guard, SHORT, |n| *n == 150)?;
    assert!(!changed);
    drop(guard);
    turn.notify_one();
    assert_eq!(turn.statistics().waiting, 0);
    Ok(())
}

#[test]
fn a_barrier_holds_all_and_breaks_for_all() -> Outcome {
    let _dog = watchdog();
    let barrier = Barrier::new(3)?;
    let meet = || {
        let barrier = barrier.clone();
        thread::spawn(move || (0..20).filter(|_| barrier.wait().unwrap().is_leader()).count())
    };
    let threads: Vec<_> = (0..3).map(|_| meet()).collect();
    let led: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    assert_eq!((led, barrier.statistics().rounds), (20, 20));
    assert_eq!(barrier.wait_timeout(SHORT), Err(BarrierError::Broken));
    assert!(barrier.is_broken() && barrier.wait().is_err());
    barrier.reset();
    assert!(!barrier.is_broken() && barrier.parties() == 3);
    let mut acted = false;
    assert_eq!(Barrier::new(1)?.wait_and(|| acted = true).map(|result| result.index()), Ok(0));
    assert!(acted);
    Ok(())
}

#[test]
fn an_event_wakes_all() -> Outcome {
    let _dog = watchdog();
    let event = Event::new()?;
    assert!(!event.wait_timeout(SHORT));
    let threads: Vec<_> = (0..3).map(|_| event.clone()).map(|event| thread::spawn(move || event.wait())).collect();
    event.set();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(event.wait_timeout(LONG) && event.statistics().is_set);
    event.clear();
    assert!(!event.is_set());
    Ok(())
}

#[test]
fn a_queue_is_full_empty_and_shut_down() -> Outcome {
    let _dog = watchdog();
    let queue = Queue::bounded(2)?;
    queue.put("one".to_string())?;
    queue.put("two".to_string())?;
    assert!(queue.is_full() && queue.maxsize() == Some(2));
    assert!(matches!(queue.try_put("three".into()), Err(PutError::Full(item)) if item == "three"));
    assert_eq!(queue.put_timeout("three".into(), SHORT).unwrap_err().into_inner(), "three");
    let taker = queue.clone();
    let taker = thread::spawn(move || taker.iter().map(|item| item.expect("an item")).collect::<Vec<_>>());
    queue.put("three".into())?;
    queue.shutdown();
    assert_eq!(taker.join().expect("no panic"), ["one", "two", "three"]);
    assert!(queue.is_shut_down() && queue.is_empty());
    assert_eq!(queue.get(), Err(GetError::ShutDown));
    assert!(matches!(queue.put("four".into()), Err(PutError::ShutDown(_))));
    assert_eq!(queue.statistics().got, 3);

    let queue = Queue::new()?;
    assert_eq!((queue.try_get(), queue.get_timeout(SHORT)), (Err(GetError::Empty), Err(GetError::Empty)));
    queue.put(1)?;
    queue.shutdown_now();
    assert_eq!(queue.get(), Err(GetError::ShutDown));
    Ok(())
}

#[test]
fn a_joinable_queue_knows_what_is_done() -> Outcome {
    let _dog = watchdog();
    let jobs = JoinableQueue::new()?;
    let worker = jobs.clone();
    let worker = thread::spawn(move || {
        let mut sum = 0;
        while let Ok(job) = worker.get() {
            sum += job;
            worker.task_done().expect("one is outstanding");
        }
        sum
    });
    for job in 0..100 {
        jobs.put(job)?;
    }
    jobs.join()?;
    assert_eq!((jobs.len(), jobs.unfinished(), jobs.task_done()), (0, 0, Err(TooManyDone)));
    jobs.shutdown();
    assert_eq!(worker.join().expect("no panic"), 4950);

    let jobs = JoinableQueue::new()?;
    jobs.put(1)?;
    assert_eq!(jobs.join_timeout(SHORT), Err(JoinError::TimedOut));
    Ok(())
}

#[test]
fn a_wait_for_any_of_several() -> Outcome {
    let _dog = watchdog();
    let (queue, event, lock, seats) = (Queue::<u32>::new()?, Event::new()?, Lock::new(0u8)?, Semaphore::new(0)?);
    let guard = lock.acquire()?;
    let ready = || kettle::wait(&[&queue, &event, &lock, &seats], Some(Duration::ZERO));
    assert_eq!(ready()?, []);
    let setter = {
        let event = event.clone();
        thread::spawn(move || event.set())
    };
    assert_eq!(kettle::wait(&[&queue, &event, &lock, &seats], None)?, [1]);
    setter.join().expect("no panic");
    let putter = {
        let queue = queue.clone();
        thread::spawn(move || queue.put(1).expect("it is open"))
    };
    assert_eq!(kettle::wait(&[&queue, &lock], None)?, [0]);
    putter.join().expect("no panic");
    drop(guard);
    seats.release(1)?;
    assert_eq!(ready()?, [0, 1, 2, 3]);
    Ok(())
}

#[test]
fn a_function_may_make_things_of_either_kind() -> Outcome {
    fn make() -> Result<(Lock<u8>, SimpleQueue<u8>), OutOfMemory> {
        Ok((Lock::new(3)?, SimpleQueue::new()?))
    }
    let (lock, queue) = make()?;
    queue.put(*lock.acquire()?)?;
    assert_eq!(queue.get(), Ok(3));
    Ok(())
}

#[cfg(feature = "tokio")]
mod awaited {
    use super::*;

    use tokio::runtime::Builder;
    use tokio::time::timeout;

    fn run(test: impl AsyncFnOnce() -> Outcome) -> Outcome {
        let _dog = watchdog();
        Builder::new_current_thread().enable_all().build()?.block_on(test())
    }

    #[test]
    fn what_threads_do_is_seen_by_tasks() -> Outcome {
        run(async || {
            let (queue, done) = (Queue::bounded(2)?, Event::new()?);
            let putter = {
                let (queue, done) = (queue.clone(), done.clone());
                thread::spawn(move || {
                    (0..500).for_each(|n| queue.put(n).expect("it is open"));
                    done.set();
                })
            };
            for n in 0..500 {
                assert_eq!(timeout(LONG, queue.get_async()).await?, Ok(n));
            }
            timeout(LONG, done.wait_async()).await?;
            putter.join().expect("no panic");

            let taker = queue.clone();
            let taker = thread::spawn(move || (0..500).map(|_| taker.get().expect("an item")).sum::<i32>());
            for n in 0..500 {
                timeout(LONG, queue.put_async(n)).await??;
            }
            assert_eq!(taker.join().expect("no panic"), 124_750);
            assert!(timeout(SHORT, queue.get_async()).await.is_err());
            Ok(())
        })
    }

    #[test]
    fn a_lock_and_a_permit_come_to_a_task() -> Outcome {
        run(async || {
            let (lock, seats, held) = (Lock::new(1u32)?, Semaphore::new(1)?, Barrier::new(2)?);
            let holder = {
                let (lock, seats, held) = (lock.clone(), seats.clone(), held.clone());
                thread::spawn(move || {
                    let (mut guard, permit) = (lock.acquire().expect("it is free"), seats.acquire());
                    held.wait().expect("both come");
                    *guard += 1;
                    drop((guard, permit));
                })
            };
            timeout(LONG, held.wait_async()).await??;
            let _permit = timeout(LONG, seats.acquire_async()).await?;
            let guard = timeout(LONG, lock.acquire_async()).await??;
            assert_eq!(*guard, 2);
            holder.join().expect("no panic");
            assert!(timeout(SHORT, lock.acquire_async()).await.is_err());
            Ok(())
        })
    }

    #[test]
    fn a_join_comes_to_a_task() -> Outcome {
        run(async || {
            let jobs = JoinableQueue::new()?;
            jobs.put(1)?;
            assert!(timeout(SHORT, jobs.join_async()).await.is_err());
            let worker = jobs.clone();
            let worker = thread::spawn(move || {
                worker.get().expect("a job");
                worker.task_done().expect("one is outstanding");
            });
            timeout(LONG, jobs.join_async()).await??;
            worker.join().expect("no panic");
            Ok(())
        })
    }
}
