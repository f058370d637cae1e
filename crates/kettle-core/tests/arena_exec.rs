//! A process that executes another program: what it held is gone with its memory, but the row reserved for it is not.

mod arena_support;

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering};

use arena_support::{Child, Gate, alone, sleep_for_ever};
use kettle_core::arena::{Body, Handle, Session, Ticket, Token, participants};

#[repr(C)]
struct Word(AtomicU64);
// SAFETY: an atomic, and a kind of its own.
unsafe impl Body for Word {
    const KIND: u32 = 1200;
}

const VARIABLE: &str = "KETTLE_TEST_EXECUTED";

/// Replaces this process by this same program, running only [`executed`], with the session's descriptor open.
fn execute(told: &str) -> ! {
    let session = Session::current().unwrap();
    // SAFETY: fcntl on a live descriptor with an integer.
    assert_eq!(unsafe { libc::fcntl(session.descriptor().unwrap().as_raw_fd(), libc::F_SETFD, 0) }, 0);
    let program = CString::new(std::env::current_exe().unwrap().into_os_string().into_vec()).unwrap();
    let told = CString::new(format!("{VARIABLE}={} {told}", session.descriptor().unwrap().as_raw_fd())).unwrap();
    let arguments =
        [program.as_ptr(), c"--exact".as_ptr(), c"executed".as_ptr(), c"--ignored".as_ptr(), core::ptr::null()];
    let environment = [told.as_ptr(), core::ptr::null()];
    // SAFETY: NUL-terminated strings in null-terminated arrays.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    panic!("{}", std::io::Error::last_os_error());
}

#[test]
#[ignore = "run by the tests below, in a process that they start"]
fn executed() {
    let told = std::env::var(VARIABLE).unwrap();
    let mut words = told.split(' ');
    // SAFETY: the descriptor was left open for this code only.
    let descriptor = unsafe { OwnedFd::from_raw_fd(words.next().unwrap().parse().unwrap()) };
    Session::attach(descriptor).unwrap();
    let ticket = Ticket::from_bits(words.next().unwrap().parse().unwrap()).unwrap();
    participants::adopt(ticket).unwrap();
    assert_eq!(participants::me().participant(), ticket.participant().owner());
    let bytes: Vec<u8> = words.map(|w| w.parse().unwrap()).collect();
    let token = Token::from_bytes(&bytes.try_into().unwrap());
    let word = Handle::<Word>::from_token(&token).unwrap();
    word.0.store(u64::from(std::process::id()), Ordering::Release);
    while word.0.load(Ordering::Acquire) != 0 {
        std::thread::yield_now();
    }
    drop(word);
    sleep_for_ever();
}

fn words(ticket: Ticket, token: Token) -> String {
    let bytes: Vec<_> = token.to_bytes().iter().map(u8::to_string).collect();
    format!("{} {}", ticket.to_bits(), bytes.join(" "))
}

fn wait_for(word: &Handle<Word>, value: u64) {
    while word.0.load(Ordering::Acquire) != value {
        std::thread::yield_now();
    }
}

#[test]
fn only_what_was_named_to_it_is_held_by_the_program() {
    alone(|| {
        let (named, other) =
            (Handle::new(|| Word(AtomicU64::new(0))).unwrap(), Handle::new(|| Word(AtomicU64::new(0))));
        let ticket = participants::reserve_child().unwrap();
        let told = words(ticket, named.token_for(ticket));
        // The fork gives the child all handles; the program that it then executes has none of them.
        let child = Child::fork(|| execute(&told));
        participants::child_started(ticket, child.pid());
        wait_for(&named, u64::from(child.pid()));
        let session = Session::get().unwrap();
        assert_eq!(session.statistics().unwrap().participants, 2);
        drop(other);
        session.check().unwrap();
        assert_eq!(session.statistics().unwrap().objects, 1);
        named.0.store(0, Ordering::Release);
        child.kill_and_wait();
        drop(named);
        assert_eq!(session.statistics().unwrap().objects, 0);
    });
}

#[test]
fn a_place_taken_before_is_taken_again() {
    alone(|| {
        let named = Handle::new(|| Word(AtomicU64::new(0))).unwrap();
        let ticket = kettle_core::arena::before_fork().unwrap();
        let told = words(ticket, named.token_for(ticket));
        let taken = Gate::new();
        let child = Child::fork(|| {
            kettle_core::arena::after_fork_child(ticket).unwrap();
            taken.tell(participants::me().participant().to_bits());
            execute(&told)
        });
        kettle_core::arena::after_fork_parent(ticket, child.pid());
        assert_eq!(taken.hear(), ticket.participant().owner().to_bits());
        wait_for(&named, u64::from(child.pid()));
        assert!(!participants::is_dead(ticket.participant().owner()));
        child.kill_and_wait();
        participants::child_gone(ticket);
        drop(named);
        assert_eq!(Session::get().unwrap().statistics().unwrap().objects, 0);
    });
}
