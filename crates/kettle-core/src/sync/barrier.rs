//! Meeting at a point.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::stats::BarrierStatistics;
use crate::sys::Owner;
use crate::wait::{EventCount, Patience, Stopped};

/// A place where a fixed number of parties wait for each other, round after round.
///
/// ```text
/// state:  63        32 31 30 29         0
///         [  round   ][ phase ][ arrived ]
///
///   FILLING ──last one arrives──► ACTING ──its action went well──► FILLING, next round
///      │                             │
///      └── late, aborted, ───────────┴──► BROKEN ──reset──► FILLING, next round
///          a party found dead
/// ```
///
/// Every arrow is one compare-exchange on the state. A waiter knows its round: when the state is in another one, the
/// round ended well, unless its bit in `spoilt` says that it was reset under those who waited.
///
/// *Death.* A party signs the list before it counts as arrived, and crosses itself out when it goes. Those who wait
/// look at the list after each nap: a dead one breaks the barrier.
#[repr(C)]
#[derive(Debug)]
pub struct Barrier {
    state: AtomicU64,
    spoilt: AtomicU64,
    parties: AtomicU32,
    _pad: AtomicU32,
    changed: EventCount,
    list: [AtomicU64; Self::SIGNED],
}

const FILLING: u64 = 0;
const ACTING: u64 = 1 << 30;
const BROKEN: u64 = 2 << 30;
const PHASE: u64 = 3 << 30;
const ARRIVED: u64 = (1 << 30) - 1;
const ROUND: u64 = 1 << 32;

/// Why a barrier let nobody through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierError {
    /// It is broken: somebody was late, gave up, died, or reset it.
    Broken,
    /// The caller was interrupted; the barrier is broken now.
    Interrupted,
}

/// What became of an arrival.
#[derive(Debug)]
pub enum Turn<'a> {
    /// All have come. The number says who: 0 came first.
    Through(u32),
    /// The caller came last: the others wait until it says how its action went.
    Last(LastToCome<'a>),
}

/// The duty of the one that came last. Dropped without [`done`](Self::done), it breaks the barrier.
#[derive(Debug)]
pub struct LastToCome<'a> {
    barrier: &'a Barrier,
    round: u64,
    signed: Option<usize>,
    notify: fn(&Barrier),
    finished: bool,
}

impl Barrier {
    /// How many parties are watched for their death; those of a larger barrier that come after these are not.
    pub const SIGNED: usize = 96;
    /// The most parties there can be.
    pub const MAX_PARTIES: u32 = ARRIVED as u32;

    /// A barrier for `parties`.
    pub fn new(parties: u32) -> Self {
        Self {
            state: AtomicU64::new(FILLING),
            spoilt: AtomicU64::new(0),
            parties: AtomicU32::new(parties),
            _pad: AtomicU32::new(0),
            changed: EventCount::new(),
            list: [0; Self::SIGNED].map(AtomicU64::new),
        }
    }

    /// Arrives, without waiting for the others.
    ///
    /// `Ok(None)`: the round before is still being ended; try again when [`changed`](Self::changed) says so.
    ///
    /// # Errors
    /// When the barrier is broken.
    pub fn arrive<H: Home>(&self) -> Result<Option<Arrival>, BarrierError> {
        if self.state.load(Ordering::SeqCst) & PHASE == BROKEN {
            return Err(BarrierError::Broken);
        }
        let signed = self.sign::<H>();
        crash_point("barrier.arrive.signed");
        let parties = u64::from(self.parties());
        let stepped = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            if s & PHASE != FILLING {
                return None;
            }
            Some(if s & ARRIVED == parties - 1 { (s + 1) | ACTING } else { s + 1 })
        });
        match stepped {
            Ok(s) => Ok(Some(Arrival {
                round: s & !(ROUND - 1),
                index: (s & ARRIVED) as u32,
                last: s & ARRIVED == parties - 1,
                signed,
            })),
            Err(s) => {
                self.cross_out(signed);
                if s & PHASE == BROKEN { Err(BarrierError::Broken) } else { Ok(None) }
            }
        }
    }

    /// Whether the round of `arrival` is over, and how.
    pub fn poll(&self, arrival: &Arrival) -> Option<Result<u32, BarrierError>> {
        let s = self.state.load(Ordering::SeqCst);
        if s & !(ROUND - 1) != arrival.round {
            let bit = 1 << (arrival.round / ROUND % 64);
            return Some(match self.spoilt.load(Ordering::SeqCst) & bit {
                0 => Ok(arrival.index),
                _ => Err(BarrierError::Broken),
            });
        }
        (s & PHASE == BROKEN).then_some(Err(BarrierError::Broken))
    }

    /// Arrives and waits for the others.
    ///
    /// # Errors
    /// When the barrier is broken, also by this call's being late.
    pub fn wait<H: Home>(&self, patience: &Patience<'_>) -> Result<Turn<'_>, BarrierError> {
        let arrive = || self.arrive::<H>().transpose();
        let arrived = match arrive() {
            Some(r) => r,
            None => self
                .changed
                .wait_for(patience, H::SCOPE, arrive, || self.find_dead::<H>().map(Err))
                .map_err(|stopped| self.give_up::<H>(stopped))?,
        }?;
        if arrived.last {
            return Ok(Turn::Last(self.last::<H>(arrived)));
        }
        let result = self
            .changed
            .wait_for(patience, H::SCOPE, || self.poll(&arrived), || self.find_dead::<H>().map(Err))
            .unwrap_or_else(|stopped| Err(self.give_up::<H>(stopped)));
        self.leave(&arrived);
        result.map(Turn::Through)
    }

    /// What the last to come has to do.
    pub fn last<H: Home>(&self, arrival: Arrival) -> LastToCome<'_> {
        LastToCome {
            barrier: self,
            round: arrival.round,
            signed: arrival.signed,
            notify: |b| b.changed.notify_all(H::SCOPE),
            finished: false,
        }
    }

    /// Goes away from a round that is over.
    pub fn leave(&self, arrival: &Arrival) {
        self.cross_out(arrival.signed);
    }

    /// After a nap: breaks the barrier if one of its parties is dead.
    pub fn find_dead<H: Home>(&self) -> Option<BarrierError> {
        let dead = self.list.iter().any(|p| {
            let owner = Owner::from_bits(p.load(Ordering::SeqCst));
            !owner.is_nobody() && H::is_dead(owner)
        });
        if !dead {
            return None;
        }
        self.abort::<H>();
        Some(BarrierError::Broken)
    }

    fn give_up<H: Home>(&self, stopped: Stopped) -> BarrierError {
        self.abort::<H>();
        match stopped {
            Stopped::TimedOut => BarrierError::Broken,
            Stopped::Interrupted => BarrierError::Interrupted,
        }
    }

    /// Breaks the barrier: those who wait and those who come get an error until it is reset.
    pub fn abort<H: Home>(&self) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| Some(s & !PHASE | BROKEN));
        self.changed.notify_all(H::SCOPE);
    }

    /// Begins a new round with nobody there. Those who wait get an error.
    pub fn reset<H: Home>(&self) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            if s & ARRIVED == 0 && s & PHASE == FILLING {
                return None;
            }
            let bit = 1 << (s / ROUND % 64);
            // Told before the round is over, so that nobody takes it for one that ended well.
            self.spoilt.fetch_or(bit, Ordering::SeqCst);
            Some((s & !(ROUND - 1)).wrapping_add(ROUND))
        });
        for p in &self.list {
            let word = p.load(Ordering::SeqCst);
            if word != 0 && H::is_dead(Owner::from_bits(word)) {
                let _ = p.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
        self.open(self.state.load(Ordering::SeqCst) & !(ROUND - 1));
        self.changed.notify_all(H::SCOPE);
    }

    /// The bit of a round that begins must not tell of the one 64 rounds ago.
    fn open(&self, round: u64) {
        self.spoilt.fetch_and(!(1 << (round / ROUND % 64)), Ordering::SeqCst);
    }

    fn sign<H: Home>(&self) -> Option<usize> {
        let me = H::me().to_bits();
        self.list.iter().position(|p| p.compare_exchange(0, me, Ordering::SeqCst, Ordering::Relaxed).is_ok())
    }

    fn cross_out(&self, signed: Option<usize>) {
        if let Some(i) = signed {
            self.list[i].store(0, Ordering::SeqCst);
        }
    }

    /// How many must come.
    pub fn parties(&self) -> u32 {
        self.parties.load(Ordering::Relaxed)
    }

    /// How many wait now.
    pub fn waiting(&self) -> u32 {
        let s = self.state.load(Ordering::SeqCst);
        if s & PHASE == FILLING { (s & ARRIVED) as u32 } else { 0 }
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.state.load(Ordering::SeqCst) & PHASE == BROKEN
    }

    /// How it is.
    pub fn statistics(&self) -> BarrierStatistics {
        BarrierStatistics {
            parties: self.parties(),
            waiting: self.waiting(),
            broken: self.is_broken(),
            rounds: (self.state.load(Ordering::SeqCst) / ROUND) as u32,
        }
    }

    /// Where the parties wait.
    pub fn changed(&self) -> &EventCount {
        &self.changed
    }
}

/// One party's arrival in one round.
#[derive(Debug)]
pub struct Arrival {
    round: u64,
    index: u32,
    last: bool,
    signed: Option<usize>,
}

impl Arrival {
    /// Whether it completes its round.
    pub fn is_last(&self) -> bool {
        self.last
    }
}

impl LastToCome<'_> {
    /// The number of the one that came last.
    pub fn index(&self) -> u32 {
        self.barrier.parties() - 1
    }

    /// The action went well: lets all through.
    pub fn done(mut self) -> Result<u32, BarrierError> {
        self.finished = true;
        let barrier = self.barrier;
        barrier.open(self.round.wrapping_add(ROUND));
        let over = barrier.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            (s & !(ROUND - 1) == self.round && s & PHASE == ACTING).then_some(self.round.wrapping_add(ROUND))
        });
        // Broken or reset while the action ran: the round is spoilt for the others, and so for us.
        over.map(|_| self.index()).map_err(|_| BarrierError::Broken)
    }
}

impl Drop for LastToCome<'_> {
    fn drop(&mut self) {
        self.barrier.cross_out(self.signed);
        if !self.finished {
            let _ = self.barrier.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
                (s & !(ROUND - 1) == self.round).then_some(s & !PHASE | BROKEN)
            });
        }
        (self.notify)(self.barrier);
    }
}
