//! Sleeping on descriptors: what ends it, and what of that is an error.

mod conformance;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use conformance::support::alone;
use kettle_core::sys::socket::Watch;
use kettle_core::wait::{Patience, Stopped, WatchError, sleep_on};

/// Two ends: there is nothing to read at the one until something is written to the other.
fn ends() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn what_is_ready_ends_it_at_once() {
    let ((quiet, _held), (ready, mut writer)) = (ends(), ends());
    writer.write_all(b"x").unwrap();
    let mut watched = [&quiet, &ready].map(|end| Watch::readable(end.as_raw_fd()));
    let patience = Patience::forever();
    sleep_on(&mut watched, &patience).unwrap();
    assert_eq!((watched.map(|w| w.is_ready()), patience.naps()), ([false, true], 0));
}

#[test]
fn a_slice_ends_it_and_then_one_may_be_stopped() {
    let (quiet, _held) = ends();
    let mut watched = [Watch::readable(quiet.as_raw_fd())];
    let asked = AtomicU32::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
    let patience = Patience::forever().interrupted_by(Duration::from_millis(1), &stop);
    sleep_on(&mut watched, &patience).unwrap();
    assert_eq!((watched[0].is_ready(), patience.naps()), (false, 1));
    assert!(matches!(sleep_on(&mut watched, &patience), Err(WatchError::Stopped(Stopped::Interrupted))));
    assert!(matches!(sleep_on(&mut watched, &Patience::none()), Err(WatchError::Stopped(Stopped::TimedOut))));
}

#[test]
fn what_the_system_refuses_is_told() {
    alone(|| {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a limit for this process, which the test has for itself.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
        let refused = sleep_on(&mut [Watch::readable(0)], &Patience::forever());
        let Err(WatchError::Io(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    });
}

/// A signal handler that runs meanwhile is no error: one looks again.
#[test]
fn a_signal_is_no_error() {
    static HANDLED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handle(_: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    alone(|| {
        let handler = handle as extern "C" fn(libc::c_int);
        // SAFETY: the handler changes an atomic and nothing else.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
        // SAFETY: no arguments.
        let me = unsafe { libc::pthread_self() };
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let before = HANDLED.load(Ordering::SeqCst);
                    // SAFETY: that thread waits for this one.
                    unsafe { libc::pthread_kill(me, libc::SIGUSR1) };
                    while HANDLED.load(Ordering::SeqCst) == before {
                        thread::yield_now();
                    }
                }
            });
            let (quiet, _held) = ends();
            while HANDLED.load(Ordering::SeqCst) < 500 {
                sleep_on(&mut [Watch::readable(quiet.as_raw_fd())], &Patience::forever()).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
}
