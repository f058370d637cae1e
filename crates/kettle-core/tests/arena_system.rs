//! The arena's assumptions about the operating system.

mod arena_support;

use std::os::fd::{AsFd, AsRawFd};

use arena_support::{Child, alone, sleep_for_ever};
use kettle_core::sys::{limits, memory, process};

#[test]
fn a_name_with_parentheses_does_not_hide_the_start_time() {
    alone(|| {
        let before = process::start_time(process::id()).unwrap();
        // SAFETY: a terminated string of less than 16 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, c") R 1 (a b".as_ptr()) };
        assert_eq!(process::start_time(process::id()), Some(before));
    });
}

#[test]
fn another_process_of_the_same_number_is_not_the_same() {
    alone(|| {
        let child = Child::fork(|| sleep_for_ever());
        let start = process::start_time(child.pid()).unwrap();
        assert!(process::is_alive(child.pid(), Some(start)));
        assert!(process::is_alive(child.pid(), None));
        assert!(!process::is_alive(child.pid(), Some(start + 1)));
        child.kill();
        child.wait_unreaped();
        assert!(!process::is_alive(child.pid(), Some(start)), "a zombie");
        let pid = child.pid();
        child.wait();
        assert!(!process::is_alive(pid, Some(start)), "reaped");
    });
}

#[test]
fn without_descriptors_the_dead_are_dead_too() {
    alone(|| {
        let (living, dead) = (Child::fork(|| sleep_for_ever()), Child::fork(|| {}));
        dead.wait_unreaped();
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
        assert!(process::is_alive(living.pid(), None));
        // Now not even /proc can be read; waiting for the dead process is the safe mistake.
        let _ = process::is_alive(dead.pid(), None);
        living.kill_and_wait();
    });
}

#[test]
fn each_thread_has_its_number() {
    alone(|| {
        let mine = process::thread_id();
        assert_eq!(mine, process::id());
        assert_eq!(process::thread_id(), mine);
        let there = std::thread::spawn(process::thread_id).join().unwrap();
        assert_ne!(there, mine);
        Child::fork(|| assert_eq!(process::thread_id(), process::id())).succeeds();
    });
}

#[test]
fn a_thread_belongs_to_one_process() {
    alone(|| {
        let child = Child::fork(|| sleep_for_ever());
        assert!(process::thread_exists(child.pid(), child.pid()));
        assert!(!process::thread_exists(child.pid(), process::id()));
        assert!(process::thread_exists(process::id(), process::thread_id()));
        child.kill_and_wait();
    });
}

#[test]
fn memory_is_shared_grown_and_given_back() {
    alone(|| {
        let file = memory::create(c"test").unwrap();
        assert!(file.as_raw_fd() >= 100, "low numbers are left to the program");
        memory::grow(file.as_fd(), 1 << 20).unwrap();
        assert_eq!(memory::length(file.as_fd()).unwrap(), 1 << 20);
        assert_eq!(memory::resident(file.as_fd()).unwrap(), 0);
        let base = memory::map(file.as_fd(), 0, 1 << 20).unwrap();
        Child::fork(|| {
            // SAFETY: the mapping is a mebibyte, and the parent waits.
            unsafe { memory::write_at(file.as_fd(), 4096, &[7; 8192]).unwrap() };
        })
        .succeeds();
        // SAFETY: inside the mapping; the writer has ended.
        let byte = || unsafe { base.add(4096).as_ptr().read_volatile() };
        assert_eq!(byte(), 7);
        assert!(memory::resident(file.as_fd()).unwrap() >= 8192);
        memory::punch(file.as_fd(), 0, 1 << 20).unwrap();
        assert_eq!(byte(), 0);
        // The file can grow, but not shrink.
        memory::grow(file.as_fd(), 2 << 20).unwrap();
        // SAFETY: ftruncate takes two integers.
        assert!(unsafe { libc::ftruncate(file.as_raw_fd(), 0) } < 0);
        assert_eq!(memory::length(file.as_fd()).unwrap(), 2 << 20);
    });
}

#[test]
fn there_is_headroom() {
    assert!(limits::headroom().left > 1 << 20);
    assert!(limits::file_size() > 0);
}
