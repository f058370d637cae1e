//! Registration of processes, and the detection of their deaths.

mod arena_support;

use std::os::fd::AsRawFd;

use arena_support::{Child, Ended, Gate, alone, sleep_for_ever};
use kettle_core::arena::{self, Session, Ticket, participants};
use kettle_core::sys::Owner;

/// An answer may be some milliseconds old.
fn wait_until_dead(owner: Owner) {
    while !participants::is_dead(owner) {
        std::thread::yield_now();
    }
}

fn other(gate: &Gate) -> Owner {
    Owner::from_bits(gate.hear())
}

#[test]
fn a_process_is_itself_in_all_its_threads() {
    alone(|| {
        let me = participants::me();
        assert_ne!(me.slot(), 0);
        assert_eq!(participants::me(), me);
        assert_eq!(participants::pid_of(me), Some(std::process::id()));
        assert!(!participants::is_dead(me));
        let (there, again) = std::thread::spawn(|| (participants::me(), participants::me())).join().unwrap();
        assert_eq!(there, again);
        assert_eq!(there.participant(), me.participant());
        assert_ne!(there.thread(), me.thread());
    });
}

#[test]
fn a_fork_without_hooks_registers_by_itself() {
    alone(|| {
        let me = participants::me();
        let (told, go) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            let mine = participants::me();
            assert_ne!(mine.participant(), me.participant());
            assert!(!participants::is_dead(me));
            told.tell(mine.to_bits());
            go.pass();
        });
        let theirs = other(&told);
        assert!(!participants::is_dead(theirs));
        assert_eq!(participants::pid_of(theirs), Some(child.pid()));
        assert_eq!(participants::me(), me);
        go.open();
        child.succeeds();
        wait_until_dead(theirs);
    });
}

/// The bare system call, which runs no handlers of the C library.
#[test]
fn a_fork_behind_the_librarys_back_registers_by_itself() {
    alone(|| {
        let me = participants::me();
        // SAFETY: without flags, clone is fork; the child only registers, compares and exits.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            let mine = participants::me();
            let right = mine.participant() != me.participant() && mine.thread() == std::process::id();
            // SAFETY: _exit takes an integer.
            unsafe { libc::_exit(i32::from(!right)) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for one integer.
        assert_eq!(i64::from(unsafe { libc::waitpid(pid as libc::pid_t, &mut status, 0) }), pid);
        assert_eq!(status, 0);
    });
}

#[test]
fn a_zombie_is_dead() {
    alone(|| {
        participants::me();
        let told = Gate::new();
        let child = Child::fork(|| {
            told.tell(participants::me().to_bits());
            sleep_for_ever();
        });
        let theirs = other(&told);
        assert!(!participants::is_dead(theirs));
        child.kill();
        child.wait_unreaped();
        wait_until_dead(theirs);
        assert_eq!(child.wait(), Ended::Killed(libc::SIGKILL));
        assert!(participants::is_dead(theirs));
    });
}

#[test]
fn a_reserved_place_is_taken_by_its_child() {
    alone(|| {
        let (go, told) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            arena_support::attach_to_parent(go.hear());
            let ticket = Ticket::from_bits(go.hear()).unwrap();
            participants::adopt(ticket).unwrap();
            told.tell(participants::me().to_bits());
            // A second adoption has no effect.
            participants::adopt(ticket).unwrap();
            go.pass();
        });
        let session = Session::get().unwrap();
        let ticket = participants::reserve_child().unwrap();
        let place = ticket.participant().owner();
        assert!(!participants::is_dead(place));
        participants::child_started(ticket, child.pid());
        assert_eq!(participants::pid_of(place), Some(child.pid()));
        go.tell(session.descriptor().unwrap().as_raw_fd() as u64);
        go.tell(ticket.to_bits());
        assert_eq!(other(&told).participant(), place);
        assert!(!participants::is_dead(place));
        go.open();
        child.succeeds();
        participants::child_gone(ticket);
        assert!(participants::is_dead(place));
    });
}

/// The ticket is known before the fork, and the handlers of the C library take the row.
#[test]
fn a_fork_with_hooks_takes_the_place_asked_for() {
    alone(|| {
        let me = participants::me();
        let ticket = arena::before_fork().unwrap();
        let child = Child::fork(|| {
            arena::after_fork_child(ticket).unwrap();
            assert_eq!(participants::me().participant(), ticket.participant().owner());
            assert!(!participants::is_dead(me));
            sleep_for_ever();
        });
        arena::after_fork_parent(ticket, child.pid());
        let place = ticket.participant().owner();
        assert_eq!(participants::pid_of(place), Some(child.pid()));
        assert!(!participants::is_dead(place));
        child.kill_and_wait();
        wait_until_dead(place);
    });
}

#[test]
fn a_child_that_dies_before_it_takes_its_place_is_dead() {
    alone(|| {
        let ticket = participants::reserve_child().unwrap();
        let child = Child::fork(|| sleep_for_ever());
        participants::child_started(ticket, child.pid());
        let place = ticket.participant().owner();
        assert!(!participants::is_dead(place));
        child.kill_and_wait();
        wait_until_dead(place);
    });
}

#[test]
fn a_place_given_up_cannot_be_taken() {
    alone(|| {
        let ticket = participants::reserve_child().unwrap();
        participants::release(ticket);
        assert!(participants::is_dead(ticket.participant().owner()));
        Child::fork(|| {
            assert!(participants::adopt(ticket).is_err());
            // It participates nevertheless.
            assert_ne!(participants::me().slot(), 0);
        })
        .succeeds();
    });
}

#[test]
fn who_registered_by_itself_takes_no_reserved_place() {
    alone(|| {
        let ticket = participants::reserve_child().unwrap();
        let me = participants::me();
        assert!(participants::adopt(ticket).is_err());
        assert_eq!(participants::me(), me);
    });
}

#[test]
fn the_place_of_one_who_left_is_another_generations() {
    alone(|| {
        let before = participants::me();
        // SAFETY: this process uses the arena only by the calls below.
        unsafe { arena::leave() };
        assert!(participants::is_dead(before));
        let after = participants::me();
        assert_ne!(before.participant(), after.participant());
        assert!(!participants::is_dead(after));
        // Also in a thread that knew the previous name.
        std::thread::scope(|s| {
            s.spawn(|| assert_eq!(participants::me().participant(), after.participant()));
        });
    });
}

#[test]
fn rows_come_round_with_a_new_generation() {
    alone(|| {
        let me = participants::me();
        let first = participants::reserve_child().unwrap().participant().owner();
        participants::release(
            Ticket::from_bits(u64::from(first.generation()) << 32 | u64::from(first.slot())).unwrap(),
        );
        let mut seen = std::collections::HashSet::from([first.participant()]);
        loop {
            let ticket = participants::reserve_child().unwrap();
            let next = ticket.participant().owner();
            assert!(seen.insert(next.participant()), "{next:?} was issued twice");
            assert_ne!(next.slot(), me.slot());
            participants::release(ticket);
            if next.slot() == first.slot() {
                assert_eq!(next.generation(), first.generation() + 1);
                break;
            }
        }
        assert!(seen.len() > 8000, "a row was reused after {} others", seen.len());
        assert!(participants::is_dead(first));
    });
}

#[test]
fn the_rows_of_the_dead_are_found_when_none_is_free() {
    alone(|| {
        let me = participants::me();
        // Fill the table with rows of a process that dies.
        Child::fork(|| {
            let me = std::process::id();
            std::iter::from_fn(|| participants::reserve_child().ok()).for_each(|t| participants::child_started(t, me));
        })
        .succeeds();
        let ticket = participants::reserve_child().unwrap();
        assert_ne!(ticket.participant().owner().slot(), me.slot());
        assert!(!participants::is_dead(me));
        // Once it is full of live processes, there is an error.
        while participants::reserve_child().is_ok() {}
        let error = participants::reserve_child().unwrap_err().to_string();
        assert!(error.contains("room"), "{error}");
        participants::release(ticket);
        participants::reserve_child().unwrap();
    });
}

#[test]
fn many_processes_at_once_have_many_names() {
    alone(|| {
        participants::me();
        let told = Gate::new();
        let children: Vec<_> = (0..32).map(|_| Child::fork(|| told.tell(participants::me().to_bits()))).collect();
        let names: std::collections::HashSet<_> = (0..children.len()).map(|_| other(&told).participant()).collect();
        assert_eq!(names.len(), children.len());
        children.into_iter().for_each(Child::succeeds);
    });
}

#[cfg(feature = "crash-points")]
#[test]
fn a_row_whose_claimant_died_is_found() {
    alone(|| {
        participants::me();
        let child = Child::fork(|| {
            // The process has had its own row since the fork.
            kettle_core::arm_crash_point("arena.participants.claimed");
            let _ = participants::reserve_child();
        });
        assert_eq!(child.wait(), Ended::Killed(libc::SIGKILL));
        // All other rows, and then this one.
        let free = (0..).take_while(|_| participants::reserve_child().is_ok()).count();
        assert_eq!(free, Owner::SLOTS as usize - 2);
    });
}
