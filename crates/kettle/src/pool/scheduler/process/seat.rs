//! One worker as its supervisor sees it.

use std::collections::VecDeque;
use std::sync::Arc;

use kettle_core::sys::child::Child;

use super::desk::{Desk, Mark};
use super::words;

/// Names a seat for as long as its worker is there; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub(super) u64);

impl SeatId {
    /// As a number.
    pub fn to_bits(self) -> u64 {
        self.0
    }
}

/// Why a worker ended before its task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By itself, or somebody else killed it.
    Died,
    /// Its task took longer than it may.
    TimedOut,
    /// Its task was cancelled.
    Cancelled,
    /// It took more memory than it may.
    Memory,
}

/// ```text
/// Opening ──process there──► Starting ──says that it is ready──► Ready
///    └──────────────────────────┴───────────────┬─────────────────┘
///                                               ├──told to leave──► Leaving ────────────────────────┐
///                                               │                      │                            ├──► gone
///                                               └──────────────────────┴──► Ending (condemned, ─────┘
///                                                                           SIGTERM, then SIGKILL)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Starting,
    Ready,
    /// It goes when it has done what it has in hand.
    Leaving,
    Ending {
        why: Fate,
        /// When it is killed, if it has not gone before; None until it was judged and asked to end.
        kill_at: Option<u64>,
        /// Its task, if that was not reported when it was judged. What it reports later does not count.
        victim: Option<(u64, u32)>,
    },
}

/// A chunk that a worker has in hand, or waits for it in its queue.
#[derive(Debug)]
pub(super) struct Held<W> {
    pub(super) id: u64,
    pub(super) work: W,
    pub(super) len: u32,
    /// So many of its tasks have an outcome: these come in order.
    pub(super) finished: u32,
    /// In nanoseconds.
    pub(super) timeout: Option<u64>,
    pub(super) sent_at: u64,
}

#[derive(Debug)]
pub(super) struct Seat<W> {
    pub(super) id: SeatId,
    pub(super) desk: Desk,
    pub(super) child: Option<Arc<Child>>,
    pub(super) phase: Phase,
    /// It said that it is ready; perhaps before its process was known here.
    pub(super) was_ready: bool,
    /// In the order in which they were sent, which is that in which they are done.
    pub(super) hand: VecDeque<Held<W>>,
    /// How many more chunks it may be sent.
    pub(super) quota: Option<u32>,
    /// The jobs that it was taught.
    pub(super) known: Vec<u64>,
    /// How many words were taken out of its ring.
    pub(super) taken: u64,
    pub(super) pace: Pace,
}

/// How long chunks take, as far as the supervisor can tell: in nanoseconds, 0 while unknown.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) chunk: u64,
    /// When an outcome came last.
    pub(super) last: u64,
}

/// So much work shall wait at each seat, in nanoseconds: enough that no worker is idle while the supervisor looks
/// elsewhere, and little enough that what waits is not far from what other workers could begin.
const AHEAD: u64 = 1_000_000;
/// Above this, one chunk waits at most.
const LONG: u64 = 10_000_000;
const DEEPEST: u64 = 256;

impl Pace {
    /// `chunks` were finished since the last time; gives how long each took.
    pub(super) fn finished(&mut self, chunks: u64, oldest_sent_at: u64, now: u64) -> u64 {
        let took = now.saturating_sub(self.last.max(oldest_sent_at)) / chunks.max(1);
        self.chunk = if self.chunk == 0 { took.max(1) } else { (self.chunk + took).div_ceil(2) };
        self.last = now;
        took
    }

    /// How many chunks the worker shall have.
    pub(super) fn depth(&self) -> usize {
        match self.chunk {
            0 => 1,
            LONG.. => 1,
            pace => (AHEAD / pace).clamp(2, DEEPEST) as usize,
        }
    }
}

impl<W> Seat<W> {
    pub(super) fn new(id: SeatId, desk: Desk, quota: Option<u32>) -> Self {
        Self {
            id,
            desk,
            child: None,
            phase: Phase::Opening,
            was_ready: false,
            hand: VecDeque::new(),
            quota,
            known: Vec::new(),
            taken: 0,
            pace: Pace::default(),
        }
    }

    /// It will be sent nothing more and does not know it: there was no memory to tell it.
    pub(super) fn is_used_up(&self) -> bool {
        self.quota == Some(0) && matches!(self.phase, Phase::Starting | Phase::Ready)
    }

    /// Whether it is one of those that the pool counts on: nobody takes its place yet. One that is leaving counts
    /// until it has done its work, so that no more workers are at work than there are to be.
    pub(super) fn is_staff(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Starting | Phase::Ready => true,
            Phase::Leaving => !self.hand.is_empty(),
            Phase::Ending { .. } => false,
        }
    }

    pub(super) fn may_be_sent(&self) -> bool {
        self.quota != Some(0)
            && match self.phase {
                Phase::Ready => self.hand.len() < self.pace.depth() && self.has_room(),
                // What is here when it comes saves it a wait.
                Phase::Starting => self.hand.is_empty(),
                Phase::Opening | Phase::Leaving | Phase::Ending { .. } => false,
            }
    }

    /// Whether the outcomes of one chunk more, if it is as long as the last one, find room in the ring.
    fn has_room(&self) -> bool {
        let last = self.hand.back().map_or(0, |held| u64::from(held.len));
        // One is to wait for it in any case.
        self.hand.len() < 2 || (self.hand.len() as u64 + 1) * last <= words::LEN
    }

    /// The task that the worker is at, or about to report: the first that it has not reported, if it began that.
    pub(super) fn current(&self) -> Option<(u64, u32)> {
        let (mark, held) = (self.desk.mark(), self.hand.front()?);
        (mark.chunk() == held.id && mark.task() == held.finished).then_some((held.id, held.finished))
    }

    /// The chunk that the worker takes to pieces.
    pub(super) fn opening(&self) -> Option<u64> {
        let (mark, held) = (self.desk.mark(), self.hand.front()?);
        (mark == Mark::opening(held.id)).then_some(held.id)
    }

    pub(super) fn signal(&self, signal: i32) {
        if let Some(child) = &self.child {
            // It may have ended; if it changed its user, nobody can help.
            let _ = child.signal(signal);
        }
    }
}
