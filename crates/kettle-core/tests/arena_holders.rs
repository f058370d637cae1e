//! Many processes that hold the same object.

mod arena_support;

use std::sync::atomic::AtomicU64;

use arena_support::{Child, Gate, alone, sleep_for_ever};
use kettle_core::arena::{Body, Handle, Session, participants};

#[repr(C)]
struct Word(AtomicU64);
// SAFETY: an atomic, and a kind of its own.
unsafe impl Body for Word {
    const KIND: u32 = 1100;
}

fn word() -> Handle<Word> {
    Handle::new(|| Word(AtomicU64::new(0))).unwrap()
}

/// Sheets of further holders are objects as well.
fn objects() -> u64 {
    let session = Session::get().unwrap();
    session.check().unwrap();
    session.statistics().unwrap().objects
}

#[test]
fn there_is_room_for_any_number_and_it_is_given_back() {
    alone(|| {
        let handle = word();
        let tickets: Vec<_> = (0..300).map(|_| participants::reserve_child().unwrap()).collect();
        for &ticket in &tickets {
            let _ = handle.token_for(ticket);
        }
        assert!(objects() > 1);
        // Each of them alone keeps the object alive.
        drop(handle);
        let (last, others) = tickets.split_last().unwrap();
        others.iter().for_each(|&ticket| participants::release(ticket));
        let session = Session::get().unwrap();
        assert_eq!(session.reclaim().unwrap().objects, 0);
        participants::release(*last);
        assert!(session.reclaim().unwrap().objects > 0);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn the_last_handle_frees_the_sheets_too() {
    alone(|| {
        let handle = word();
        let tickets: Vec<_> = (0..120).map(|_| participants::reserve_child().unwrap()).collect();
        for &ticket in &tickets {
            let _ = handle.token_for(ticket);
        }
        tickets.into_iter().for_each(participants::release);
        drop(handle);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn children_that_come_and_go_take_no_room() {
    alone(|| {
        let handle = word();
        for _ in 0..60 {
            Child::fork(|| drop(handle.clone())).succeeds();
        }
        assert_eq!(objects(), 1);
        drop(handle);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn many_become_holders_at_once() {
    alone(|| {
        let handle = word();
        let token = handle.token_pinned();
        let other = word();
        let (ready, go) = (Gate::new(), Gate::new());
        let children: Vec<_> = (0..24)
            .map(|_| {
                Child::fork(|| {
                    ready.open();
                    go.pass();
                    // Each has children of its own, for which it adds holders concurrently with the others.
                    for _ in 0..4 {
                        Child::fork(|| drop(Handle::<Word>::from_token(&token).unwrap())).succeeds();
                    }
                    drop(other.clone());
                })
            })
            .collect();
        children.iter().for_each(|_| ready.pass());
        children.iter().for_each(|_| go.open());
        children.into_iter().for_each(Child::succeeds);
        let session = Session::get().unwrap();
        drop(other);
        session.reclaim().unwrap();
        // The pinned object and any sheets of its own.
        assert_eq!(objects(), 1);
    });
}

#[cfg(feature = "crash-points")]
#[test]
fn a_sheet_that_was_not_linked_is_found() {
    alone(|| {
        let handle = word();
        let child = Child::fork(|| {
            kettle_core::arm_crash_point("arena.holders.before-link");
            for _ in 0..60 {
                let ticket = participants::reserve_child().unwrap();
                // Recorded as this process, so that its death is noticed at once.
                participants::child_started(ticket, std::process::id());
                let _ = handle.token_for(ticket);
            }
        });
        assert_eq!(child.wait(), arena_support::Ended::Killed(libc::SIGKILL));
        let session = Session::get().unwrap();
        assert_eq!(session.reclaim().unwrap().objects, 1);
        assert_eq!(objects(), 1);
        drop(handle);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn a_killed_holder_among_many_is_no_holder() {
    alone(|| {
        let handle = word();
        let ready = Gate::new();
        let children: Vec<_> = (0..20)
            .map(|_| {
                Child::fork(|| {
                    ready.open();
                    sleep_for_ever();
                })
            })
            .collect();
        children.iter().for_each(|_| ready.pass());
        drop(handle);
        children.into_iter().for_each(Child::kill_and_wait);
        Session::get().unwrap().reclaim().unwrap();
        assert_eq!(objects(), 0);
    });
}
