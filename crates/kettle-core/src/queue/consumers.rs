//! Who took messages and has not finished them.

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sys::Owner;

/// For each process, how many messages it took and did not finish; kept by joinable queues alone.
///
/// ```text
/// entry:  63            32 31            0
///         [ participant   ][ outstanding  ]
/// ```
///
/// There is no count of what is finished: what is unfinished is what lies in the queue and what these entries tell. So
/// finishing is one compare-exchange, and a death in the middle of it leaves it done or not done. Taking raises an
/// entry *before* the message leaves the queue; who dies between the two has one too many outstanding, which is then
/// told as part of its loss although somebody else gets that message.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Consumers {
    /// Outstanding messages of processes that found no free entry, and of threads. Nobody watches their death.
    others: AtomicU32,
    losses: AtomicU32,
    last_loss: AtomicU64,
    entries: [AtomicU64; ENTRIES],
}

const ENTRIES: usize = if cfg!(loom) { 2 } else { 32 };
const COUNT: u64 = u32::MAX as u64;

/// What a dead process had taken and not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Who died.
    pub consumer: Owner,
    /// How many messages went with it.
    pub unfinished: u32,
}

/// More messages were said to be done than were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

impl Consumers {
    pub(super) fn new() -> Self {
        Self {
            others: AtomicU32::new(0),
            losses: AtomicU32::new(0),
            last_loss: AtomicU64::new(0),
            entries: [0; ENTRIES].map(AtomicU64::new),
        }
    }

    /// Under the head's lock: `me` takes one.
    pub(super) fn took(&self, me: Owner, is_dead: impl Fn(Owner) -> bool) {
        let me = me.participant().to_bits();
        if me == 0 || !(self.raise_own(me) || self.settle(me, is_dead)) {
            self.others.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn raise_own(&self, me: u64) -> bool {
        self.entries.iter().any(|e| {
            e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |w| (w & !COUNT == me).then_some(w + 1)).is_ok()
        })
    }

    /// Takes an entry that nobody needs: a free one, else one of a process that is dead or has nothing outstanding.
    fn settle(&self, me: u64, is_dead: impl Fn(Owner) -> bool) -> bool {
        let free = |w: u64| w == 0;
        let dead = |w: u64| w & COUNT == 0 && is_dead(Owner::from_bits(w & !COUNT));
        let idle = |w: u64| w & COUNT == 0;
        let take = |may: &dyn Fn(u64) -> bool| {
            self.entries
                .iter()
                .any(|e| e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |w| may(w).then_some(me | 1)).is_ok())
        };
        take(&free) || take(&dead) || take(&idle)
    }

    /// `me` finished one. If it has none outstanding, one that another process took: passing work on is legal.
    pub(super) fn done(&self, me: Owner) -> Result<(), TooManyDone> {
        let me = me.participant().to_bits();
        let lower = |w: u64| (w & COUNT != 0).then(|| w - 1);
        let own = |e: &AtomicU64| {
            e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |w| lower(w).filter(|_| w & !COUNT == me)).is_ok()
        };
        let any = |e: &AtomicU64| e.fetch_update(Ordering::SeqCst, Ordering::Relaxed, lower).is_ok();
        let other = || self.others.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        if (me != 0 && self.entries.iter().any(own)) || other() || self.entries.iter().any(any) {
            Ok(())
        } else {
            Err(TooManyDone)
        }
    }

    pub(super) fn outstanding(&self) -> u32 {
        let tracked = self.entries.iter().map(|e| (e.load(Ordering::SeqCst) & COUNT) as u32);
        tracked.fold(self.others.load(Ordering::SeqCst), u32::saturating_add)
    }

    /// How many losses were found so far.
    pub(super) fn losses(&self) -> u32 {
        self.losses.load(Ordering::SeqCst)
    }

    /// The latest loss, if one was found since `losses` told `before`.
    pub(super) fn loss_since(&self, before: u32) -> Option<Loss> {
        (self.losses() != before).then(|| {
            let word = self.last_loss.load(Ordering::SeqCst);
            Loss { consumer: Owner::from_bits(word & !COUNT), unfinished: (word & COUNT) as u32 }
        })
    }

    /// Writes off what a dead process had outstanding.
    pub(super) fn find_loss(&self, is_dead: impl Fn(Owner) -> bool) -> Option<Loss> {
        for entry in &self.entries {
            let word = entry.load(Ordering::SeqCst);
            let loss = Loss { consumer: Owner::from_bits(word & !COUNT), unfinished: (word & COUNT) as u32 };
            if loss.unfinished == 0 || !is_dead(loss.consumer) {
                continue;
            }
            // Told before it is written off: otherwise somebody who waits could see everything finished and go on.
            self.last_loss.store(word, Ordering::SeqCst);
            self.losses.fetch_add(1, Ordering::SeqCst);
            if entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return Some(loss);
            }
        }
        None
    }
}
