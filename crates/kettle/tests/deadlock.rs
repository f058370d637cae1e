//! Threads that wait for each other, of one and of two processes: one is told, or it is reported, as the policy says.

mod support;

use std::error::Error;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use kettle::deadlock::{self, Deadlock, Policy};
use kettle::{AcquireError, threads};
use support::{LONG, SHORT, watchdog};

kettle::init_in_tests!();

type Outcome = Result<(), Box<dyn Error>>;

/// Policy, threshold and hook are the process's: one test at a time.
fn alone(policy: Policy) -> (MutexGuard<'static, ()>, support::Watchdog, Receiver<Deadlock>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    deadlock::set_policy(policy);
    deadlock::set_threshold(Duration::from_millis(50));
    let (sender, reports) = mpsc::channel();
    deadlock::on_report(move |found| {
        // Two threads wait for ever; where the policy was off, they are found anew afterwards.
        if !(ARE_LEFT.load(Ordering::SeqCst) && found.to_string().contains("Lock 'milk'")) {
            drop(sender.send(found.clone()));
        }
    });
    (alone, watchdog(), reports)
}

/// A test has left two threads that wait for each other, for the locks 'milk' and 'tea'.
static ARE_LEFT: AtomicBool = AtomicBool::new(false);

/// Two threads, each of which holds one of two locks of a kind, and wants the other one for as long as it takes.
macro_rules! embrace {
    ($one:expr, $other:expr) => {{
        let (one, other) = ($one, $other);
        let both = threads::Barrier::new(2)?;
        let (sender, results) = mpsc::channel();
        for name in ["left", "right"] {
            let (one, other, both, sender) = (one.clone(), other.clone(), both.clone(), sender.clone());
            thread::Builder::new().name(name.into()).spawn(move || {
                let (mine, theirs) = (one.acquire().map(drop), other.acquire().map(drop));
                assert!(mine.is_ok() && theirs.is_ok());
                both.wait().expect("both are free");
                let result = match name {
                    "left" => one.acquire().and_then(|_mine| {
                        both.wait().expect("both hold");
                        other.acquire().map(drop)
                    }),
                    _ => other.acquire().and_then(|_mine| {
                        both.wait().expect("both hold");
                        one.acquire().map(drop)
                    }),
                };
                drop(sender.send((name, result)));
            })?;
        }
        results
    }};
}

/// Of two results, one is an error and the other is not.
fn told(results: &Receiver<(&str, Result<(), AcquireError>)>) -> Deadlock {
    let results: Vec<_> = (0..2).map(|_| results.recv_timeout(LONG).expect("both go on").1).collect();
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match <[AcquireError; 1]>::try_from(errors) {
        Ok([AcquireError::Deadlock(found)]) => *found,
        others => panic!("{others:?}"),
    }
}

#[test]
fn one_of_two_that_want_each_others_rlocks_is_told() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Report);
    let found = told(&embrace!(threads::RLock::new()?.named("tea"), threads::RLock::new()?));
    assert!(found.certain && found.members.len() == 2);
    let text = found.to_string();
    let line = line!() - 3;
    assert!(text.contains(&format!("RLock 'tea', made at {}:{line}", file!())), "{text}");
    assert!(text.contains(&format!("RLock made at {}:{line}", file!())), "{text}");
    assert!(text.contains("left (pid") && text.contains("right (pid"), "{text}");
    assert!(reports.try_recv().is_err(), "what is an error is not reported");
    Ok(())
}

#[test]
fn locks_in_shared_memory_are_no_different() -> Outcome {
    let (_alone, _dog, _reports) = alone(Policy::Report);
    let found = told(&embrace!(kettle::RLock::new()?.named("tea"), kettle::RLock::new()?));
    assert!(found.certain && found.to_string().contains("RLock 'tea', made at "));
    Ok(())
}

#[test]
fn a_circle_may_lead_through_both_kinds() -> Outcome {
    let (_alone, _dog, _reports) = alone(Policy::Report);
    let found = told(&embrace!(kettle::RLock::new()?.named("shared"), threads::RLock::new()?.named("own")));
    assert!(found.certain);
    let text = found.to_string();
    assert!(text.contains("'shared'") && text.contains("'own'"), "{text}");
    Ok(())
}

#[test]
fn plain_locks_raise_where_they_are_told_to() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Raise);
    assert!(!told(&embrace!(threads::Lock::new("milk")?, threads::Lock::new("tea")?)).certain);
    assert!(!told(&embrace!(kettle::Lock::new(1)?, kettle::Lock::new(2)?)).certain);
    // There is a plain lock in the cycle, and another thread might release it.
    assert!(!told(&embrace!(threads::RLock::new()?, kettle::Lock::new(2)?)).certain);
    // At once: each guard is its thread's.
    assert_eq!(reports.try_recv().ok().map(|found| found.to_string()), None);
    Ok(())
}

/// Two threads that wait for each other's lock, of which the first took its own as a task: it goes to this thread,
/// which drops it once that was reported. What the two got.
#[cfg(feature = "tokio")]
macro_rules! embrace_of_a_task {
    ($reports:expr, $one:expr, $other:expr) => {{
        let (one, other, both) = ($one, $other, threads::Barrier::new(2)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| -> Result<_, Box<dyn Error>> {
            let task = scope.spawn(|| {
                let mine = runtime.block_on(one.acquire_async()).expect("it is free");
                drop(sender.send(mine));
                both.wait().expect("both hold");
                other.acquire().map(drop)
            });
            let thread = scope.spawn(|| {
                let _mine = other.acquire().expect("it is free");
                both.wait().expect("both hold");
                one.acquire().map(drop)
            });
            let mine = receiver.recv()?;
            let found = $reports.recv_timeout(LONG)?;
            assert!(found.members.len() == 2 && !found.certain, "{found}");
            thread::sleep(Duration::from_millis(600));
            drop(mine);
            Ok([task, thread].map(|one| one.join().expect("no panic")))
        })?
    }};
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_may_go_on_elsewhere_so_it_is_reported_only() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Raise);
    let own = embrace_of_a_task!(reports, threads::Lock::new(1)?, threads::Lock::new(2)?);
    assert_eq!(own, [Ok(()), Ok(())]);
    let shared = embrace_of_a_task!(reports, kettle::Lock::new(1)?, kettle::Lock::new(2)?);
    assert_eq!(shared, [Ok(()), Ok(())]);
    assert!(reports.try_recv().is_err(), "once each");
    Ok(())
}

#[test]
fn plain_locks_are_reported_once_and_go_on_waiting() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Report);
    let results = embrace!(threads::Lock::new(1)?.named("milk"), threads::Lock::new(2)?.named("tea"));
    let found = reports.recv_timeout(LONG)?;
    assert!(!found.certain && found.to_string().contains("Lock 'milk'"), "{found}");
    assert!(results.try_recv().is_err());
    assert!(reports.recv_timeout(Duration::from_millis(300)).is_err(), "once");
    ARE_LEFT.store(true, Ordering::SeqCst);
    Ok(())
}

#[test]
fn no_thread_is_told_where_it_is_off() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Off);
    let results = embrace!(threads::RLock::new()?, threads::RLock::new()?);
    assert!(results.recv_timeout(Duration::from_millis(300)).is_err());
    assert!(reports.try_recv().is_err());
    deadlock::set_policy(Policy::Report);
    told(&results);
    Ok(())
}

#[test]
fn a_wait_with_a_limit_is_no_part_of_it() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Raise);
    let (one, other) = (threads::RLock::new()?, threads::RLock::new()?);
    let both = threads::Barrier::new(2)?;
    thread::scope(|scope| {
        let patient = scope.spawn(|| {
            let _mine = other.acquire()?;
            both.wait().expect("both hold");
            one.acquire().map(drop)
        });
        let mine = one.acquire();
        both.wait().expect("both hold");
        let late = other.acquire_timeout(Duration::from_millis(300)).map(drop);
        assert_eq!(late, Err(AcquireError::TimedOut));
        drop(mine);
        assert_eq!(patient.join().expect("no panic"), Ok(()));
    });
    assert!(reports.try_recv().is_err());
    Ok(())
}

#[test]
fn a_holder_that_has_ended_is_told_of() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Report);
    let certain = |result: Result<(), AcquireError>| match result {
        Err(AcquireError::Deadlock(found)) => assert!(found.ended.is_some() && found.certain, "{found}"),
        other => panic!("{other:?}"),
    };
    let (own, shared, plain) = (threads::RLock::new()?, kettle::RLock::new()?, threads::Lock::new(0)?);
    thread::scope(|scope| {
        scope.spawn(|| {
            mem::forget(own.acquire());
            mem::forget(shared.acquire());
            mem::forget(plain.acquire());
        });
    });
    certain(own.acquire().map(drop));
    certain(shared.acquire().map(drop));
    // Of a plain lock nothing is said: another thread may still give it back in the holder's place.
    thread::spawn(move || drop(plain.acquire()));
    assert!(reports.recv_timeout(Duration::from_millis(500)).is_err());
    Ok(())
}

kettle::task! {
    /// Takes the second, and wants the first.
    fn embrace_from_afar(first: kettle::RLock, second: kettle::RLock, both: kettle::Barrier) -> Option<String> {
        deadlock::set_threshold(Duration::from_millis(50));
        let _mine = second.acquire().expect("it is free");
        both.wait().expect("both hold");
        match first.acquire() {
            Ok(_theirs) => None,
            Err(told) => Some(told.to_string()),
        }
    }

    fn what_is_done() -> String {
        format!("{:?}", deadlock::policy())
    }
}

#[test]
fn a_circle_of_two_processes_names_the_locks_of_both() -> Outcome {
    let (_alone, _dog, _reports) = alone(Policy::Report);
    let (first, second) = (kettle::RLock::new()?.named("first"), kettle::RLock::new()?.named("second"));
    let both = kettle::Barrier::new(2)?;
    let other = embrace_from_afar::start(first.clone(), second.clone(), both.clone())?;
    let mine = first.acquire()?;
    both.wait()?;
    let here = second.acquire().map(drop);
    drop(mine);
    let there = other.join()?;
    assert_eq!(here.is_err(), there.is_none(), "one of them is told: {here:?}, {there:?}");
    let text = here.err().map(|told| told.to_string()).or(there).unwrap_or_default();
    for part in ["2 threads wait for each other", "RLock 'first', made at ", "RLock 'second', made at "] {
        assert!(text.contains(part), "{text}");
    }
    Ok(())
}

#[test]
fn children_do_as_their_parent() -> Outcome {
    for policy in [Policy::Raise, Policy::Off, Policy::Report] {
        let _alone = alone(policy);
        assert_eq!(what_is_done::start()?.join()?, format!("{policy:?}"));
    }
    Ok(())
}

#[test]
fn a_lock_that_is_got_in_time_is_not_asked_about() -> Outcome {
    let (_alone, _dog, reports) = alone(Policy::Raise);
    let lock = threads::Lock::new(0)?;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20_000).for_each(|_| *lock.acquire().expect("it comes round") += 1));
        }
    });
    assert_eq!(*lock.acquire()?, 80_000);
    assert!(reports.recv_timeout(SHORT).is_err());
    Ok(())
}
