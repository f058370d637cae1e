//! What keeps an object alive, and what does not.

mod arena_support;

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arena_support::{Child, Ended, Gate, Random, alone, attach_to_parent, sleep_for_ever};
use kettle_core::arena::{
    self, Block, Body, Census, Fate, Found, Handle, Off, PAYLOAD, Session, Ticket, Token, TokenError, participants,
};

/// Counts the teardowns in this process.
static TORN_DOWN: AtomicU32 = AtomicU32::new(0);

#[repr(C)]
struct Counter {
    value: AtomicU64,
    /// A block that is freed with it, or 0.
    block: AtomicU64,
}

// SAFETY: two atomics, one of them an offset, and a kind of its own.
unsafe impl Body for Counter {
    const KIND: u32 = 1001;

    fn teardown(&self) {
        TORN_DOWN.fetch_add(1, Ordering::Relaxed);
        if let Some(off) = Off::from_bits(self.block.swap(0, Ordering::Relaxed)) {
            // SAFETY: only the counter owned the block.
            drop(unsafe { Block::take(off) });
        }
    }
}

#[repr(C)]
struct Other(AtomicU64);
// SAFETY: an atomic, and a kind of its own.
unsafe impl Body for Other {
    const KIND: u32 = 1002;
}

fn counter() -> Handle<Counter> {
    Handle::new(|| Counter { value: AtomicU64::new(7), block: AtomicU64::new(0) }).unwrap()
}

fn session() -> Session {
    Session::get().unwrap()
}

fn objects() -> u64 {
    session().check().unwrap();
    session().statistics().unwrap().objects
}

fn torn_down() -> u32 {
    TORN_DOWN.load(Ordering::Relaxed)
}

#[test]
fn handles_are_counted_and_the_last_tears_down() {
    alone(|| {
        let one = counter();
        let two = one.clone();
        one.value.store(8, Ordering::Relaxed);
        drop(one);
        assert_eq!(two.value.load(Ordering::Relaxed), 8);
        assert_eq!((torn_down(), objects()), (0, 1));
        let block = Block::allocate(5000).unwrap();
        two.block.store(block.into_off().to_bits(), Ordering::Relaxed);
        drop(two);
        assert_eq!((torn_down(), objects()), (1, 0));
    });
}

#[test]
fn a_child_keeps_what_its_parent_lets_go() {
    alone(|| {
        let mut handle = Some(counter());
        let (go, done) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            go.pass();
            assert_eq!(handle.as_ref().unwrap().value.fetch_add(1, Ordering::Relaxed), 7);
            handle = None;
            assert_eq!(torn_down(), 1);
            done.open();
            sleep_for_ever();
        });
        handle = None;
        assert_eq!((torn_down(), objects()), (0, 1));
        go.open();
        done.pass();
        assert_eq!(objects(), 0);
        child.kill_and_wait();
        assert!(handle.is_none());
    });
}

#[test]
fn what_only_the_dead_held_is_reclaimed() {
    alone(|| {
        let handle = counter();
        let here = Gate::new();
        let child = Child::fork(|| {
            here.open();
            sleep_for_ever();
        });
        here.pass();
        drop(handle);
        assert_eq!(session().reclaim().unwrap().objects, 0);
        assert_eq!(objects(), 1);
        child.kill_and_wait();
        // The knowledge about the child may be some milliseconds old.
        while session().reclaim().unwrap().objects == 0 {}
        assert_eq!(objects(), 0);
    });
}

#[test]
fn the_dead_are_noticed_when_room_is_needed() {
    alone(|| {
        session().set_limit(Some(16 << 20));
        for _ in 0..20 {
            let child = Child::fork(|| {
                let block = Block::allocate(9 << 20).unwrap();
                core::mem::forget(block);
            });
            child.succeeds();
        }
    });
}

#[test]
fn a_child_that_exits_without_a_word_lets_go() {
    alone(|| {
        let handle = counter();
        // The child's copy of the handle is not dropped.
        Child::fork(|| assert_eq!(handle.value.load(Ordering::Relaxed), 7)).succeeds();
        drop(handle);
        while objects() > 0 {
            session().reclaim().unwrap();
        }
    });
}

#[test]
fn who_leaves_lets_go_at_once() {
    alone(|| {
        let handle = counter();
        let (left, end) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            // SAFETY: this process no longer uses the arena.
            unsafe { arena::leave() };
            left.open();
            end.pass();
        });
        left.pass();
        drop(handle);
        assert_eq!((torn_down(), objects()), (1, 0));
        end.open();
        child.succeeds();
    });
}

#[test]
fn a_pinned_object_outlives_its_handles() {
    alone(|| {
        let token = {
            let handle = counter();
            handle.value.store(99, Ordering::Relaxed);
            handle.token_pinned()
        };
        assert_eq!((torn_down(), objects()), (0, 1));
        assert_eq!(session().reclaim().unwrap().objects, 0);
        let token = Token::from_bytes(&token.to_bytes());
        assert_eq!(Handle::<Counter>::from_token(&token).unwrap().value.load(Ordering::Relaxed), 99);
        Child::fork(|| {
            assert_eq!(Handle::<Counter>::from_token(&token).unwrap().value.load(Ordering::Relaxed), 99);
        })
        .succeeds();
        assert_eq!(objects(), 1);
    });
}

#[test]
fn a_token_of_what_is_gone_is_refused_also_when_its_place_is_used_again() {
    alone(|| {
        let ticket = participants::reserve_child().unwrap();
        let handle = counter();
        let off = handle.off();
        let token = handle.token_for(ticket);
        participants::release(ticket);
        drop(handle);
        assert!(matches!(Handle::<Counter>::from_token(&token), Err(TokenError::Gone)));
        let again = counter();
        assert_eq!(again.off(), off, "the allocator reuses the last address freed");
        assert!(matches!(Handle::<Counter>::from_token(&token), Err(TokenError::Gone)));
        assert_eq!(objects(), 1);
    });
}

#[test]
fn other_tokens_are_refused() {
    alone(|| {
        let handle = counter();
        let token = handle.token_pinned();
        assert!(matches!(
            Handle::<Other>::from_token(&token),
            Err(TokenError::WrongKind { found: 1001, expected: 1002 })
        ));
        let elsewhere = Token { session: token.session ^ 1, ..token };
        assert!(matches!(Handle::<Counter>::from_token(&elsewhere), Err(TokenError::OtherSession)));
        let forged = Token { kind: 1002, ..token };
        assert!(Handle::<Other>::from_token(&forged).is_err());
        let nowhere = Token { off: 0, ..token };
        assert!(matches!(Handle::<Counter>::from_token(&nowhere), Err(TokenError::Malformed)));

        let mut random = Random::seeded();
        let _blocks: Vec<_> = (0..50).map(|n| Block::allocate(n * 1000).unwrap()).collect();
        for _ in 0..100_000 {
            let off = match random.below(4) {
                0 => random.word(),
                1 => 1 << 48 | random.below(1 << 20),
                2 => (random.below(4) << 48) | (random.below(1 << 22) / 64 * 64),
                _ => token.off + random.below(1 << 16) * 64,
            };
            if off != token.off {
                assert!(Handle::<Counter>::from_token(&Token { off, ..token }).is_err());
            }
        }
    });
    alone(|| {
        let token = Token { session: 1, off: 1 << 48 | 4096, generation: 1, kind: Counter::KIND };
        assert!(matches!(Handle::<Counter>::from_token(&token), Err(TokenError::OtherSession)));
    });
}

/// Like a child that is started by executing a program: it gets a descriptor, a ticket and a token.
#[test]
fn a_token_for_a_child_keeps_the_object_until_it_arrives() {
    alone(|| {
        let (go, done) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            attach_to_parent(go.hear());
            participants::adopt(Ticket::from_bits(go.hear()).unwrap()).unwrap();
            let token =
                Token { session: go.hear(), off: go.hear(), generation: go.hear() as u32, kind: go.hear() as u32 };
            let handle = Handle::<Counter>::from_token(&token).unwrap();
            assert_eq!(handle.value.load(Ordering::Relaxed), 7);
            drop(handle);
            assert_eq!(torn_down(), 1);
            done.open();
        });
        let ticket = participants::reserve_child().unwrap();
        participants::child_started(ticket, child.pid());
        let handle = counter();
        let token = handle.token_for(ticket);
        drop(handle);
        assert_eq!((torn_down(), objects()), (0, 1));
        assert_eq!(session().reclaim().unwrap().objects, 0);
        go.tell(session().descriptor().unwrap().as_raw_fd() as u64);
        go.tell(ticket.to_bits());
        for word in [token.session, token.off, token.generation.into(), token.kind.into()] {
            go.tell(word);
        }
        done.pass();
        assert_eq!(objects(), 0);
        child.succeeds();
    });
}

#[test]
fn a_child_that_could_not_be_started_keeps_nothing() {
    alone(|| {
        let handle = counter();
        let ticket = arena::before_fork().unwrap();
        handle.token_for(ticket);
        participants::release(ticket);
        drop(handle);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn a_process_of_another_session_is_told_so() {
    alone(|| {
        let go = Gate::new();
        let child = Child::fork(|| {
            session();
            let path = format!("/proc/{}/fd/{}", std::os::unix::process::parent_id(), go.hear());
            let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
            assert!(Session::attach(file.into()).is_err());
            // Its own session still works.
            drop(counter());
            let null = std::fs::File::open("/dev/null").unwrap();
            assert!(Session::attach(null.into()).is_err());
        });
        go.tell(session().descriptor().unwrap().as_raw_fd() as u64);
        child.succeeds();
        // Attaching to one's own session again is not an error.
        let again = session().descriptor().unwrap().try_clone_to_owned().unwrap();
        assert_eq!(Session::attach(again).unwrap().id(), session().id());
    });
}

#[test]
fn more_holders_than_fit_into_a_header() {
    alone(|| {
        for round in 0..2 {
            let handle = counter();
            let go = Gate::new();
            let children: Vec<_> = (0..120)
                .map(|_| {
                    Child::fork(|| {
                        go.pass();
                        assert_eq!(handle.value.load(Ordering::Relaxed), 7);
                    })
                })
                .collect();
            assert!(objects() > 1, "more holders than fit into a header");
            drop(handle);
            session().reclaim().unwrap();
            if round == 0 {
                children[..60].iter().for_each(Child::kill);
            }
            children.iter().for_each(|_| go.open());
            let (mut killed, mut exited) = (0, 0);
            for child in children {
                match child.wait() {
                    Ended::Exited(0) => exited += 1,
                    Ended::Killed(libc::SIGKILL) => killed += 1,
                    ended => panic!("{ended:?}"),
                }
            }
            assert_eq!((killed, exited), if round == 0 { (60, 60) } else { (0, 120) });
            while objects() > 0 {
                session().reclaim().unwrap();
            }
        }
    });
}

#[test]
fn a_block_of_the_parent_is_not_the_childs_to_free() {
    alone(|| {
        let mut block = Some(Block::copy_of(&[4; 10_000]).unwrap());
        Child::fork(|| block = None).succeeds();
        assert_eq!(objects(), 1);
        let fresh = Block::copy_of(&[5; 10_000]).unwrap();
        assert!(block.as_ref().unwrap().as_slice().iter().all(|&b| b == 4));
        drop((block.take(), fresh));
        assert_eq!(objects(), 0);
    });
}

#[test]
fn a_lease_survives_fork_like_a_handle() {
    alone(|| {
        let mut lease = Some(Block::copy_of(&[9; 300_000]).unwrap().into_lease().unwrap());
        let (go, done) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            go.pass();
            assert!(lease.as_ref().unwrap().iter().all(|&b| b == 9));
            lease = None;
            done.open();
            sleep_for_ever();
        });
        lease = None;
        assert_eq!(objects(), 1);
        // The memory must not be given to another block.
        let fresh = Block::copy_of(&[1; 300_000]).unwrap();
        go.open();
        done.pass();
        assert_eq!(objects(), 1);
        drop(fresh);
        assert_eq!(objects(), 0);
        child.kill_and_wait();
        assert!(lease.is_none());
    });
}

/// A fork that runs none of our handlers: the child registers at first use, and holds what still exists then.
#[test]
fn a_fork_behind_the_librarys_back_holds_again() {
    alone(|| {
        let handle = counter();
        let (held, go) = (Gate::new(), Gate::new());
        // SAFETY: without flags, clone is fork; the child only uses its handle and exits.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            participants::me();
            held.open();
            go.pass();
            let right = handle.value.load(Ordering::Relaxed) == 7;
            drop(handle);
            // SAFETY: _exit takes an integer.
            unsafe { libc::_exit(i32::from(!(right && torn_down() == 1))) };
        }
        held.pass();
        drop(handle);
        assert_eq!((torn_down(), objects()), (0, 1));
        go.open();
        let mut status = 0;
        // SAFETY: `status` is a valid place for one integer.
        assert_eq!(i64::from(unsafe { libc::waitpid(pid as libc::pid_t, &mut status, 0) }), pid);
        assert_eq!((status, objects()), (0, 0));
    });
}

/// Threads clone and drop while another thread forks; the state is consistent in every child.
#[test]
fn forks_amid_threads() {
    alone(|| {
        let stop = AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while stop.load(Ordering::Relaxed) == 0 {
                        let one = counter();
                        let two = one.clone();
                        drop(one);
                        let lease = Block::copy_of(&[1; 6000]).unwrap().into_lease().unwrap();
                        drop(two);
                        drop(lease);
                    }
                });
            }
            let kept = counter();
            for n in 0..150 {
                // With a ticket, the death of the child is noticed wherever it happens.
                let ticket = (n % 3 == 0).then(|| arena::before_fork().unwrap());
                let child = Child::fork(|| {
                    let mine = kept.clone();
                    assert_eq!(mine.value.load(Ordering::Relaxed), 7);
                    let other = counter();
                    drop((mine, other));
                    session().check().unwrap();
                });
                if let Some(ticket) = ticket {
                    arena::after_fork_parent(ticket, child.pid());
                    child.kill();
                    child.wait();
                } else {
                    child.succeeds();
                }
            }
            stop.store(1, Ordering::Relaxed);
        });
        while objects() > 0 {
            session().reclaim().unwrap();
        }
    });
}

/// Handles passed between processes that are killed: nothing leaks and nothing is freed too early.
#[test]
fn handles_passed_along_a_line_of_the_dying() {
    alone(|| {
        let handle = counter();
        let mut token = handle.token_pinned();
        for step in 0..30 {
            let back = Gate::new();
            let child = Child::fork(|| {
                let mine = Handle::<Counter>::from_token(&token).unwrap();
                mine.value.fetch_add(1, Ordering::Relaxed);
                back.tell(u64::from(mine.generation()));
                if step % 2 == 0 {
                    sleep_for_ever();
                }
            });
            token.generation = back.hear() as u32;
            child.kill();
            child.wait();
        }
        assert_eq!(handle.value.load(Ordering::Relaxed), 37);
        session().reclaim().unwrap();
        assert_eq!(objects(), 1);
    });
}

/// The offset of the only reachable object.
static REACHED: AtomicU64 = AtomicU64::new(0);

struct OneWord;

impl Census for OneWord {
    fn fate(&self, object: &Found) -> Fate {
        assert_eq!((object.kind, object.home, object.position, object.len), (PAYLOAD, 4711, 42, 90_000));
        if REACHED.load(Ordering::Relaxed) == object.off.to_bits() { Fate::Reachable } else { Fate::Garbage }
    }
    fn teardown(&self, object: &Found) {
        assert_eq!(object.kind, PAYLOAD);
        TORN_DOWN.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_census_decides_about_unheld_objects() {
    alone(|| {
        arena::set_census(&OneWord);
        session();
        let told = Gate::new();
        Child::fork(|| {
            for _ in 0..2 {
                let mut block = Block::allocate(90_000).unwrap();
                block.fill(&[3; 90_000]);
                block.set_home(4711, 42);
                told.tell(block.into_off().to_bits());
            }
            // Not published yet: no other process can know it, and the census is not asked.
            core::mem::forget(Block::allocate(10).unwrap());
        })
        .succeeds();
        let (first, _second) = (told.hear(), told.hear());
        REACHED.store(first, Ordering::Relaxed);
        let mut found = 0;
        while found < 2 {
            found += session().reclaim().unwrap().objects;
        }
        assert_eq!((found, torn_down(), objects()), (2, 1, 1));
        // SAFETY: the dead process gave it up, and no other code knows where it is.
        let block = unsafe { Block::take(Off::from_bits(first).unwrap()).unwrap() };
        assert!(block.as_slice().iter().all(|&b| b == 3));
        REACHED.store(0, Ordering::Relaxed);
        assert_eq!(session().reclaim().unwrap().objects, 0, "this process holds it");
        drop(block);
        assert_eq!(objects(), 0);
    });
}

#[test]
fn a_process_killed_while_it_held_blocks_leaves_none() {
    alone(|| {
        session();
        for _ in 0..10 {
            let told = Gate::new();
            let child = Child::fork(|| {
                let _blocks: Vec<_> = (1..40).map(|n| Block::allocate(n * 3000).unwrap()).collect();
                let _leases: Vec<_> = (1..40).map(|n| Block::allocate(n * 30).unwrap().into_lease().unwrap()).collect();
                told.open();
                sleep_for_ever();
            });
            told.pass();
            child.kill();
            assert_eq!(child.wait(), Ended::Killed(libc::SIGKILL));
            while objects() > 0 {
                session().reclaim().unwrap();
            }
        }
    });
}
