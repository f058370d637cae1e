//! Meeting at a point.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::damage::{self, What};
use crate::stats::BarrierStatistics;
use crate::sys::Owner;
use crate::unwind::OnUnwind;
use crate::wait::{EventCount, Patience, Stopped};

/// A place where a fixed number of parties wait for each other, round after round.
///
/// ```text
/// state:  63     44 43       20 19   18 17        0
///         [ round  ][ history  ][ phase ][ arrived ]
///
///   FILLING ──last one arrives──► ACTING ──its action went well──► FILLING, next round
///      │                             │
///      └── late, aborted, ───────────┴──► BROKEN ──reset──► FILLING, next round
///          a party found dead
/// ```
///
/// Every arrow is one compare-exchange on the state. A waiter knows its round: when the state is in another one, the
/// history tells how the waiter's round ended, well (0) or reset under those who waited (1); its lowest bit is the
/// round that ended last.
///
/// *Death.* A party signs the list before it counts as arrived, and crosses itself out when it goes. Those who wait
/// look at the list after each nap: a dead one breaks the barrier. One that dies after its round ended, and before it
/// is out of the door, breaks the next round: that one lacks it, too.
#[repr(C)]
#[derive(Debug)]
pub struct Barrier {
    state: AtomicU64,
    parties: AtomicU32,
    /// Rounds that ended well, for the statistics.
    rounds: AtomicU32,
    changed: EventCount,
    list: [AtomicU64; Self::SIGNED],
}

const ARRIVED: u64 = (1 << 18) - 1;
const FILLING: u64 = 0;
const ACTING: u64 = 1 << 18;
const BROKEN: u64 = 2 << 18;
const PHASE: u64 = 3 << 18;
const HISTORY_AT: u32 = 20;
const HISTORY_LEN: u32 = 24;
const ROUND_AT: u32 = HISTORY_AT + HISTORY_LEN;
/// Round numbers wrap: a waiter that is late by exactly so many finds out at its next look.
const ROUNDS: u32 = 1 << (u64::BITS - ROUND_AT);

fn round_of(state: u64) -> u32 {
    (state >> ROUND_AT) as u32
}

/// The state after the end of this round: the next one begins.
fn next_round(state: u64, spoilt: bool) -> u64 {
    let history = (state >> HISTORY_AT) << 1 & ((1 << HISTORY_LEN) - 1) | u64::from(spoilt);
    u64::from((round_of(state) + 1) % ROUNDS) << ROUND_AT | history << HISTORY_AT | FILLING
}

/// Why a barrier let nobody through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierError {
    /// It is broken: somebody was late, gave up, died, or reset it.
    Broken,
    /// The caller was interrupted; the barrier is broken now.
    Interrupted,
    /// The barrier's memory is [damaged](crate::damage).
    Damaged,
}

impl BarrierError {
    fn of(stopped: Stopped) -> Self {
        match stopped {
            Stopped::TimedOut => Self::Broken,
            Stopped::Interrupted => Self::Interrupted,
            Stopped::Damaged => Self::Damaged,
        }
    }
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
    round: u32,
    signed: Option<usize>,
    notify: fn(&Barrier),
    finished: bool,
}

impl Barrier {
    /// How many parties are watched for their death; those of a larger barrier that come after these are not.
    #[cfg(not(loom))]
    pub const SIGNED: usize = 96;
    /// Few enough for a model.
    #[cfg(loom)]
    pub const SIGNED: usize = 2;
    /// The most parties there can be.
    pub const MAX_PARTIES: u32 = ARRIVED as u32;

    /// A barrier for `parties`.
    pub fn new(parties: u32) -> Self {
        Self {
            state: AtomicU64::new(FILLING),
            parties: AtomicU32::new(parties),
            rounds: AtomicU32::new(0),
            changed: EventCount::new(),
            list: [0; Self::SIGNED].map(AtomicU64::new),
        }
    }

    /// Is for `parties` from now on. Not for a barrier that somebody waits at.
    pub fn reinit(&self, parties: u32) {
        self.parties.store(parties, Ordering::SeqCst);
    }

    /// Arrives, without waiting for the others.
    ///
    /// `Ok(None)`: the round before is still being ended; try again when [`changed`](Self::changed) says so.
    ///
    /// # Errors
    /// When the barrier is broken.
    pub fn arrive<H: Home>(&self) -> Result<Option<Arrival>, BarrierError> {
        self.check::<H>()?;
        let signed = self.sign::<H>();
        // Whoever cannot go on must not be missed: who has not arrived is crossed out, who has breaks the round.
        let not_here = OnUnwind::new(|| self.cross_out(signed));
        crash_point("barrier.arrive.signed");
        not_here.done();
        let parties = u64::from(self.parties());
        let stepped = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            if s & PHASE != FILLING {
                return None;
            }
            Some(if s & ARRIVED == parties - 1 { (s + 1) | ACTING } else { s + 1 })
        });
        let counted = OnUnwind::new(|| {
            self.cross_out(signed);
            if let Ok(state) = stepped {
                self.break_round::<H>(round_of(state));
            }
        });
        crash_point("barrier.arrive.counted");
        counted.done();
        match stepped {
            Ok(s) => Ok(Some(Arrival {
                round: round_of(s),
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

    /// Whether the words can be those of a barrier.
    fn check<H: Home>(&self) -> Result<(), BarrierError> {
        if damage::is_marked(H::SCOPE) {
            return Err(BarrierError::Damaged);
        }
        let (state, parties) = (self.state.load(Ordering::SeqCst), self.parties());
        let arrived = state & ARRIVED;
        let is_a_phase = state & PHASE != PHASE;
        // All have arrived when the last one acts; a broken round keeps its number.
        let is_a_number = arrived < u64::from(parties) || (arrived == u64::from(parties) && state & PHASE != FILLING);
        if is_a_phase && is_a_number && parties <= Self::MAX_PARTIES {
            return Ok(());
        }
        damage::mark(H::SCOPE, What::Count, 0, state);
        Err(BarrierError::Damaged)
    }

    /// Whether the round of `arrival` is over, and how.
    pub fn poll(&self, arrival: &Arrival) -> Option<Result<u32, BarrierError>> {
        let s = self.state.load(Ordering::SeqCst);
        let ended_since = round_of(s).wrapping_sub(arrival.round) % ROUNDS;
        if ended_since == 0 {
            return (s & PHASE == BROKEN).then_some(Err(BarrierError::Broken));
        }
        // Longer ago than the history tells, most likely it ended as nearly all rounds do.
        let spoilt = ended_since <= HISTORY_LEN && s >> (HISTORY_AT + ended_since - 1) & 1 != 0;
        Some(if spoilt { Err(BarrierError::Broken) } else { Ok(arrival.index) })
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
                .wait_for(patience, H::SCOPE, arrive, || if self.find_dead::<H>() { arrive() } else { None })
                .map_err(|stopped| {
                    if stopped != Stopped::Damaged {
                        self.abort::<H>();
                    }
                    BarrierError::of(stopped)
                })?,
        }?;
        if arrived.last {
            return Ok(Turn::Last(self.last::<H>(arrived)));
        }
        let result = self
            .changed
            .wait_for(
                patience,
                H::SCOPE,
                || self.poll(&arrived),
                || if self.find_dead::<H>() { self.poll(&arrived) } else { None },
            )
            .unwrap_or_else(|stopped| self.give_up::<H>(&arrived, stopped));
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

    /// After a nap: breaks the round if one of its parties is dead, and says whether it did.
    pub fn find_dead<H: Home>(&self) -> bool {
        // Before the list: a round that has ended since must not suffer for it.
        let round = round_of(self.state.load(Ordering::SeqCst));
        let dead = self.list.iter().any(|p| {
            let owner = Owner::from_bits(p.load(Ordering::SeqCst));
            !owner.is_nobody() && H::is_dead(owner)
        });
        dead && self.break_round::<H>(round)
    }

    /// Breaks the round, unless it is over or broken.
    fn break_round<H: Home>(&self, round: u32) -> bool {
        let broken = self
            .state
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
                (round_of(s) == round && s & PHASE != BROKEN).then_some(s & !PHASE | BROKEN)
            })
            .is_ok();
        if broken {
            self.changed.notify_all(H::SCOPE);
        }
        broken
    }

    /// Breaks the round in which one waited in vain; if it ended just now, tells how.
    fn give_up<H: Home>(&self, arrival: &Arrival, stopped: Stopped) -> Result<u32, BarrierError> {
        if stopped == Stopped::Damaged {
            // The others are told the same.
            return Err(BarrierError::Damaged);
        }
        if self.break_round::<H>(arrival.round) {
            return Err(BarrierError::of(stopped));
        }
        self.poll(arrival).unwrap_or(Err(BarrierError::Broken))
    }

    /// Breaks the barrier: those who wait and those who come get an error until it is reset.
    pub fn abort<H: Home>(&self) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| Some(s & !PHASE | BROKEN));
        crash_point("barrier.abort.before-notify");
        self.changed.notify_all(H::SCOPE);
    }

    /// Begins a new round with nobody there. Those who wait get an error.
    pub fn reset<H: Home>(&self) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            (s & ARRIVED != 0 || s & PHASE != FILLING).then_some(next_round(s, true))
        });
        for p in &self.list {
            let word = p.load(Ordering::SeqCst);
            if word != 0 && H::is_dead(Owner::from_bits(word)) {
                let _ = p.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
        self.changed.notify_all(H::SCOPE);
    }

    fn sign<H: Home>(&self) -> Option<usize> {
        let me = H::try_me()?.to_bits();
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
            rounds: self.rounds.load(Ordering::Relaxed),
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
    round: u32,
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
        self.barrier.parties().saturating_sub(1)
    }

    /// The action went well: lets all through.
    pub fn done(mut self) -> Result<u32, BarrierError> {
        let barrier = self.barrier;
        crash_point("barrier.done.before");
        self.finished = true;
        let over = barrier.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            (round_of(s) == self.round && s & PHASE == ACTING).then_some(next_round(s, false))
        });
        crash_point("barrier.done.before-notify");
        // Broken or reset while the action ran: the round is spoilt for the others, and so for us.
        over.map_err(|_| BarrierError::Broken)?;
        barrier.rounds.fetch_add(1, Ordering::Relaxed);
        Ok(self.index())
    }
}

impl Drop for LastToCome<'_> {
    fn drop(&mut self) {
        self.barrier.cross_out(self.signed);
        if !self.finished {
            let _ = self.barrier.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
                (round_of(s) == self.round).then_some(s & !PHASE | BROKEN)
            });
        }
        (self.notify)(self.barrier);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Heap;

    fn barrier(state: u64, parties: u32) -> Barrier {
        let barrier = Barrier::new(parties);
        barrier.state.store(state, Ordering::Relaxed);
        barrier
    }

    #[test]
    fn a_word_that_cannot_be_is_not_believed() {
        let round = 7 << ROUND_AT | 5 << HISTORY_AT;
        for (state, parties, can_be) in [
            (FILLING, 3, true),
            (FILLING | 2, 3, true),
            (FILLING | 3, 3, false), // it would be acting
            (ACTING | 3, 3, true),
            (ACTING | 4, 3, false),
            (BROKEN, 3, true),
            (BROKEN | 3, 3, true),
            (BROKEN | 4, 3, false),
            (PHASE, 3, false),
            (PHASE | 2, 3, false),
            (FILLING, Barrier::MAX_PARTIES, true),
            (FILLING, Barrier::MAX_PARTIES + 1, false),
        ] {
            let barrier = barrier(round | state, parties);
            let said = format!("{state:#x} of {parties}");
            assert_eq!(barrier.check::<Heap>().is_ok(), can_be, "{said}");
            if !can_be {
                assert_eq!(barrier.arrive::<Heap>().err(), Some(BarrierError::Damaged), "{said}");
                assert_eq!(barrier.wait::<Heap>(&Patience::forever()).err(), Some(BarrierError::Damaged), "{said}");
            }
        }
    }

    /// However many rounds it slept through, as long as the history tells of its own.
    #[test]
    fn who_looks_late_learns_how_its_round_ended() {
        for first in [0, 1000, ROUNDS - 1] {
            let arrival = Arrival { round: first, index: 1, last: false, signed: None };
            for spoilt in [false, true] {
                let mut state = next_round(u64::from(first) << ROUND_AT, spoilt);
                for ended in 1..=HISTORY_LEN + 2 {
                    let told = if spoilt && ended <= HISTORY_LEN { Err(BarrierError::Broken) } else { Ok(1) };
                    assert_eq!(barrier(state, 3).poll(&arrival), Some(told), "round {first}, {ended} have ended");
                    assert_eq!(state & (ARRIVED | PHASE), FILLING, "nobody is there yet");
                    // The later ones end otherwise.
                    state = next_round(state, !spoilt);
                }
            }
        }
    }
}
