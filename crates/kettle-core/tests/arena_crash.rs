//! Processes killed between any two stores that matter. Needs the feature `crash-points`.
#![cfg(feature = "crash-points")]

mod arena_support;

use arena_support::{Child, Ended, alone};
use kettle_core::arena::{self, Block, Body, Handle, Session, participants};

const KIB: usize = 1 << 10;

#[repr(C)]
struct Empty;
// SAFETY: it has no content.
unsafe impl Body for Empty {
    const KIND: u32 = 1000;
}

/// Passes every crash point, most of them many times.
fn exercise() {
    let session = Session::get().unwrap();
    let mut blocks = Vec::new();
    for n in 0..24 {
        blocks.push(Block::copy_of(&vec![1; 300 + n * 97]).unwrap());
        blocks.push(Block::copy_of(&vec![2; 5 * KIB + n * 24 * KIB]).unwrap());
    }
    let handles: Vec<_> = (0..8).map(|n| Handle::with_tail(n * 9000, || Empty).unwrap()).collect();
    // First every other one, which leaves holes, and then the rest.
    let mut other = false;
    blocks.retain(|_| {
        other = !other;
        other
    });
    // More holders than fit into a header.
    let tickets: Vec<_> = (0..10).map(|_| participants::reserve_child().unwrap()).collect();
    // Recorded as this process, so that its death counts as theirs.
    tickets.iter().for_each(|&ticket| participants::child_started(ticket, std::process::id()));
    tickets.iter().for_each(|&ticket| _ = handles[0].token_for(ticket));
    tickets.into_iter().for_each(participants::release);
    let again = handles.clone();
    drop(handles);
    drop(again);
    let off = Block::allocate(9 * KIB).unwrap().into_off();
    // SAFETY: it was given up in the line above.
    drop(unsafe { Block::take(off).unwrap() });
    blocks.clear();
    // No single hole is this long: neighbours have to be merged, and then the arena has to grow.
    drop(Block::allocate(1500 * KIB).unwrap());
    drop(Block::allocate(4500 * KIB).unwrap());
    // Garbage for the reclaim.
    Child::fork(|| {
        kettle_core::disarm_crash_point();
        core::mem::forget((Handle::new(|| Empty).unwrap(), Block::allocate(70 * KIB).unwrap()));
    })
    .succeeds();
    session.reclaim().unwrap();
    // SAFETY: this process ends here.
    unsafe { arena::leave() };
}

fn dies_at(point: &str) {
    alone(|| {
        let session = Session::get().unwrap();
        session.set_warm_limit(1 << 20);
        session.set_limit(Some(12 << 20));
        let kept = Handle::with_tail(3000, || Empty).unwrap();
        let before = session.statistics().unwrap();
        for visit in 1.. {
            let child = Child::fork(|| {
                kettle_core::arm_crash_point(&format!("{point}:{visit}"));
                exercise();
            });
            match child.wait() {
                Ended::Killed(libc::SIGKILL) => {}
                Ended::Exited(0) if visit > 1 => break,
                ended => panic!("{point}:{visit}: {ended:?}"),
            }
            session.check().unwrap_or_else(|e| panic!("{point}:{visit}: {e}"));
            session.reclaim().unwrap();
            session.check().unwrap_or_else(|e| panic!("after reclaim, {point}:{visit}: {e}"));
            let after = session.statistics().unwrap();
            assert_eq!(after.objects, before.objects, "{point}:{visit}: objects were left behind");
            // Other processes continue.
            let block = Block::copy_of(&[3; 50_000]).unwrap();
            assert!(block.as_slice().iter().all(|&b| b == 3));
            let handle = Handle::with_tail(2 << 20, || Empty).unwrap();
            let (tail, len) = handle.tail();
            // SAFETY: no thread writes to the tail.
            let tail = unsafe { std::slice::from_raw_parts(tail.as_ptr(), len) };
            assert!(tail.iter().all(|&b| b == 0), "{point}:{visit}: a tail is not zeroed");
            drop(handle);
            if visit == 25 {
                break;
            }
        }
        assert_eq!(kept.tail().1, 3000);
        drop(kept);
        session.check().unwrap();
    });
}

/// If a thread panics there, its process lives on: no lock stays held, and the process itself can continue.
fn panics_at(point: &str) {
    const PANICKED: i32 = 7;
    alone(|| {
        let session = Session::get().unwrap();
        session.set_warm_limit(1 << 20);
        session.set_limit(Some(24 << 20));
        let kept = Handle::with_tail(3000, || Empty).unwrap();
        let before = session.statistics().unwrap();
        for visit in 1.. {
            let spec = format!("{point}:{visit}:panic");
            let child = Child::fork(|| {
                kettle_core::arm_crash_point(&spec);
                let result = std::panic::catch_unwind(exercise);
                kettle_core::disarm_crash_point();
                if result.is_err() {
                    session.check().unwrap_or_else(|e| panic!("{spec}: {e}"));
                    drop(Block::copy_of(&[3; 50_000]).unwrap());
                    drop(Handle::with_tail(2 << 20, || Empty).unwrap());
                    session.reclaim().unwrap();
                    session.check().unwrap_or_else(|e| panic!("after reclaim, {spec}: {e}"));
                    // SAFETY: _exit takes an integer.
                    unsafe { libc::_exit(PANICKED) };
                }
            });
            match child.wait() {
                Ended::Exited(PANICKED) => {}
                Ended::Exited(0) if visit > 1 => break,
                ended => panic!("{spec}: {ended:?}"),
            }
            // The objects it was working on were freed with it.
            session.reclaim().unwrap();
            session.check().unwrap_or_else(|e| panic!("{spec}: {e}"));
            assert_eq!(session.statistics().unwrap().objects, before.objects, "{spec}: objects were left behind");
            if visit == 12 {
                break;
            }
        }
        drop(kept);
        session.check().unwrap();
    });
}

#[test]
fn a_panic_at_any_point_leaves_nothing_locked() {
    POINTS.iter().for_each(|point| panics_at(point));
}

macro_rules! points {
    ($($test:ident: $point:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                dies_at($point);
            }
        )*
        const POINTS: &[&str] = &[$($point),*];
    };
}

points! {
    with_the_lock: "arena.lock.taken",
    splitting_a_run: "arena.alloc.split",
    warming_a_run: "arena.alloc.warmed",
    before_taking_a_run: "arena.alloc.before-commit",
    after_taking_a_run: "arena.alloc.after-commit",
    before_taking_a_small_object: "arena.slab.before-commit",
    after_taking_a_small_object: "arena.slab.after-commit",
    before_freeing: "arena.free.before-commit",
    after_freeing: "arena.free.after-commit",
    before_growing: "arena.grow.before-commit",
    after_growing: "arena.grow.after-commit",
    with_empty_bins: "arena.rebuild.cleared",
    merging: "arena.rebuild.merged",
    cooling: "arena.rebuild.cooled",
    before_linking_a_sheet: "arena.holders.before-link",
    letting_go: "arena.handle.let-go",
    tearing_down: "arena.object.dying",
    with_a_block_taken: "arena.block.taken",
    reclaiming: "arena.reclaim.condemned",
    leaving: "arena.participants.freed",
}
