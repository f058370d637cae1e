//! One worker, as its supervisor sees it.

use std::collections::VecDeque;
use std::sync::Arc;

use kettle_core::sys::child::Child;

use super::super::pending::Span;
use super::desk::{Desk, Mark};
use super::letters::{ANNOUNCED, BATCHED};
use super::words;

/// Identifies a seat. Ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub(super) u64);

impl SeatId {
    /// Returns the id as a number.
    pub fn to_bits(self) -> u64 {
        self.0
    }
}

/// Why a worker ended before its task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ended by itself, or was killed from outside the pool.
    Died,
    /// Its task exceeded its time limit.
    TimedOut,
    /// Its task was cancelled.
    Cancelled,
    /// It exceeded its memory limit.
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
    /// It leaves once it has finished the chunks in its hand.
    Leaving,
    Ending {
        why: Fate,
        /// When it is killed, if it has not ended before; `None` until it was judged and asked to end.
        kill_at: Option<u64>,
        /// Its task, if that was not reported when it was judged. A later report is ignored.
        victim: Option<(u64, u32)>,
    },
}

/// A chunk that a worker is processing, or that waits in its queue.
#[derive(Debug)]
pub(super) struct Held<J> {
    pub(super) id: u64,
    pub(super) job: J,
    /// The number of its first task.
    pub(super) start: u64,
    pub(super) len: u32,
    /// The number of its tasks that have an outcome; outcomes come in order.
    pub(super) finished: u32,
    /// In nanoseconds.
    pub(super) timeout: Option<u64>,
    pub(super) sent_at: u64,
    pub(super) announces: Announces,
}

/// When the worker announces the outcomes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announces {
    /// Each one.
    Each,
    /// All of them at the end of the chunk.
    Chunk,
    /// With those of a later chunk, or when the worker has nothing to do.
    Later,
}

impl Announces {
    pub(super) fn flags(self) -> u32 {
        match self {
            Self::Each => 0,
            Self::Chunk => BATCHED | ANNOUNCED,
            Self::Later => BATCHED,
        }
    }
}

impl<J> Held<J> {
    /// The number of a task, by its index in the chunk.
    pub(super) fn number(&self, index: u32) -> u64 {
        self.start + u64::from(index)
    }

    /// The tasks from this index on.
    pub(super) fn tasks_from(&self, index: u32) -> Span {
        Span { start: self.number(index), len: self.len - index }
    }
}

#[derive(Debug)]
pub(super) struct Seat<J> {
    pub(super) id: SeatId,
    pub(super) desk: Desk,
    pub(super) child: Option<Arc<Child>>,
    pub(super) phase: Phase,
    /// Whether it reported ready, possibly before its process was registered here.
    pub(super) was_ready: bool,
    /// In the order in which they were sent, which is also the order in which they are processed.
    pub(super) hand: VecDeque<Held<J>>,
    /// The number of chunks that it may still be sent.
    pub(super) quota: Option<u32>,
    /// The jobs whose common data it was sent.
    pub(super) known: Vec<u64>,
    /// The number of words taken out of its ring.
    pub(super) taken: u64,
    pub(super) pace: Pace,
    /// The number of chunks that were sent since the last one whose end is announced.
    pub(super) unannounced: usize,
}

/// How long chunks take, by the supervisor's measurement: in nanoseconds, 0 while unknown.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) chunk: u64,
    /// When chunks were last finished.
    pub(super) last: u64,
}

/// The amount of work to keep queued for each worker, in nanoseconds: enough that no worker is idle while the
/// supervisor attends to others, and little enough that work does not wait long for one worker while others could begin
/// it.
const AHEAD: u64 = 4_000_000;
/// A worker whose chunks take this long, in nanoseconds, is sent only one at a time.
const LONG: u64 = 10_000_000;
const DEEPEST: u64 = 256;

impl Pace {
    /// Records that `chunks` chunks were finished since the last call. Returns how long each took.
    pub(super) fn finished(&mut self, chunks: u64, oldest_sent_at: u64, now: u64) -> u64 {
        let took = now.saturating_sub(self.last.max(oldest_sent_at)) / chunks.max(1);
        self.chunk = if self.chunk == 0 { took.max(1) } else { (self.chunk + took).div_ceil(2) };
        self.last = now;
        took
    }

    /// The number of chunks that the worker is to have in its hand.
    pub(super) fn depth(&self) -> usize {
        match self.chunk {
            0 => 1,
            LONG.. => 1,
            pace => (AHEAD / pace).clamp(2, DEEPEST) as usize,
        }
    }
}

impl<J> Seat<J> {
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
            unannounced: 0,
        }
    }

    /// Returns whether the worker's quota is used up but it was not told to leave, for lack of memory.
    pub(super) fn is_used_up(&self) -> bool {
        self.quota == Some(0) && matches!(self.phase, Phase::Starting | Phase::Ready)
    }

    /// Returns whether the worker counts towards the pool's size, so that it is not replaced yet. A leaving worker
    /// counts until it has finished its chunks, so that no more workers run tasks than the pool's size.
    pub(super) fn is_staff(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Starting | Phase::Ready => true,
            Phase::Leaving => !self.hand.is_empty(),
            Phase::Ending { .. } => false,
        }
    }

    /// Decides when the worker announces the outcomes of the next chunk, if no thread waits for single ones. The
    /// supervisor is to wake up when half the chunks are left that the worker should have in its hand. Outcomes that take
    /// long, or for an unknown time, are announced one by one.
    pub(super) fn next_announces(&mut self) -> Announces {
        if !(1..LONG).contains(&self.pace.chunk) {
            return Announces::Each;
        }
        self.unannounced += 1;
        if self.unannounced < self.pace.depth().div_ceil(2) {
            return Announces::Later;
        }
        self.unannounced = 0;
        Announces::Chunk
    }

    /// The time until its worker is expected to announce something, in nanoseconds; `None` if it has no chunk. It is 0
    /// while the pace is unknown.
    pub(super) fn next_announcement(&self) -> Option<u64> {
        let first = self.hand.front()?;
        if first.announces == Announces::Each {
            return Some(self.pace.chunk / u64::from(first.len.max(1)));
        }
        let announcing = self.hand.iter().position(|held| held.announces != Announces::Later);
        Some(self.pace.chunk * announcing.map_or(self.hand.len(), |at| at + 1) as u64)
    }

    pub(super) fn may_be_sent(&self) -> bool {
        self.quota != Some(0)
            && match self.phase {
                Phase::Ready => self.hand.len() < self.pace.depth() && self.has_room(),
                // A chunk that is there when the worker is ready saves it a wait.
                Phase::Starting => self.hand.is_empty(),
                Phase::Opening | Phase::Leaving | Phase::Ending { .. } => false,
            }
    }

    /// The number of chunks in its hand that it has not begun. A worker that is not ready has not even begun the first.
    pub(super) fn waiting(&self) -> usize {
        self.hand.len() - usize::from(self.phase != Phase::Starting && !self.hand.is_empty())
    }

    /// Returns whether the outcomes of one more chunk, if it is as long as the last one, fit into the ring.
    fn has_room(&self) -> bool {
        let last = self.hand.back().map_or(0, |held| u64::from(held.len));
        // One chunk is to be queued in any case.
        self.hand.len() < 2 || (self.hand.len() as u64 + 1) * last <= words::LEN
    }

    /// The task that the worker is running or about to report: the first unreported one, if the worker has begun it.
    pub(super) fn current(&self) -> Option<(u64, u32)> {
        let (mark, held) = (self.desk.mark(), self.hand.front()?);
        (mark.chunk() == held.id && mark.task() == held.finished).then_some((held.id, held.finished))
    }

    /// The chunk that the worker is unpacking.
    pub(super) fn opening(&self) -> Option<u64> {
        let (mark, held) = (self.desk.mark(), self.hand.front()?);
        (mark == Mark::opening(held.id)).then_some(held.id)
    }

    pub(super) fn signal(&self, signal: i32) {
        if let Some(child) = &self.child {
            // This fails if the worker has ended, or if it runs as another user, which cannot be helped.
            let _ = child.signal(signal);
        }
    }
}
