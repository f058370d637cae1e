//! Locks for readers and writers, and mutexes, in both worlds.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use kettle::threads::{self, Condition, MappedMutexGuard, Mutex, MutexGuard, OnOwnerDeath};
use kettle::{AcquireError, Event, OwnerDied, RwLock, Value};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

kettle::task! {
    fn read_until(lock: RwLock<u64>, reading: Event, go: Event) {
        let seen = lock.read().unwrap();
        reading.set();
        go.wait();
        assert_eq!(*lock.read().unwrap(), *seen);
    }

    fn write_until(lock: RwLock<u64>, writing: Event, go: Event) {
        let mut value = lock.write().unwrap();
        *value += 1;
        writing.set();
        go.wait();
    }

    fn want_to_write(lock: RwLock<u64>, wants: Event) {
        assert!(matches!(lock.try_write(), Err(AcquireError::TimedOut)));
        wants.set();
        *lock.write().unwrap() += 100;
    }

    fn count(lock: RwLock<[u64; 2]>, inside: Value<u32>, to: u64) {
        for n in 0..to {
            if n % 4 == 0 {
                let mut pair = lock.write().unwrap();
                assert_eq!(inside.fetch_add(1), 0, "beside a writer");
                pair[0] += 1;
                pair[1] += 1;
                inside.fetch_sub(1);
            } else {
                let pair = lock.read().unwrap();
                assert_eq!(inside.get(), 0, "a reader beside a writer");
                assert_eq!(pair[0], pair[1]);
            }
        }
    }
}

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

/// The process that died, as the error says.
fn dead<G>(acquired: Result<G, AcquireError>) -> Option<u32> {
    match acquired.err() {
        Some(AcquireError::OwnerDied(OwnerDied { pid, .. })) => pid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn readers_share_and_writers_do_not() {
    let _dog = watchdog();
    let lock = threads::RwLock::new(1);
    let (first, second) = (lock.read().unwrap(), lock.try_read().unwrap());
    assert_eq!(*first + *second, 2);
    assert_eq!(lock.statistics().readers, 2);
    assert!(matches!(lock.try_write(), Err(AcquireError::TimedOut)));
    assert!(matches!(lock.write_timeout(SHORT), Err(AcquireError::TimedOut)));
    drop((first, second));
    *lock.write_timeout(LONG).unwrap() += 1;
    let writer = lock.write().unwrap();
    assert!(matches!(lock.try_read(), Err(AcquireError::TimedOut)));
    assert!(matches!(lock.read_timeout(SHORT), Err(AcquireError::TimedOut)));
    drop(writer);
    assert_eq!(lock.into_inner(), Ok(2));
}

#[test]
fn a_writer_that_waits_keeps_later_readers_out() {
    let _dog = watchdog();
    let lock = threads::RwLock::new(0);
    let reader = lock.read().unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| *lock.write().unwrap() = 1);
        while lock.try_read().is_ok() {
            thread::yield_now();
        }
        let later = scope.spawn(|| *lock.read().unwrap());
        drop(reader);
        writer.join().unwrap();
        assert_eq!(later.join().unwrap(), 1);
    });
}

#[test]
fn threads_see_whole_values() {
    let _dog = watchdog();
    static LOCK: threads::RwLock<(u64, u64)> = threads::RwLock::new((0, 0));
    static INSIDE: AtomicU32 = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..2000 {
                    if n % 4 == 0 {
                        let mut pair = LOCK.write().unwrap();
                        assert_eq!(INSIDE.fetch_add(1, Ordering::SeqCst), 0);
                        pair.0 += 1;
                        pair.1 += 1;
                        INSIDE.fetch_sub(1, Ordering::SeqCst);
                    } else {
                        let pair = LOCK.read().unwrap();
                        assert_eq!(INSIDE.load(Ordering::SeqCst), 0);
                        assert_eq!(pair.0, pair.1);
                    }
                }
            });
        }
    });
    assert_eq!(*LOCK.read().unwrap(), (2000, 2000));
}

#[test]
fn a_writer_that_panics_breaks_it_and_a_reader_does_not() {
    let _dog = watchdog();
    let mut lock = threads::RwLock::new(1);
    panics(|| {
        let _reader = lock.read().unwrap();
        panic!("while it reads");
    });
    assert!(!lock.is_broken());
    panics(|| {
        *lock.write().unwrap() += 1;
        let _writer = lock.write().unwrap();
        panic!("half way");
    });
    assert!(lock.is_broken());
    assert_eq!(dead(lock.read()), Some(std::process::id()));
    assert_eq!(dead(lock.try_write()), Some(std::process::id()));
    assert!(lock.get_mut().is_err());
    lock.reset().unwrap();
    assert_eq!(lock.get_mut(), Ok(&mut 2));
    assert_eq!(*lock.read().unwrap(), 2);
    assert!(lock.reset().is_ok());
    let writer = lock.write().unwrap();
    assert_eq!(lock.reset().unwrap_err().pid, Some(std::process::id()));
    drop(writer);

    let lock = threads::RwLock::with_policy(1, OnOwnerDeath::Recover);
    for reads in [true, false] {
        panics(|| {
            let _writer = lock.write().unwrap();
            panic!("half way");
        });
        if reads {
            let reader = lock.read().unwrap();
            assert!(threads::RwLockReadGuard::recovered_from(&reader).is_some());
        } else {
            let writer = lock.write().unwrap();
            assert!(threads::RwLockWriteGuard::recovered_from(&writer).is_some());
        }
        assert!(threads::RwLockReadGuard::recovered_from(&lock.read().unwrap()).is_none(), "it is told once");
    }
    // A reader in the way of a writer, which gives up, takes nothing from the news.
    panics(|| {
        let _writer = lock.write().unwrap();
        panic!("half way");
    });
    assert!(threads::RwLockWriteGuard::recovered_from(&lock.write().unwrap()).is_some());
}

#[test]
fn processes_see_whole_values() {
    let _dog = watchdog();
    let (lock, inside) = (RwLock::new([0, 0]).unwrap(), Value::new(0).unwrap());
    let counters: Vec<_> = (0..3).map(|_| count::start(lock.clone(), inside.clone(), 1000).unwrap()).collect();
    counters.into_iter().for_each(|counter| counter.join().unwrap());
    assert_eq!(*lock.read().unwrap(), [750, 750]);
}

#[test]
fn a_reader_that_is_killed_keeps_no_writer_out() {
    let _dog = watchdog();
    let lock = RwLock::new(7).unwrap();
    let (reading, go) = (Event::new().unwrap(), Event::new().unwrap());
    let reader = read_until::start(lock.clone(), reading.clone(), go.clone()).unwrap();
    reading.wait();
    assert!(matches!(lock.try_write(), Err(AcquireError::TimedOut)));
    assert_eq!(*lock.read().unwrap(), 7);
    let waiting = thread::spawn({
        let lock = lock.clone();
        move || *lock.write().unwrap() += 1
    });
    while lock.try_read().is_ok() {
        thread::yield_now();
    }
    reader.kill().unwrap();
    waiting.join().unwrap();
    assert_eq!(*lock.read().unwrap(), 8);

    // One that is dead before the writer comes, which does not wait.
    reading.clear();
    let reader = read_until::start(lock.clone(), reading.clone(), go).unwrap();
    reading.wait();
    reader.kill().unwrap();
    reader.wait().unwrap();
    *lock.try_write().unwrap() += 1;
    assert_eq!(*lock.read().unwrap(), 9);
    assert!(!lock.is_broken());
}

#[test]
fn a_writer_that_is_killed_is_told_of() {
    let _dog = watchdog();
    for policy in [OnOwnerDeath::Raise, OnOwnerDeath::Recover] {
        let lock = RwLock::with_policy(7, policy).unwrap();
        let (writing, go) = (Event::new().unwrap(), Event::new().unwrap());
        let writer = write_until::start(lock.clone(), writing.clone(), go).unwrap();
        writing.wait();
        assert!(matches!(lock.try_read(), Err(AcquireError::TimedOut)));
        let waiting = thread::spawn({
            let lock = lock.clone();
            move || lock.read().map(|reader| kettle::sync::RwLockReadGuard::recovered_from(&reader))
        });
        writer.kill().unwrap();
        let told = waiting.join().unwrap();
        if policy == OnOwnerDeath::Raise {
            assert_eq!(dead(told), Some(writer.pid()));
            assert_eq!(dead(lock.write()), Some(writer.pid()));
            assert!(lock.is_broken());
            lock.reset().unwrap();
        } else {
            assert_eq!(told.unwrap().unwrap().pid, Some(writer.pid()));
        }
        assert_eq!(*lock.read().unwrap(), 7, "nothing was written");
        *lock.write().unwrap() += 1;
    }
}

#[test]
fn a_writer_that_is_killed_while_it_waits_leaves_no_trace() {
    let _dog = watchdog();
    let lock = RwLock::new(7).unwrap();
    let reader = lock.read().unwrap();
    let wants = Event::new().unwrap();
    let writer = want_to_write::start(lock.clone(), wants.clone()).unwrap();
    wants.wait();
    while lock.try_read().is_ok() {
        thread::yield_now();
    }
    writer.kill().unwrap();
    assert_eq!(*lock.read().unwrap(), 7);
    drop(reader);
    *lock.write().unwrap() += 1;
    assert_eq!(*lock.read().unwrap(), 8);
}

#[test]
fn more_readers_than_there_is_room_for_wait() {
    let _dog = watchdog();
    let lock = RwLock::new(1).unwrap();
    let readers: Vec<_> = std::iter::from_fn(|| lock.try_read().ok()).collect();
    assert_eq!(readers.len(), 64);
    thread::scope(|scope| {
        let late = scope.spawn(|| *lock.read().unwrap());
        drop(readers);
        assert_eq!(late.join().unwrap(), 1);
    });
}

#[test]
fn a_panic_leaves_the_shared_value_as_it_was() {
    let lock = RwLock::new(1).unwrap();
    panics(|| {
        *lock.write().unwrap() = 2;
        let mut writer = lock.write().unwrap();
        *writer = 3;
        panic!("half way");
    });
    assert_eq!(*lock.read().unwrap(), 2);
}

static COUNTER: Mutex<u32> = Mutex::new(0);

#[test]
fn a_mutex_is_a_static() {
    let _dog = watchdog();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1000).for_each(|_| *COUNTER.lock().unwrap() += 1));
        }
    });
    assert_eq!(*COUNTER.lock().unwrap(), 4000);
    let guard = COUNTER.try_lock().unwrap();
    assert!(matches!(COUNTER.try_lock(), Err(AcquireError::TimedOut)));
    assert!(matches!(COUNTER.lock_timeout(SHORT), Err(AcquireError::TimedOut)));
    drop(guard);
}

#[test]
fn a_mapped_guard_holds_and_breaks_as_a_guard_does() {
    let _dog = watchdog();
    let mut mutex = Mutex::new((1, vec![String::from("a"), String::from("b")]));
    let part = MutexGuard::map(mutex.lock().unwrap(), |value| &mut value.1[..]);
    let mut word = MappedMutexGuard::map(part, |words| &mut words[1]);
    assert!(matches!(mutex.try_lock(), Err(AcquireError::TimedOut)));
    word.push('c');
    // It may go to another thread.
    thread::scope(|scope| {
        scope.spawn(move || {
            word.push('d');
            drop(word);
        });
    });
    assert_eq!(mutex.lock().unwrap().1[1], "bcd");
    // What chooses the part panics, and so does a holder of the part.
    panics(|| drop(MutexGuard::map(mutex.lock().unwrap(), |value| &mut value.1[7])));
    assert!(mutex.is_broken());
    mutex.reset().unwrap();
    panics(|| {
        let _part = MutexGuard::map(mutex.lock().unwrap(), |value| &mut value.0);
        panic!("half way");
    });
    assert_eq!(dead(mutex.lock()), Some(std::process::id()));
    assert!(mutex.get_mut().is_err());
    mutex.reset().unwrap();
    mutex.get_mut().unwrap().0 = 5;
    assert_eq!(mutex.into_inner().unwrap().0, 5);
    assert!(
        {
            let mutex = Mutex::new(0);
            panics(|| {
                let _guard = mutex.lock().unwrap();
                panic!("half way");
            });
            mutex.into_inner()
        }
        .is_err()
    );
}

#[test]
fn a_condition_waits_with_a_mutex() {
    let _dog = watchdog();
    let (mutex, changed) = (Mutex::new(0), Condition::default());
    let (waits, waiting) = mpsc::channel();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = mutex.lock().unwrap();
            waits.send(()).unwrap();
            *changed.wait_while(guard, |n| *n < 3).unwrap()
        });
        waiting.recv().unwrap();
        for _ in 0..3 {
            *mutex.lock().unwrap() += 1;
            changed.notify_one();
        }
        assert_eq!(waiter.join().unwrap(), 3);
    });
}

#[cfg(feature = "tokio")]
mod awaited {
    use super::*;
    use kettle::sync::RwLockWriteGuard;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
        let _dog = watchdog();
        Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test());
    }

    #[test]
    fn readers_and_writers_take_turns() {
        on_both(|| async {
            let lock = std::sync::Arc::new(threads::RwLock::new(0));
            let shared = RwLock::new(0).unwrap();
            let tasks: Vec<_> = (0..8)
                .map(|n| {
                    let (lock, shared) = (lock.clone(), shared.clone());
                    tokio::spawn(async move {
                        for _ in 0..100 {
                            if n % 2 == 0 {
                                let mut writer = lock.write_async().await.unwrap();
                                tokio::task::yield_now().await;
                                *writer += 1;
                                *shared.write_async().await.unwrap() += 1;
                            } else {
                                let before = *lock.read_async().await.unwrap();
                                let reader = shared.read_async().await.unwrap();
                                tokio::task::yield_now().await;
                                assert!(*reader >= before - 1);
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                timeout(LONG, task).await.unwrap().unwrap();
            }
            assert_eq!((*lock.read_async().await.unwrap(), *shared.read_async().await.unwrap()), (400, 400));
        });
    }

    #[test]
    fn a_wait_that_is_dropped_leaves_the_gate() {
        on_both(|| async {
            let lock = threads::RwLock::new(0);
            let reader = lock.read_async().await.unwrap();
            assert!(timeout(SHORT, lock.write_async()).await.is_err());
            assert!(lock.try_read().is_ok());
            drop(reader);
            let writer = lock.write_async().await.unwrap();
            assert!(timeout(SHORT, lock.read_async()).await.is_err());
            drop(writer);
            assert!(lock.try_write().is_ok());
        });
    }

    #[test]
    fn the_dead_are_told_of_and_not_waited_for() {
        on_both(|| async {
            let lock = RwLock::with_policy(7, OnOwnerDeath::Recover).unwrap();
            let (ready, go) = (Event::new().unwrap(), Event::new().unwrap());
            let reader = read_until::start(lock.clone(), ready.clone(), go.clone()).unwrap();
            ready.wait_async().await;
            let (written, ()) = tokio::join!(timeout(LONG, lock.write_async()), async { reader.kill().unwrap() });
            drop(written.unwrap().unwrap());
            ready.clear();
            let writer = write_until::start(lock.clone(), ready.clone(), go).unwrap();
            ready.wait_async().await;
            let (written, ()) = tokio::join!(timeout(LONG, lock.write_async()), async { writer.kill().unwrap() });
            let written = written.unwrap().unwrap();
            assert_eq!(RwLockWriteGuard::recovered_from(&written).unwrap().pid, Some(writer.pid()));
            assert_eq!(*written, 7);
        });
    }

    #[test]
    fn a_mutex_is_held_across_an_await() {
        on_both(|| async {
            let mutex = std::sync::Arc::new(Mutex::new(0));
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let mutex = mutex.clone();
                    tokio::spawn(async move {
                        for _ in 0..50 {
                            let mut n = mutex.lock_async().await.unwrap();
                            let before = *n;
                            tokio::task::yield_now().await;
                            *n = before + 1;
                        }
                    })
                })
                .collect();
            for task in tasks {
                timeout(LONG, task).await.unwrap().unwrap();
            }
            assert_eq!(*mutex.lock().unwrap(), 200);
        });
    }
}
