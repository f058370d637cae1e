//! The allocator: what it returns, and what it retains.

mod arena_support;

use std::collections::BTreeMap;

use arena_support::{Child, Ended, Gate, Random, alone};
use kettle_core::arena::{ArenaError, Block, Body, Handle, Session, Shortage};

const MIB: u64 = 1 << 20;

fn session() -> Session {
    Session::get().unwrap()
}

fn check() {
    session().check().unwrap();
}

/// Realistic sizes: mostly small, some of several pages, a few large.
fn random_size(random: &mut Random) -> usize {
    (match random.below(100) {
        0..60 => 1 + random.below(2000),
        60..90 => 1 + random.below(64 << 10),
        90..98 => 1 + random.below(MIB),
        _ => 1 + random.below(8 * MIB),
    }) as usize
}

/// A block filled with a mark: at both ends, and in places in between.
struct Marked {
    block: Block,
    mark: u64,
}

impl Marked {
    fn new(len: usize, mark: u64) -> Result<Self, ArenaError> {
        let mut block = Block::allocate(len)?;
        if mark % 2 == 0 {
            let bytes = vec![mark as u8; len];
            block.fill(&bytes);
        } else {
            block.as_mut_slice().fill(mark as u8);
        }
        Ok(Self { block, mark })
    }

    fn verify(&self) {
        let bytes = self.block.as_slice();
        let step = (bytes.len() / 100).max(1);
        for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            assert_eq!(bytes[at], self.mark as u8, "byte {at} of {} was overwritten", bytes.len());
        }
    }
}

fn churn(random: &mut Random, steps: u64, most: usize, checks: bool) {
    let mut blocks: Vec<Marked> = Vec::new();
    for step in 0..steps {
        if blocks.len() < most && random.below(100) < 55 {
            let len = random_size(random);
            let marked = Marked::new(len, step).unwrap();
            assert_eq!(marked.block.len(), len);
            assert_eq!(marked.block.as_ptr().addr().get() % 64, 0);
            blocks.push(marked);
        } else if !blocks.is_empty() {
            let at = random.below(blocks.len() as u64) as usize;
            blocks.swap_remove(at).verify();
        }
        if checks && step % 64 == 0 {
            check();
        }
    }
    blocks.iter().for_each(Marked::verify);
}

#[test]
fn blocks_are_apart_and_keep_what_is_written() {
    alone(|| {
        let mut random = Random::seeded();
        churn(&mut random, 6000, 60, true);
        let stats = session().statistics().unwrap();
        assert_eq!(stats.objects, 0);
        check();
    });
}

#[test]
fn no_two_blocks_overlap() {
    alone(|| {
        let mut random = Random::seeded();
        let mut taken: BTreeMap<usize, (usize, Block)> = BTreeMap::new();
        for _ in 0..4000 {
            if random.below(3) > 0 {
                let len = 1 + random.below(40_000) as usize;
                let block = Block::allocate(len).unwrap();
                // Including its header.
                let (start, end) = (block.as_ptr().addr().get() - 64, block.as_ptr().addr().get() + len);
                if let Some((_, (before, _))) = taken.range(..=start).next_back() {
                    assert!(*before <= start);
                }
                if let Some((&after, _)) = taken.range(start..).next() {
                    assert!(end <= after);
                }
                taken.insert(start, (end, block));
            } else if let Some(&start) = taken.keys().nth(random.below(taken.len().max(1) as u64) as usize) {
                taken.remove(&start);
            }
        }
        check();
    });
}

#[test]
fn what_is_freed_is_used_again() {
    alone(|| {
        drop(Block::allocate(100_000).unwrap());
        let first = Block::allocate(100_000).unwrap();
        assert!(!first.is_cold());
        let before = session().statistics().unwrap();
        drop(first);
        for _ in 0..1000 {
            drop(Block::allocate(100_000).unwrap());
            drop(Block::allocate(700).unwrap());
        }
        let after = session().statistics().unwrap();
        assert_eq!(before.file_bytes, after.file_bytes);
        assert_eq!(before.segments, after.segments);
    });
}

/// Small blocks throughout the arena, all freed, must make room for a large one.
#[test]
fn neighbours_are_merged_when_nothing_fits() {
    alone(|| {
        session().set_limit(Some(16 * MIB));
        let mut small = Vec::new();
        while let Ok(block) = Block::allocate(20_000) {
            small.push(block);
        }
        assert!(small.len() > 600);
        drop(small);
        let large = Block::allocate(7 * MIB as usize).unwrap();
        check();
        drop(large);
        // And with objects smaller than a page.
        let mut tiny = Vec::new();
        while let Ok(block) = Block::allocate(50) {
            tiny.push(block);
        }
        assert!(tiny.len() > 100_000);
        drop(tiny);
        Block::allocate(7 * MIB as usize).unwrap();
        check();
    });
}

#[test]
fn a_limit_is_an_error_at_the_call_and_nothing_else() {
    alone(|| {
        session().set_limit(Some(24 * MIB));
        let mut blocks = Vec::new();
        let error = loop {
            match Block::copy_of(&vec![1; MIB as usize]) {
                Ok(block) => blocks.push(block),
                Err(e) => break e,
            }
        };
        assert!((18..=24).contains(&blocks.len()), "{} blocks of 1 MiB in 24 MiB", blocks.len());
        assert!(
            matches!(error, ArenaError::OutOfMemory { why: Shortage::Limit { limit, .. }, .. } if limit == 24 * MIB),
            "{error:?}"
        );
        assert!(error.to_string().contains("KETTLE_ARENA_LIMIT"), "{error}");
        check();
        // Smaller blocks may still fit, freed ones make room, and a higher limit helps.
        blocks.pop();
        blocks.push(Block::copy_of(&vec![1; MIB as usize]).unwrap());
        session().set_limit(None);
        blocks.push(Block::copy_of(&vec![1; 4 * MIB as usize]).unwrap());
        check();
        assert!(Block::allocate(usize::MAX).is_err());
        assert!(Block::allocate(1 << 46).is_err());
        check();
    });
}

#[test]
fn the_environment_sets_a_limit() {
    alone(|| {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("KETTLE_ARENA_LIMIT", "5M") };
        assert_eq!(session().statistics().unwrap().limit, Some(5 * MIB));
        assert!(Block::allocate(6 * MIB as usize).is_err());
        Block::allocate(3 * MIB as usize).unwrap();
    });
    alone(|| {
        // SAFETY: as above.
        unsafe { std::env::set_var("KETTLE_ARENA_LIMIT", "plenty") };
        let error = Session::get().unwrap_err().to_string();
        assert!(error.contains("plenty"), "{error}");
    });
    alone(|| {
        // SAFETY: as above.
        unsafe { std::env::set_var("KETTLE_ARENA_LIMIT", "none") };
        assert_eq!(session().statistics().unwrap().limit, None);
    });
    alone(|| {
        // SAFETY: as above.
        unsafe { std::env::remove_var("KETTLE_ARENA_LIMIT") };
        let total = kettle_core::sys::limits::total().unwrap();
        assert_eq!(session().statistics().unwrap().limit, Some(total / 2));
        session().set_limit(None);
        assert_eq!(session().statistics().unwrap().limit, None);
    });
}

#[test]
fn a_limit_on_the_length_of_files_is_an_error_not_a_signal() {
    alone(|| {
        let limit = libc::rlimit { rlim_cur: 6 * MIB, rlim_max: 6 * MIB };
        // SAFETY: a valid rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
        let mut blocks = Vec::new();
        let error = loop {
            match Block::copy_of(&[1; 100_000]) {
                Ok(block) => blocks.push(block),
                Err(e) => break e,
            }
        };
        assert!(blocks.len() > 30);
        assert!(error.to_string().contains("ulimit -f"), "{error}");
        check();
    });
}

/// Memory that the session allocated before the process had a limit is usable under the limit, too.
#[test]
fn a_lower_limit_on_files_in_a_child_hurts_only_growing() {
    alone(|| {
        let block = Block::allocate(4 * MIB as usize).unwrap();
        drop(block);
        Child::fork(|| {
            let limit = libc::rlimit { rlim_cur: MIB, rlim_max: MIB };
            // SAFETY: a valid rlimit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
            Marked::new(3 * MIB as usize, 2).unwrap().verify();
            assert!(Block::allocate(200 * MIB as usize).is_err());
        })
        .succeeds();
        check();
    });
}

#[test]
fn a_limit_on_the_address_space_is_an_error() {
    alone(|| {
        session();
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
        let limit = libc::rlimit { rlim_cur: pages * 4096 + 40 * MIB, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a valid rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        let error = Block::allocate(100 * MIB as usize).unwrap_err().to_string();
        assert!(error.contains("ulimit -v"), "{error}");
        Marked::new(MIB as usize, 1).unwrap().verify();
        check();
    });
}

#[test]
fn a_burst_gives_its_memory_back() {
    alone(|| {
        let mut blocks = Vec::new();
        for _ in 0..12 {
            blocks.push(Block::copy_of(&vec![1; 16 * MIB as usize]).unwrap());
        }
        let full = session().statistics().unwrap();
        assert!(full.resident_bytes >= 192 * MIB);
        drop(blocks);
        let after = session().statistics().unwrap();
        assert!(after.resident_bytes < 72 * MIB, "{} MiB remain", after.resident_bytes / MIB);
        assert!(after.resident_bytes > 32 * MIB, "warm blocks are worth keeping");
        session().reclaim().unwrap();
        let trimmed = session().statistics().unwrap();
        assert!(trimmed.resident_bytes < 3 * MIB, "{} KiB remain", trimmed.resident_bytes >> 10);
        assert_eq!(trimmed.warm_bytes, 0);
        check();
        session().set_warm_limit(0);
        check();
        // The memory is available again, for small blocks as well.
        let again: Vec<_> = (0..12).map(|_| Block::copy_of(&vec![2; 16 * MIB as usize]).unwrap()).collect();
        assert!(again.iter().all(|b| b.as_slice().iter().step_by(1000).all(|&b| b == 2)));
        assert!(session().statistics().unwrap().file_bytes < full.file_bytes + 64 * MIB);
        drop(again);
        assert!(session().statistics().unwrap().resident_bytes < 8 * MIB + 64 * MIB);
        check();
    });
}

#[test]
fn what_a_burst_took_comes_back_whatever_the_size() {
    const WARM: u64 = 4 * MIB;
    for len in [1, 40, 100, 300, 900, 1900, 3000, 8000, 20_000, 60_000, 100_000, 1 << 20, 20 << 20] {
        alone(|| {
            session().set_warm_limit(WARM);
            // Some blocks stay alive in between, as those of other parts of a program would.
            let kept: Vec<_> = (0..8).map(|_| Block::copy_of(&vec![1; len]).unwrap()).collect();
            let before = session().statistics().unwrap();
            let count = (40 * MIB as usize).div_ceil(len.max(128));
            let blocks: Vec<_> = (0..count).map(|_| Block::copy_of(&vec![2; len]).unwrap()).collect();
            let full = session().statistics().unwrap();
            let grown = full.resident_bytes - before.resident_bytes;
            assert!(grown >= 30 * MIB, "{len}: {} MiB", grown / MIB);
            drop(blocks);
            check();
            let after = session().statistics().unwrap();
            let left = after.resident_bytes - before.resident_bytes;
            // Twice the amount that stays committed, and the page map.
            assert!(left <= 2 * WARM + MIB, "{len}: {} KiB remain", left >> 10);
            session().reclaim().unwrap();
            let left = session().statistics().unwrap().resident_bytes.saturating_sub(before.resident_bytes);
            assert!(left <= MIB, "{len}: {} KiB remain after reclaim", left >> 10);
            assert_eq!(session().statistics().unwrap().objects, before.objects);
            check();
            drop(kept);
        });
    }
}

/// A body without content.
#[repr(C)]
struct Empty;
// SAFETY: it has no content.
unsafe impl Body for Empty {
    const KIND: u32 = 1000;
}

#[test]
fn tails_are_zero_wherever_their_memory_was_before() {
    alone(|| {
        let mut random = Random::seeded();
        session().set_warm_limit(256 << 10);
        for _ in 0..60 {
            let mut blocks = Vec::new();
            for _ in 0..20 {
                let len = 1 + random.below(200_000) as usize;
                let mut block = Block::allocate(len).unwrap();
                block.as_mut_slice().fill(0xff);
                blocks.push(block);
            }
            while !blocks.is_empty() {
                let at = random.below(blocks.len() as u64) as usize;
                blocks.swap_remove(at);
            }
            let handle = Handle::with_tail(1 + random.below(700_000) as usize, || Empty).unwrap();
            let (at, len) = handle.tail();
            // SAFETY: no thread writes to the tail.
            let tail = unsafe { std::slice::from_raw_parts(at.as_ptr(), len) };
            let dirty = tail.iter().position(|&b| b != 0);
            assert_eq!(dirty, None, "in a tail of {len} bytes");
        }
        check();
    });
}

#[test]
fn processes_allocate_side_by_side() {
    alone(|| {
        check();
        let children: Vec<_> = (0..4).map(|_| Child::fork(|| churn(&mut Random::seeded(), 1500, 20, false))).collect();
        churn(&mut Random::seeded(), 1500, 20, false);
        children.into_iter().for_each(Child::succeeds);
        check();
        assert_eq!(session().statistics().unwrap().objects, 0);
    });
}

#[test]
fn threads_allocate_side_by_side() {
    alone(|| {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| churn(&mut Random::seeded(), 1500, 20, false));
            }
        });
        check();
        assert_eq!(session().statistics().unwrap().objects, 0);
    });
}

/// Processes killed at any instruction, not only at named points.
#[test]
fn processes_killed_anywhere_do_no_harm() {
    alone(|| {
        let mut random = Random::seeded();
        check();
        for _ in 0..60 {
            let begun = Gate::new();
            let child = Child::fork(|| {
                begun.open();
                loop {
                    churn(&mut Random::seeded(), 1000, 30, false);
                }
            });
            begun.pass();
            let mark = random.word();
            // Allocate meanwhile, so that the lock is contended.
            churn(&mut random, mark % 40, 30, false);
            child.kill();
            assert_eq!(child.wait(), Ended::Killed(libc::SIGKILL));
            check();
        }
        session().reclaim().unwrap();
        check();
        let stats = session().statistics().unwrap();
        assert_eq!(stats.objects, 0, "{stats:?}");
    });
}

/// A block allocated before another process was started is visible there, and vice versa.
#[test]
fn segments_made_later_are_found_by_all() {
    alone(|| {
        session();
        let (there, back) = (Gate::new(), Gate::new());
        let child = Child::fork(|| {
            for _ in 0..8 {
                let off = kettle_core::arena::Off::from_bits(there.hear()).unwrap();
                // SAFETY: the parent gave it up in our favour.
                let block = unsafe { Block::take(off).unwrap() };
                assert!(block.as_slice().iter().all(|&b| b == 5));
                drop(block);
                back.tell(Block::copy_of(&vec![6; 20 * MIB as usize]).unwrap().into_off().to_bits());
            }
        });
        let mut held = Vec::new();
        for _ in 0..8 {
            there.tell(Block::copy_of(&vec![5; 20 * MIB as usize]).unwrap().into_off().to_bits());
            let off = kettle_core::arena::Off::from_bits(back.hear()).unwrap();
            // SAFETY: the child gave it up in our favour.
            let block = unsafe { Block::take(off).unwrap() };
            assert!(block.as_slice().iter().step_by(4096).all(|&b| b == 6));
            held.push(block);
        }
        child.succeeds();
        drop(held);
        check();
    });
}
