//! Trees of processes that create, share, drop, fork, leave and are killed at random: what is held stays intact, and in
//! the end nothing is left.

mod arena_support;

use arena_support::{Child, Ended, Random, alone};
use kettle_core::arena::{self, Block, Body, Handle, Lease, Session};

#[repr(C)]
struct Page;
// SAFETY: it has no content.
unsafe impl Body for Page {
    const KIND: u32 = 1003;
}

/// A shared object with known content.
enum Thing {
    Handle(Handle<Page>),
    Lease(Lease),
    Block(Block),
}

impl Thing {
    fn new(random: &mut Random) -> (Self, u8) {
        let mark = random.word() as u8;
        let len = match random.below(10) {
            0..6 => random.below(1500),
            6..9 => random.below(50_000),
            _ => random.below(500_000),
        } as usize;
        let thing = match random.below(3) {
            0 => {
                let handle = Handle::with_tail(len, || Page).unwrap();
                let (at, len) = handle.tail();
                // SAFETY: no other code knows of it yet.
                unsafe { at.write_bytes(mark, len) };
                Self::Handle(handle)
            }
            1 => Self::Lease(Block::copy_of(&vec![mark; len]).unwrap().into_lease().unwrap()),
            _ => Self::Block(Block::copy_of(&vec![mark; len]).unwrap()),
        };
        (thing, mark)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Handle(handle) => {
                let (at, len) = handle.tail();
                // SAFETY: it is written once, before it is shared.
                unsafe { std::slice::from_raw_parts(at.as_ptr(), len) }
            }
            Self::Lease(lease) => lease,
            Self::Block(block) => block.as_slice(),
        }
    }

    fn verify(&self, mark: u8) {
        assert!(self.bytes().iter().all(|&b| b == mark), "a held object was overwritten");
    }
}

struct Family {
    things: Vec<(Thing, u8)>,
    /// The children, and whether this process may kill them. The number of a child that got no ticket is unknown until
    /// it takes its row; if it is killed before that, it is considered alive for some seconds.
    children: Vec<(Child, bool)>,
    random: Random,
    depth: u32,
}

impl Family {
    fn live(&mut self, steps: u32) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..45 if self.things.len() < 30 => self.things.push(Thing::new(&mut self.random)),
                45..55 => {
                    if let Some((Thing::Handle(handle), mark)) = self.pick() {
                        let copy = (Thing::Handle(handle.clone()), *mark);
                        self.things.push(copy);
                    }
                }
                55..60 if self.depth < 2 => self.fork(),
                60..63 if !self.children.is_empty() => {
                    let at = self.random.below(self.children.len() as u64) as usize;
                    end(self.children.swap_remove(at), &mut self.random);
                }
                _ if !self.things.is_empty() => {
                    let at = self.random.below(self.things.len() as u64) as usize;
                    let (thing, mark) = self.things.swap_remove(at);
                    thing.verify(mark);
                }
                _ => {}
            }
        }
    }

    fn pick(&mut self) -> Option<&(Thing, u8)> {
        let at = self.random.below(self.things.len().max(1) as u64) as usize;
        self.things.get(at)
    }

    fn fork(&mut self) {
        let ticket = (self.random.below(2) == 0).then(|| arena::before_fork().unwrap());
        let seed = self.random.word();
        let child = Child::fork(|| {
            if let Some(ticket) = ticket {
                arena::after_fork_child(ticket).unwrap();
            }
            self.grow_up(seed);
        });
        if let Some(ticket) = ticket {
            arena::after_fork_parent(ticket, child.pid());
        }
        self.children.push((child, ticket.is_some()));
    }

    /// In a child: it has everything that the parent had, except blocks, which only the parent owns.
    fn grow_up(&mut self, seed: u64) {
        self.random = Random::from(seed);
        self.depth += 1;
        std::mem::take(&mut self.children).into_iter().for_each(std::mem::forget);
        self.things.retain(|(thing, _)| !matches!(thing, Thing::Block(_)));
        self.things.iter().for_each(|(thing, mark)| thing.verify(*mark));
        self.live(60);
        self.things.iter().for_each(|(thing, mark)| thing.verify(*mark));
        for child in std::mem::take(&mut self.children) {
            end(child, &mut self.random);
        }
        match self.random.below(4) {
            // End without any cleanup.
            0 => {}
            1 => self.things.clear(),
            // SAFETY: this is the only thread, and it ends the process without any further access.
            2 => unsafe { arena::leave() },
            _ => {
                self.things.clear();
                assert!(arena::leave_if_done());
            }
        }
    }
}

fn end((child, may_be_killed): (Child, bool), random: &mut Random) {
    if may_be_killed && random.below(2) == 0 {
        child.kill();
    }
    match child.wait() {
        Ended::Exited(0) | Ended::Killed(libc::SIGKILL) => {}
        ended => panic!("{ended:?}"),
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_left() {
    alone(|| {
        let session = Session::get().unwrap();
        session.set_warm_limit(4 << 20);
        let mut random = Random::seeded();
        // The tree may be cut anywhere; orphans end by themselves, but none may outlive the test.
        // SAFETY: prctl takes integers.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        for _ in 0..3 {
            let mut family =
                Family { things: Vec::new(), children: Vec::new(), random: Random::from(random.word()), depth: 0 };
            family.live(400);
            session.check().unwrap();
            family.things.iter().for_each(|(thing, mark)| thing.verify(*mark));
            for child in family.children {
                end(child, &mut random);
            }
            drop(family.things);
            // SAFETY: waits for any child; nothing is written.
            while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
            while session.statistics().unwrap().objects > 0 {
                session.reclaim().unwrap();
            }
            session.check().unwrap();
        }
    });
}
