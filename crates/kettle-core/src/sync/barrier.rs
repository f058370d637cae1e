//! Barriers.

use super::{Home, NoWords};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::damage::{self, What};
use crate::stats::BarrierStatistics;
use crate::sys::{Owner, clock};
use crate::unwind::OnUnwind;
use crate::wait::{EventCount, Patience, Stopped};

/// A point at which a fixed number of parties wait for each other, round after round.
///
/// ```text
/// state:  63     44 43       20 19   18 17        0
///         [ round  ][ history  ][ phase ][ arrived ]
///
///   FILLING ──last one arrives──► ACTING ──its action succeeded──► FILLING, next round
///      │                             │
///      └── timeout, abort, ──────────┴──► BROKEN ──reset──► FILLING, next round
///          a party found dead
/// ```
///
/// Every arrow is one compare-exchange on the state. A waiter knows its round. Once the state is in another round, the
/// history tells how the waiter's round ended: successfully (0), or by a reset while parties were waiting (1). Its
/// lowest bit is the round that ended last.
///
/// *Death.* A party signs the list before it counts as arrived, and removes its signature when it leaves. The waiting
/// parties check the list after each slice; a dead party breaks the barrier. A party that dies after its round ended,
/// but before it has removed its signature, breaks the next round, which would be a party short anyway.
///
/// ```text
/// entry:  63            32 31            0
///         [ participant   ][ its parties  ]        0: free
/// ```
///
/// The threads of a process die together, so they share an entry; a barrier between the threads of one process has
/// none. There are as many entries as parties, which is enough for one round; a party that finds no free entry waits
/// until one of an earlier round has left. A barrier has room for [`SIGNED`](Self::SIGNED) entries; the others are in a
/// separate list, provided by the memory that the barrier is stored in ([`Home::words`]).
#[repr(C)]
#[derive(Debug)]
pub struct Barrier {
    state: AtomicU64,
    parties: AtomicU32,
    /// The number of rounds that ended successfully, for the statistics.
    rounds: AtomicU32,
    changed: EventCount,
    /// Where the entries are that do not fit in `list`; 0 if there are none.
    further: AtomicU64,
    /// When a party last checked on the others.
    looked: AtomicU64,
    list: [AtomicU64; Self::SIGNED],
}

/// The part of an entry that counts the parties it stands for.
const PARTIES: u64 = u32::MAX as u64;

const ARRIVED: u64 = (1 << 18) - 1;
const FILLING: u64 = 0;
const ACTING: u64 = 1 << 18;
const BROKEN: u64 = 2 << 18;
/// The minimum time between two checks in nanoseconds, for each party that is checked, and its upper limit in total.
const LOOKS_APART: u64 = if cfg!(loom) { 0 } else { 2_000_000 };
const MOST_APART: u64 = 500_000_000;
const PHASE: u64 = 3 << 18;
const HISTORY_AT: u32 = 20;
const HISTORY_LEN: u32 = 24;
const ROUND_AT: u32 = HISTORY_AT + HISTORY_LEN;
/// Round numbers wrap: a waiter that is late by exactly this many rounds does not notice until its next look.
const ROUNDS: u32 = 1 << (u64::BITS - ROUND_AT);

fn round_of(state: u64) -> u32 {
    (state >> ROUND_AT) as u32
}

/// The state after the end of this round, in which the next one begins.
fn next_round(state: u64, spoilt: bool) -> u64 {
    let history = (state >> HISTORY_AT) << 1 & ((1 << HISTORY_LEN) - 1) | u64::from(spoilt);
    u64::from((round_of(state) + 1) % ROUNDS) << ROUND_AT | history << HISTORY_AT | FILLING
}

/// Why a wait at a barrier failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BarrierError {
    /// The barrier is broken: a party timed out, aborted, or died; or the barrier was reset.
    Broken,
    /// The caller was interrupted and does not count as arrived.
    Interrupted,
    /// The barrier's memory is [damaged](crate::damage).
    Damaged,
    /// The caller has no name in the memory that the barrier is stored in, so its death would go unnoticed: it did not
    /// arrive.
    NoPart,
    /// The caller cannot map all of the barrier's memory, for the reason given: it did not arrive.
    Unmapped(String),
}

impl From<NoWords> for BarrierError {
    fn from(e: NoWords) -> Self {
        match e {
            NoWords::Damaged => Self::Damaged,
            NoWords::Unmapped(text) => Self::Unmapped(text),
        }
    }
}

impl BarrierError {
    fn of(stopped: Stopped) -> Self {
        match stopped {
            Stopped::TimedOut => Self::Broken,
            Stopped::Interrupted => Self::Interrupted,
            Stopped::Damaged => Self::Damaged,
            Stopped::NoPart => Self::NoPart,
        }
    }
}

/// The outcome of a wait.
#[derive(Debug)]
pub enum Turn<'a> {
    /// All parties have arrived. The number is the caller's position in the order of arrival, from 0.
    Through(u32),
    /// The caller arrived last: the others wait until it reports how its action went.
    Last(LastToCome<'a>),
}

/// The last party's obligation to end the round. Dropping it without [`done`](Self::done) breaks the barrier.
#[derive(Debug)]
pub struct LastToCome<'a> {
    barrier: &'a Barrier,
    round: u32,
    signed: Option<usize>,
    leave: fn(&Barrier, Option<usize>),
    finished: bool,
}

/// The outcome of signing the list.
enum Signature {
    /// Signed in this entry.
    Entry(usize),
    /// No entry needed, since the party cannot die alone.
    NotNeeded,
    /// All entries are taken.
    NoRoom,
}

impl Barrier {
    /// The number of entries that fit into the barrier itself.
    #[cfg(not(loom))]
    pub const SIGNED: usize = 96;
    /// Enough for the models, whose barriers have three parties.
    #[cfg(loom)]
    pub const SIGNED: usize = 3;
    /// The maximum number of parties.
    pub const MAX_PARTIES: u32 = ARRIVED as u32;

    /// Creates a barrier for `parties`.
    pub fn new(parties: u32) -> Self {
        Self {
            state: AtomicU64::new(FILLING),
            parties: AtomicU32::new(parties),
            rounds: AtomicU32::new(0),
            changed: EventCount::new(),
            further: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            list: [0; Self::SIGNED].map(AtomicU64::new),
        }
    }

    /// Changes the number of parties. Only for a barrier between threads, which needs no entries, while none of them
    /// waits.
    pub fn reinit(&self, parties: u32) {
        self.parties.store(parties, Ordering::SeqCst);
    }

    /// The number of entries needed beyond those in the barrier itself.
    pub fn entries_beyond(&self) -> usize {
        (self.parties() as usize).saturating_sub(Self::SIGNED)
    }

    /// Sets where they are; see [`Home::words`]. Must be called before the barrier is shared.
    pub fn set_further(&self, place: u64) {
        self.further.store(place, Ordering::Release);
    }

    /// Where they are, or 0.
    pub fn further(&self) -> u64 {
        self.further.load(Ordering::Acquire)
    }

    /// Arrives without waiting for the others.
    ///
    /// `Ok(None)` means that the previous round has not ended completely: try again when [`changed`](Self::changed)
    /// notifies, and after each slice.
    ///
    /// # Errors
    /// If the barrier is broken, or the caller cannot use it.
    pub fn arrive<H: Home>(&self) -> Result<Option<Arrival>, BarrierError> {
        self.check::<H>()?;
        let signed = match self.sign::<H>()? {
            Signature::Entry(index) => Some(index),
            Signature::NotNeeded => None,
            Signature::NoRoom if self.is_broken() => return Err(BarrierError::Broken),
            Signature::NoRoom => return Ok(None),
        };
        // The others must not wait for a party that cannot continue. Before it has arrived, removing its signature is
        // enough; afterwards its failure breaks the round.
        let not_here = OnUnwind::new(|| self.cross_out::<H>(signed));
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
            self.cross_out::<H>(signed);
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
                self.cross_out::<H>(signed);
                if s & PHASE == BROKEN { Err(BarrierError::Broken) } else { Ok(None) }
            }
        }
    }

    /// Checks that the words are possible ones.
    fn check<H: Home>(&self) -> Result<(), BarrierError> {
        if damage::is_marked(H::SCOPE) {
            return Err(BarrierError::Damaged);
        }
        let (state, parties) = (self.state.load(Ordering::SeqCst), self.parties());
        let arrived = state & ARRIVED;
        let is_a_phase = state & PHASE != PHASE;
        // All parties have arrived while the last one acts; a broken round keeps its count.
        let is_a_number = arrived < u64::from(parties) || (arrived == u64::from(parties) && state & PHASE != FILLING);
        if is_a_phase && is_a_number && parties <= Self::MAX_PARTIES {
            return Ok(());
        }
        damage::mark(H::SCOPE, What::Count, 0, state);
        Err(BarrierError::Damaged)
    }

    /// The outcome of the round of `arrival`, if it has ended.
    pub fn poll(&self, arrival: &Arrival) -> Option<Result<u32, BarrierError>> {
        let s = self.state.load(Ordering::SeqCst);
        let ended_since = round_of(s).wrapping_sub(arrival.round) % ROUNDS;
        if ended_since == 0 {
            return (s & PHASE == BROKEN).then_some(Err(BarrierError::Broken));
        }
        // For a round before the recorded history the best guess is success, the usual outcome.
        let spoilt = ended_since <= HISTORY_LEN && s >> (HISTORY_AT + ended_since - 1) & 1 != 0;
        Some(if spoilt { Err(BarrierError::Broken) } else { Ok(arrival.index) })
    }

    /// Arrives and waits for the others.
    ///
    /// # Errors
    /// If the barrier is broken, possibly because this call timed out.
    pub fn wait<H: Home>(&self, patience: &Patience<'_>) -> Result<Turn<'_>, BarrierError> {
        let arrive = || self.arrive::<H>().transpose();
        let arrived = match arrive() {
            Some(r) => r,
            None => self
                .changed
                .wait_for(patience, H::SCOPE, arrive, || if self.find_dead_in_turn::<H>() { arrive() } else { None })
                .map_err(|stopped| {
                    if stopped == Stopped::TimedOut {
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
                || if self.find_dead_in_turn::<H>() { self.poll(&arrived) } else { None },
            )
            .unwrap_or_else(|stopped| self.give_up::<H>(&arrived, stopped));
        self.leave::<H>(&arrived);
        result.map(Turn::Through)
    }

    /// The obligation of the last party to arrive.
    pub fn last<H: Home>(&self, arrival: Arrival) -> LastToCome<'_> {
        LastToCome {
            barrier: self,
            round: arrival.round,
            signed: arrival.signed,
            leave: |barrier, signed| {
                barrier.cross_out::<H>(signed);
                barrier.changed.notify_all(H::SCOPE);
            },
            finished: false,
        }
    }

    /// Leaves a round that has ended.
    pub fn leave<H: Home>(&self, arrival: &Arrival) {
        self.cross_out::<H>(arrival.signed);
    }

    /// As [`find_dead`](Self::find_dead), but skipped if a party has checked recently: every check covers all parties,
    /// and every party checks.
    fn find_dead_in_turn<H: Home>(&self) -> bool {
        let (now, before) = (clock::now(), self.looked.load(Ordering::Relaxed));
        let arrived = self.state.load(Ordering::Relaxed) & ARRIVED;
        // A time in the future is invalid.
        if now.checked_sub(before).is_some_and(|since| since < (arrived * LOOKS_APART).min(MOST_APART)) {
            return false;
        }
        self.looked.store(now, Ordering::Relaxed);
        self.find_dead::<H>()
    }

    /// After a slice: breaks the round if one of its parties is dead; returns whether it did.
    pub fn find_dead<H: Home>(&self) -> bool {
        // Read before the list, so that a death does not break a later round if this one has ended since.
        let round = round_of(self.state.load(Ordering::SeqCst));
        // A list that cannot be mapped has no entry of an arrived party; a damaged one has marked the session.
        let Ok(mut entries) = self.entries::<H>() else { return false };
        let dead = entries.any(|entry| Self::is_dead::<H>(entry.load(Ordering::SeqCst)));
        dead && self.break_round::<H>(round)
    }

    /// Breaks the round, unless it has ended or is broken.
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

    /// Ends a futile wait: breaks the round, or returns its outcome if it has just ended. An interrupted party breaks
    /// nothing; it leaves as if it had not arrived, and may arrive again.
    fn give_up<H: Home>(&self, arrival: &Arrival, stopped: Stopped) -> Result<u32, BarrierError> {
        if stopped == Stopped::Damaged {
            // The others fail in the same way.
            return Err(BarrierError::Damaged);
        }
        if stopped == Stopped::Interrupted {
            let one_less = |s| (round_of(s) == arrival.round && s & PHASE == FILLING && s & ARRIVED > 0).then(|| s - 1);
            // If it is too late for that, all parties have arrived, and the others pass.
            let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
            return Err(BarrierError::Interrupted);
        }
        if self.break_round::<H>(arrival.round) {
            return Err(BarrierError::of(stopped));
        }
        self.poll(arrival).unwrap_or(Err(BarrierError::Broken))
    }

    /// Breaks the barrier: waiting and arriving parties get an error until it is reset.
    pub fn abort<H: Home>(&self) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| Some(s & !PHASE | BROKEN));
        crash_point("barrier.abort.before-notify");
        self.changed.notify_all(H::SCOPE);
    }

    /// Starts a new, empty round. Waiting parties get an error.
    pub fn reset<H: Home>(&self) {
        let _ = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            (s & ARRIVED != 0 || s & PHASE != FILLING).then_some(next_round(s, true))
        });
        for entry in self.entries::<H>().into_iter().flatten() {
            let word = entry.load(Ordering::SeqCst);
            if Self::is_dead::<H>(word) {
                let _ = entry.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
        self.changed.notify_all(H::SCOPE);
    }

    /// All entries, those in the barrier and those in the separate list.
    fn entries<H: Home>(&self) -> Result<impl Iterator<Item = &AtomicU64>, BarrierError> {
        let beyond = self.entries_beyond();
        let further = if beyond == 0 { &[] } else { H::words(self.further())? };
        let Some(further) = further.get(..beyond) else {
            damage::mark(H::SCOPE, What::Entry, self.further(), further.len() as u64);
            return Err(BarrierError::Damaged);
        };
        Ok(self.list.iter().chain(further))
    }

    /// Whether this entry stands for dead parties.
    fn is_dead<H: Home>(word: u64) -> bool {
        if word == 0 {
            return false;
        }
        let owner = Owner::from_bits(word & !PARTIES);
        if word & PARTIES == 0 || !H::can_be(owner) {
            damage::mark(H::SCOPE, What::Entry, 0, word);
            return false;
        }
        H::is_dead(owner)
    }

    /// Signs the first entry that is free or belongs to this process.
    fn sign<H: Home>(&self) -> Result<Signature, BarrierError> {
        let me = H::try_me().ok_or(BarrierError::NoPart)?.participant().to_bits();
        if me == 0 {
            return Ok(Signature::NotNeeded);
        }
        let one_more = |word: u64| match word {
            0 => Some(me | 1),
            mine if mine & !PARTIES == me && mine & PARTIES != PARTIES => Some(mine + 1),
            _ => None,
        };
        let signs = |entry: &AtomicU64| entry.fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_more).is_ok();
        Ok(self.entries::<H>()?.position(signs).map_or(Signature::NoRoom, Signature::Entry))
    }

    /// Removes one signature from this entry. In a forked child this does nothing, since the entry is its parent's.
    fn cross_out<H: Home>(&self, signed: Option<usize>) {
        let (Some(index), Some(me)) = (signed, H::try_me()) else { return };
        // If the entry is inaccessible, the session is marked.
        let Some(entry) = self.entries::<H>().ok().and_then(|mut entries| entries.nth(index)) else { return };
        let me = me.participant().to_bits();
        let _ = entry.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |word| match word {
            last if last == me | 1 => Some(0),
            mine if mine & !PARTIES == me && mine & PARTIES != 0 => Some(mine - 1),
            _ => None,
        });
    }

    /// The number of parties that complete a round.
    pub fn parties(&self) -> u32 {
        self.parties.load(Ordering::Relaxed)
    }

    /// The number of parties that are waiting.
    pub fn waiting(&self) -> u32 {
        let s = self.state.load(Ordering::SeqCst);
        if s & PHASE == FILLING { (s & ARRIVED) as u32 } else { 0 }
    }

    /// Whether the barrier is broken.
    pub fn is_broken(&self) -> bool {
        self.state.load(Ordering::SeqCst) & PHASE == BROKEN
    }

    /// A snapshot of its counters.
    pub fn statistics(&self) -> BarrierStatistics {
        BarrierStatistics {
            parties: self.parties(),
            waiting: self.waiting(),
            broken: self.is_broken(),
            rounds: self.rounds.load(Ordering::Relaxed),
        }
    }

    /// The event count on which the parties wait.
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
    /// The last party's position in the order of arrival.
    pub fn index(&self) -> u32 {
        self.barrier.parties().saturating_sub(1)
    }

    /// Reports that the action succeeded: all parties pass.
    pub fn done(mut self) -> Result<u32, BarrierError> {
        let barrier = self.barrier;
        crash_point("barrier.done.before");
        self.finished = true;
        let over = barrier.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
            (round_of(s) == self.round && s & PHASE == ACTING).then_some(next_round(s, false))
        });
        crash_point("barrier.done.before-notify");
        // The barrier was broken or reset while the action ran, so the round failed for the others and for this party.
        over.map_err(|_| BarrierError::Broken)?;
        barrier.rounds.fetch_add(1, Ordering::Relaxed);
        Ok(self.index())
    }
}

impl Drop for LastToCome<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.barrier.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |s| {
                (round_of(s) == self.round).then_some(s & !PHASE | BROKEN)
            });
        }
        (self.leave)(self.barrier, self.signed);
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

    /// However many rounds a waiter slept through, as long as the history covers its own.
    #[test]
    fn who_looks_late_learns_how_its_round_ended() {
        for first in [0, 1000, ROUNDS - 1] {
            let arrival = Arrival { round: first, index: 1, last: false, signed: None };
            for spoilt in [false, true] {
                let mut state = next_round(u64::from(first) << ROUND_AT, spoilt);
                for ended in 1..=HISTORY_LEN + 2 {
                    let told = if spoilt && ended <= HISTORY_LEN { Err(BarrierError::Broken) } else { Ok(1) };
                    assert_eq!(barrier(state, 3).poll(&arrival), Some(told), "round {first}, {ended} have ended");
                    assert_eq!(state & (ARRIVED | PHASE), FILLING, "none has arrived yet");
                    // Later rounds end the other way.
                    state = next_round(state, !spoilt);
                }
            }
        }
    }
}
