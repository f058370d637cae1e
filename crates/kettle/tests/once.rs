//! What one of several does, once: between processes and between threads.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use kettle::{Event, Once, OnceLock, Queue, Value, threads};
use support::watchdog;

kettle::init_in_tests!();

kettle::task! {
    fn ask(answer: OnceLock<[u64; 3]>, computed: Value<u64>) -> [u64; 3] {
        answer
            .get_or_init(|| {
                computed.fetch_add(1);
                [u64::from(std::process::id()); 3]
            })
            .unwrap()
    }

    fn begin_and_wait(once: Once, began: Event) {
        let forever = Event::new().unwrap();
        once.call_once(|| {
            began.set();
            forever.wait();
        })
        .unwrap();
    }

    fn do_it(once: Once, log: Queue<u32>) {
        once.call_once(|| log.put(std::process::id()).unwrap()).unwrap();
    }

    fn abort_in_it(once: Once) {
        let _ = once.call_once(|| std::process::abort());
    }
}

#[test]
fn all_processes_get_the_value_of_one() {
    let _dog = watchdog();
    let (answer, computed) = (OnceLock::new().unwrap(), Value::new(0).unwrap());
    assert_eq!(answer.get(), None);
    let processes = [0; 4].map(|_| ask::start(answer.clone(), computed.clone()).unwrap());
    let values = processes.map(|process| process.join().unwrap());
    assert_eq!(values, [values[0]; 4]);
    assert_eq!((answer.get(), computed.get()), (Some(values[0]), 1));
    assert_eq!(format!("{answer:?}"), format!("OnceLock({:?})", values[0]));
}

#[test]
fn when_a_process_dies_in_it_the_next_one_does_it() {
    let _dog = watchdog();
    let (once, began, log) = (Once::new().unwrap(), Event::new().unwrap(), Queue::new().unwrap());
    let victim = begin_and_wait::start(once.clone(), began.clone()).unwrap();
    began.wait();
    let next = do_it::start(once.clone(), log.clone()).unwrap();
    assert!(!once.is_completed() && log.is_empty());
    victim.kill().unwrap();
    let pid = next.pid();
    next.join().unwrap();
    assert_eq!(log.get().unwrap(), pid);
    assert!(once.is_completed());
    do_it::start(once.clone(), log.clone()).unwrap().join().unwrap();
    assert!(log.is_empty(), "it was done already");

    let once = Once::new().unwrap();
    for _ in 0..20 {
        assert!(abort_in_it::start(once.clone()).unwrap().join().is_err());
    }
    do_it::start(once.clone(), log.clone()).unwrap().join().unwrap();
    assert_eq!(log.len(), 1);
}

/// The same between processes and between threads.
macro_rules! in_both_places {
    ($($place:ident: $new:expr, $once:expr);+ $(;)?) => {$(
        mod $place {
            use super::*;

            #[test]
            fn after_a_panic_or_an_error_there_is_no_value() {
                let _dog = watchdog();
                let answer = $new;
                let panicked = catch_unwind(AssertUnwindSafe(|| answer.get_or_init(|| panic!("not now")).is_ok()));
                assert!(panicked.is_err());
                assert!(answer.get().is_none());
                let failed = answer.get_or_try_init(|| Err::<u32, Box<dyn std::error::Error>>("nor now".into()));
                assert_eq!(failed.unwrap_err().to_string(), "nor now");
                assert_eq!(format!("{answer:?}"), "OnceLock(<no value>)");
                let _ = answer.get_or_init(|| 5).unwrap();
                let _ = answer.get_or_init(|| unreachable!("there is a value")).unwrap();
                assert_eq!(format!("{answer:?}"), "OnceLock(5)");
            }

            #[test]
            fn one_thread_of_many_does_it() {
                let _dog = watchdog();
                let (once, times) = ($once, AtomicU32::new(0));
                thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            once.call_once(|| _ = times.fetch_add(1, Ordering::SeqCst)).unwrap();
                            assert_eq!(times.load(Ordering::SeqCst), 1, "it was done before any of them goes on");
                        });
                    }
                });
                assert!(once.is_completed());
                assert_eq!(format!("{once:?}"), "Once { completed: true }");
            }
        }
    )+};
}

in_both_places! {
    between_processes: OnceLock::<u32>::new().unwrap(), Once::new().unwrap();
    between_threads: threads::OnceLock::<u32>::new(), threads::Once::new();
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_computation_that_is_dropped_leaves_no_value() {
    let _dog = watchdog();
    let answer = threads::OnceLock::<u32>::new();
    let shared = OnceLock::<u32>::new().unwrap();
    let never = async || std::future::pending::<u32>().await;
    tokio::select! {
        biased;
        _ = answer.get_or_init_async(never) => unreachable!(),
        _ = shared.get_or_init_async(never) => unreachable!(),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!((answer.get(), shared.get()), (None, None));
    assert_eq!(*answer.get_or_init_async(async || 3).await.unwrap(), 3);
    assert_eq!(shared.get_or_init_async(async || 4).await.unwrap(), 4);
}
