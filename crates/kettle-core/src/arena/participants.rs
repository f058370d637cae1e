//! Who is here: one row per process of the session.
//!
//! ```text
//! FREE ──claim──► CLAIMED ──┬─register──► LIVE ──leave, found dead──► FREE, next generation
//!                           └─reserve──► RESERVED, EXPECTED ──adopt──► LIVE
//!                                           └──release, found dead──► FREE, next generation
//! ```
//!
//! RESERVED is a place for a process that somebody will start: it waits as long as its reserver lives, and a while
//! longer, for a parent may end the moment it forked. EXPECTED is a place for a process that is being forked: it takes
//! its place at once, or was killed before it could, so that such a place is free again after a while.
//!
//! Every arrow is one compare-exchange on the row's state, which names the generation too: so a row is freed once,
//! and a name of an earlier user of the row is never mistaken for the present one. A row that is claimed or reserved
//! names the process that did so, and is free again when that one is found dead.
//!
//! Rows are given out in turn, not the lowest first: a row comes round again only after all others did, which makes
//! generations wrap slowly and leaves the process number of the dead to be read for a while (error messages want it).

use crate::atomics::{AtomicU64, Ordering};
use crate::sys::owner::Owner;
use crate::sys::{clock, process};

use super::error::ArenaError;
use super::header::Header;
use super::identity;
use super::segment;

const SLOTS: usize = Owner::SLOTS as usize;

/// The rows, and where the search for a free one begins next.
#[repr(C)]
pub(super) struct Table {
    hint: AtomicU64,
    _pad: [AtomicU64; 7],
    slots: [Slot; SLOTS],
}

/// A row of the table.
#[repr(C, align(64))]
struct Slot {
    /// See [`State`].
    state: AtomicU64,
    /// See [`Identity`]; 0 while unknown.
    identity: AtomicU64,
    /// When the row was claimed.
    since: AtomicU64,
}

const FREE: u8 = 0;
const CLAIMED: u8 = 1;
const RESERVED: u8 = 2;
const LIVE: u8 = 3;
const EXPECTED: u8 = 4;

/// For how long a place waits for a process whose number is not known, nanoseconds. From fork to taking the place is
/// less than a millisecond, but a machine may be busy.
const PATIENCE: u64 = 10_000_000_000;

/// ```text
/// 63      32 31 27 26            8 7      0
/// [reserver]  0   [  generation  ][ status ]
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const fn new(reserver: u32, generation: u32, status: u8) -> Self {
        Self((reserver as u64) << 32 | (generation as u64) << 8 | status as u64)
    }
    const fn status(self) -> u8 {
        self.0 as u8
    }
    const fn generation(self) -> u32 {
        (self.0 >> 8) as u32 & (Owner::GENERATIONS - 1)
    }
    const fn reserver(self) -> u32 {
        (self.0 >> 32) as u32
    }
    const fn awaits_process(self) -> bool {
        matches!(self.status(), RESERVED | EXPECTED)
    }
    const fn freed(self) -> Self {
        Self::new(0, (self.generation() + 1) % Owner::GENERATIONS, FREE)
    }
}

/// A process: its number, and when it started (the low 40 bits of the ticks since boot; 0: unknown). One word, so
/// that it is never seen half-written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64);

impl Identity {
    const START: u64 = (1 << 40) - 1;

    fn of(pid: u32) -> Self {
        Self(u64::from(pid) << 40 | process::start_time(pid).unwrap_or(0) & Self::START)
    }
    const fn pid(self) -> u32 {
        (self.0 >> 40) as u32
    }
    const fn start(self) -> u64 {
        self.0 & Self::START
    }
    /// Whether both can be the same process: an unknown start says nothing against it.
    const fn may_be(self, other: Self) -> bool {
        self.pid() == other.pid() && (self.start() == 0 || other.start() == 0 || self.start() == other.start())
    }
    fn is_alive(self) -> bool {
        process::is_alive(self.pid(), (self.start() != 0).then_some(self.start()))
    }
}

/// A place kept for a process that is about to be started. It may be passed to that process in any way: as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Ticket {
    /// As an integer: generation in the high half, row in the low one.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From what [`to_bits`](Self::to_bits) gave; None if it cannot be one.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let (slot, generation) = (bits as u32, (bits >> 32) as u32);
        if slot == 0 || slot >= Owner::SLOTS || generation >= Owner::GENERATIONS {
            return None;
        }
        Some(Self(bits))
    }

    const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The participant that the new process will be.
    pub const fn participant(self) -> Participant {
        Participant::new(self.0 as u32, (self.0 >> 32) as u32)
    }
}

/// A process of the session, in 32 bits: row and generation. Zero is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participant(u32);

impl Participant {
    const fn new(slot: u32, generation: u32) -> Self {
        Self((Owner::new(slot, generation, 0).to_bits() >> 32) as u32)
    }

    /// The process that a thread belongs to.
    pub const fn of(owner: Owner) -> Self {
        Self((owner.to_bits() >> 32) as u32)
    }

    /// As a word holds it.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The participant that a word names, if any.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    /// As an owner without a thread.
    pub const fn owner(self) -> Owner {
        Owner::from_bits((self.0 as u64) << 32)
    }

    /// Whether its process has ended. See [`is_dead`].
    pub fn is_dead(self) -> bool {
        is_dead(self.owner())
    }
}

/// This thread of this process. The first call in a process registers it, and begins a session if there is none.
///
/// # Panics
/// If the session cannot be begun or has no room: [`try_me`] says so instead.
#[inline]
pub fn me() -> Owner {
    try_me().unwrap_or_else(|e| panic!("this process cannot take part in the session: {e}"))
}

/// This thread of this process; see [`me`].
///
/// # Errors
/// When the session cannot be begun, or has no room for this process.
#[inline]
pub fn try_me() -> Result<Owner, ArenaError> {
    identity::current()
}

fn row(header: &'static Header, slot: u32) -> &'static Slot {
    &header.participants.slots[slot as usize]
}

/// Keeps a place for a process that is about to be started, so that it can be given things before it exists.
///
/// The caller ends with [`child_started`] and later [`child_gone`], or with [`release`].
///
/// # Errors
/// When the session cannot be begun, or has no room for another process.
pub fn reserve_child() -> Result<Ticket, ArenaError> {
    reserve(RESERVED)
}

/// The same for a child that is forked in the next moment.
pub(super) fn expect_child() -> Result<Ticket, ArenaError> {
    reserve(EXPECTED)
}

fn reserve(status: u8) -> Result<Ticket, ArenaError> {
    let header = segment::header()?;
    let pid = process::id();
    let (slot, generation) = claim(header, pid)?;
    row(header, slot).state.store(State::new(pid, generation, status).0, Ordering::Release);
    Ok(Ticket::new(slot, generation))
}

/// Gives a reserved place back: the process could not be started.
pub fn release(ticket: Ticket) {
    vacate(ticket.participant());
}

/// Tells who took the reserved place, as soon as the starter knows it: from then on its death is noticed even if it
/// never came to [`adopt`] its place.
pub fn child_started(ticket: Ticket, pid: u32) {
    if let Some(header) = segment::header_if_any() {
        let row = row(header, ticket.participant().owner().slot());
        let state = State(row.state.load(Ordering::Acquire));
        if state.generation() == ticket.participant().owner().generation() && state.awaits_process() {
            // Only from 0, lest it meet the row's next user: that one clears the word while it is CLAIMED.
            let _ = row.identity.compare_exchange(0, Identity::of(pid).0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// In the new process: takes the place that was reserved for it. A process that took it, and then executed another
/// program, takes it again.
///
/// # Errors
/// When the place was given up, or this process registered by itself before.
pub fn adopt(ticket: Ticket) -> Result<(), ArenaError> {
    identity::adopt(ticket)
}

/// Tells that a child was reaped, which spares the others finding out.
pub fn child_gone(ticket: Ticket) {
    vacate(ticket.participant());
}

/// Whether the process of `owner` has ended.
///
/// *Ended* means that its descriptor is readable (so a zombie has), or that its row has moved on. Nobody's row is
/// never dead: it names threads of this very process.
pub fn is_dead(owner: Owner) -> bool {
    if owner.slot() == 0 {
        return false;
    }
    let Some(header) = segment::header_if_any() else { return false };
    let participant = Participant::of(owner);
    if identity::is_me(participant) {
        return false;
    }
    let row = row(header, owner.slot());
    let state = State(row.state.load(Ordering::Acquire));
    if state.generation() != owner.generation() || state.status() == FREE {
        return true;
    }
    if seen_alive::lately(participant) {
        return false;
    }
    if occupant_lives(row, state) {
        seen_alive::note(participant);
        return false;
    }
    free(header, row, state);
    true
}

/// Whether the process still runs but has lost this thread, as happens when it executes another program.
pub(super) fn has_lost_thread(owner: Owner) -> bool {
    pid_of(owner).is_some_and(|pid| !process::thread_exists(pid, owner.thread()))
}

/// The process number of `owner`, also for a while after it ended; None if it is not known any more.
pub fn pid_of(owner: Owner) -> Option<u32> {
    let row = row(segment::header_if_any()?, owner.slot());
    let identity = Identity(row.identity.load(Ordering::Acquire));
    let state = State(row.state.load(Ordering::Acquire));
    let still = state.generation() == owner.generation() && (state.awaits_process() || state.status() == LIVE);
    let just_left = state == State::new(0, owner.generation(), LIVE).freed();
    (owner.slot() != 0 && identity.0 != 0 && (still || just_left)).then(|| identity.pid())
}

/// The processes that live (or are about to).
pub(super) fn alive(header: &'static Header) -> usize {
    rows(header)
        .filter(|row| {
            let state = State(row.state.load(Ordering::Acquire));
            state.status() != FREE && occupant_lives(row, state)
        })
        .count()
}

/// Frees the rows of all that ended unnoticed.
pub(super) fn find_the_dead(header: &'static Header) {
    for row in rows(header) {
        let state = State(row.state.load(Ordering::Acquire));
        if state.status() != FREE && !occupant_lives(row, state) {
            free(header, row, state);
        }
    }
}

/// Rows that were ever used. Rows are given out in turn, so the search ends where the turn has come to.
fn rows(header: &'static Header) -> impl Iterator<Item = &'static Slot> {
    let used = header.participants.hint.load(Ordering::Relaxed) as usize;
    header.participants.slots[1..].iter().take(used)
}

fn occupant_lives(row: &Slot, state: State) -> bool {
    let reserver_lives = || state.reserver() == process::id() || process::is_alive(state.reserver(), None);
    let identity = Identity(row.identity.load(Ordering::Acquire));
    if state.status() == CLAIMED {
        return reserver_lives();
    }
    if state.awaits_process() && identity.0 == 0 {
        let young = clock::now().saturating_sub(row.since.load(Ordering::Relaxed)) < PATIENCE;
        return young || state.status() == RESERVED && reserver_lives();
    }
    identity.pid() == process::id() || identity.is_alive()
}

fn claim(header: &'static Header, pid: u32) -> Result<(u32, u32), ArenaError> {
    for attempt in 0..2 {
        for _ in 1..SLOTS {
            let turn = header.participants.hint.fetch_add(1, Ordering::Relaxed);
            let slot = (turn % (SLOTS as u64 - 1)) as u32 + 1;
            let row = row(header, slot);
            let state = State(row.state.load(Ordering::Relaxed));
            if state.status() != FREE {
                continue;
            }
            let claimed = State::new(pid, state.generation(), CLAIMED);
            if row.state.compare_exchange(state.0, claimed.0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                crate::crash_point("arena.participants.claimed");
                row.identity.store(0, Ordering::Relaxed);
                row.since.store(clock::now(), Ordering::Relaxed);
                return Ok((slot, state.generation()));
            }
        }
        if attempt == 0 {
            find_the_dead(header);
        }
    }
    Err(ArenaError::TooManyParticipants)
}

/// Registers this process in a row of its own.
pub(super) fn register(header: &'static Header) -> Result<Participant, ArenaError> {
    segment::check_namespace(header)?;
    let identity = Identity::of(process::id());
    vacate_earlier(header, identity, None);
    let (slot, generation) = claim(header, process::id())?;
    let row = row(header, slot);
    row.identity.store(identity.0, Ordering::Relaxed);
    // Release: whoever sees LIVE sees the identity.
    row.state.store(State::new(0, generation, LIVE).0, Ordering::Release);
    Ok(Participant::new(slot, generation))
}

/// Registers this process in the row reserved for it.
pub(super) fn occupy(header: &'static Header, ticket: Ticket) -> Result<Participant, ArenaError> {
    segment::check_namespace(header)?;
    let mine = Identity::of(process::id());
    vacate_earlier(header, mine, Some(ticket));
    let owner = ticket.participant().owner();
    let row = row(header, owner.slot());
    let state = State(row.state.load(Ordering::Acquire));
    if state.generation() != owner.generation() || !(state.awaits_process() || state.status() == LIVE) {
        return Err(ArenaError::TicketGone);
    }
    // Its starter may have written it already; or it took the place before it executed another program.
    match row.identity.compare_exchange(0, mine.0, Ordering::AcqRel, Ordering::Acquire) {
        Err(other) if !Identity(other).may_be(mine) => return Err(ArenaError::TicketGone),
        _ => {}
    }
    let live = State::new(0, owner.generation(), LIVE);
    match row.state.compare_exchange(state.0, live.0, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) => Ok(ticket.participant()),
        Err(_) => Err(ArenaError::TicketGone),
    }
}

/// Frees the rows that this process had before it executed another program: what it held went with its memory.
fn vacate_earlier(header: &'static Header, mine: Identity, but: Option<Ticket>) {
    for (slot, row) in (1..).zip(rows(header)) {
        let state = State(row.state.load(Ordering::Acquire));
        let is_mine = state.status() == LIVE && row.identity.load(Ordering::Acquire) == mine.0;
        if is_mine && but != Some(Ticket::new(slot, state.generation())) {
            free(header, row, state);
        }
    }
}

/// Frees the row of a participant that is gone, unless somebody did already.
pub(super) fn vacate(participant: Participant) {
    let Some(header) = segment::header_if_any() else { return };
    let owner = participant.owner();
    let row = row(header, owner.slot());
    loop {
        let state = State(row.state.load(Ordering::Acquire));
        if state.generation() != owner.generation() || state.status() == FREE || free(header, row, state) {
            return;
        }
    }
}

fn free(header: &'static Header, row: &Slot, state: State) -> bool {
    // Release: what the holder of this row did before comes before what its next one does.
    let freed = row.state.compare_exchange(state.0, state.freed().0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if freed {
        crate::crash_point("arena.participants.freed");
        header.dirty.store(1, Ordering::Release);
    }
    freed
}

/// When this process last saw each row's holder alive, so that asking often costs little.
mod seen_alive {
    use super::{AtomicU64, Ordering, Owner, Participant, SLOTS, clock};

    const TRUSTED_FOR: u64 = 10_000_000;

    /// Low 19 bits of an entry: the generation. The rest: when, in units of 2^19 nanoseconds (half a millisecond).
    static SEEN: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
    const GENERATION: u64 = Owner::GENERATIONS as u64 - 1;

    pub(super) fn lately(p: Participant) -> bool {
        let seen = SEEN[p.owner().slot() as usize].load(Ordering::Relaxed);
        seen != 0
            && seen & GENERATION == u64::from(p.owner().generation())
            && clock::now().saturating_sub(seen & !GENERATION) < TRUSTED_FOR
    }

    pub(super) fn note(p: Participant) {
        let entry = clock::now() & !GENERATION | u64::from(p.owner().generation());
        SEEN[p.owner().slot() as usize].store(entry, Ordering::Relaxed);
    }
}
