//! Sleeping on descriptors: what ends it, and which of that is an error.

mod conformance;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use conformance::support::alone;
use kettle_core::sys::socket::{Watch, poll, record_pair};
use kettle_core::wait::{Patience, Stopped, WatchError, sleep_on};

/// Two ends: one is readable after something was written to the other.
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

/// Open descriptors can be watched even if the program has since lowered its limit below their number.
#[test]
fn more_than_may_be_open() {
    alone(|| {
        let ((quiet, _held), (ready, mut writer), (ended, other)) = (ends(), ends(), ends());
        let (records, gone) = record_pair().unwrap();
        writer.write_all(b"x").unwrap();
        drop((other, gone));
        let closed = quiet.try_clone().unwrap().as_raw_fd();
        let watched = || {
            [
                Watch::readable(quiet.as_raw_fd()),
                Watch::readable(ready.as_raw_fd()),
                Watch::writable(quiet.as_raw_fd()),
                Watch::readable(ended.as_raw_fd()),
                Watch::gone(records.as_raw_fd()),
                Watch::gone(quiet.as_raw_fd()),
                Watch::readable(closed),
                Watch::readable(-1),
            ]
        };
        let (mut before, mut after) = (watched(), watched());
        assert_eq!(poll(&mut before, Duration::ZERO).unwrap(), 5);
        limit_descriptors(0);
        assert_eq!(poll(&mut after, Duration::ZERO).unwrap(), 5);
        assert_eq!(after.map(|w| w.is_ready()), before.map(|w| w.is_ready()));
        assert_eq!(after.map(|w| w.is_invalid()), before.map(|w| w.is_invalid()));
        assert!(after[6].is_invalid());

        let mut quiet_one = [Watch::readable(quiet.as_raw_fd())];
        let patience = Patience::forever();
        sleep_on(&mut quiet_one, &patience).unwrap();
        assert_eq!((quiet_one[0].is_ready(), patience.naps()), (false, 1));
    });
}

/// Descriptor numbers may exceed the capacity of the C library's `select`.
#[test]
fn a_great_number_beyond_the_limit() {
    alone(|| {
        let (other, quiet) = ends();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid place for a limit; then a limit that is allowed.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit.rlim_cur = limit.rlim_max;
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
        // SAFETY: creates a descriptor that only this test knows.
        let great = unsafe { libc::fcntl(quiet.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 1500) };
        if great < 0 {
            return; // the system allows none
        }
        drop(other);
        limit_descriptors(0);
        let mut watched = [Watch::readable(great)];
        assert_eq!(poll(&mut watched, Duration::from_secs(60)).unwrap(), 1);
        assert!(watched[0].is_ready() && !watched[0].is_invalid());
    });
}

fn limit_descriptors(most: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: sets a limit for this process, which only this test uses.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

/// A signal handler that runs in the meantime is not an error: the caller looks again.
#[test]
fn a_signal_is_no_error() {
    static HANDLED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handle(_: libc::c_int) {
        HANDLED.fetch_add(1, Ordering::SeqCst);
    }
    alone(|| {
        let handler = handle as extern "C" fn(libc::c_int);
        // SAFETY: the handler only changes an atomic.
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
