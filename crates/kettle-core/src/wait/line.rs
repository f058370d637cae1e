//! Waiting in the order of arrival, for what only some of the waiters can get. The protocol is in `README.md`.

use core::num::NonZeroU32;

use super::{Door, EventCount, Patience, Scope, Stopped};
use crate::atomics::{AtomicBool, AtomicU16, AtomicU32, Ordering, fence};
use crate::sys::clock;

/// An [`EventCount`] whose waiters are served in the order of arrival, whether they sleep or left a [`Door`].
///
/// As long as all goes quickly, what comes free goes to the first that takes it, which costs least. From time to
/// time it is reserved for the waiter at the head of the line, who is *called*: the line is *closed* to all others until
/// that one has taken it. If more comes free meanwhile, the next waiters are called too. A waiter that does not come
/// within 50 milliseconds loses its turn.
///
/// Every attempt to take asks [`admits`](Self::admits) first. A change that one waiter can use is announced before it is
/// made, by [`prepare`](Self::prepare), and told afterwards, by [`notify_prepared`](Self::notify_prepared).
#[repr(C)]
#[derive(Debug)]
pub struct Line {
    events: EventCount,
    /// The ticket that the next waiter takes; never 0.
    next: AtomicU32,
    /// The first ticket that has not been called.
    first: AtomicU32,
    /// The [bits](Ticket::bit) of the tickets for which what comes free is reserved; the line is open if there are none.
    called: AtomicU32,
    /// When the next turn is due, in units of [`UNIT`](Self::UNIT).
    due: AtomicU32,
    /// When it was closed last. While it stays closed, this moves on whenever those called before have lost their turns.
    since: AtomicU32,
    /// The bits of those that were called by then.
    overdue: AtomicU32,
    /// The holders of tickets before this one have lost their turns, unless they are called.
    lost: AtomicU32,
    /// The bits of the tickets of those who left the doors with the same index.
    tickets: [AtomicU32; EventCount::DOORS],
    /// The lower halves of those of some that were woken, or have not yet slept, and did not leave.
    awake: [AtomicU16; Self::AWAKE],
}

/// A waiter's number in a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(NonZeroU32);

impl Ticket {
    /// The ticket as a number.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// The ticket with this number, unless that is 0. With one that was never given, a waiter waits longer than it need.
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Those sleepers that this ticket's wake-up reaches, and those that are admitted when it is called. With more than 32
    /// waiters that is more than one.
    fn bit(self) -> u32 {
        1 << (self.number() % u32::BITS)
    }

    /// A ticket with the lowest of these bits; None if there are none.
    fn with_one_of(bits: u32) -> Option<Self> {
        Self::from_number(u32::BITS + bits.trailing_zeros()).filter(|_| bits != 0)
    }
}

/// Those tickets that one loop serves, as far as they can be told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tickets(u32);

impl Tickets {
    /// No tickets.
    pub const NONE: Self = Self(0);

    /// Those whose numbers modulo 32 are the numbers of these bits.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl From<Ticket> for Tickets {
    fn from(ticket: Ticket) -> Self {
        Self(ticket.bit())
    }
}

impl FromIterator<Ticket> for Tickets {
    fn from_iter<I: IntoIterator<Item = Ticket>>(tickets: I) -> Self {
        Self(tickets.into_iter().fold(0, |bits, ticket| bits | ticket.bit()))
    }
}

/// What [`Line::prepare`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Prepared {
    /// The first that comes may take it.
    Open,
    /// The waiter at the head of the line, who has this ticket, was just called.
    Closed(Ticket),
    /// It is closed for waiters that were called before.
    ClosedBefore,
}

/// Whether the one number comes before the other, of those that were counted up to now.
fn is_before(number: u32, other: u32) -> bool {
    (number.wrapping_sub(other) as i32) < 0
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// In 2¹⁷ nanoseconds, about an eighth of a millisecond, so that 32 bits last for a week.
    const UNIT: u32 = 17;
    /// How long the waiter at the head of the line lets others pass: about a quarter of a millisecond.
    const TURN: u32 = 2;
    /// So many turns may follow upon one another after as many were not needed: of several permits that are taken at the
    /// same time and held for as long, each is passed on.
    const TURNS_AT_ONCE: u32 = 8;
    /// For how long a line stays closed to others: 50 milliseconds.
    const PATIENCE: u32 = 400;
    /// So many tickets are passed over at a time that their holders gave up.
    const SKIPS: u32 = 64;
    /// For so many it is known that they are there though they do not sleep.
    const AWAKE: usize = 8;
    /// So many of those who came last are asked to watch another one's loop.
    const WATCHERS: u32 = 4;
    /// More than can wait: such a distance was not counted.
    const MOST: u32 = 1 << 24;

    /// An empty line.
    pub fn new() -> Self {
        Self {
            events: EventCount::new(),
            next: AtomicU32::new(1),
            first: AtomicU32::new(1),
            called: AtomicU32::new(0),
            due: AtomicU32::new(0),
            since: AtomicU32::new(0),
            overdue: AtomicU32::new(0),
            lost: AtomicU32::new(1),
            tickets: [const { 0 }; EventCount::DOORS].map(AtomicU32::new),
            awake: [const { 0 }; Self::AWAKE].map(AtomicU16::new),
        }
    }

    fn now() -> u32 {
        (clock::now() >> Self::UNIT) as u32
    }

    /// Whether the waiter at the head of the line has let others pass for long enough. In a model each turn is due.
    fn is_due(&self) -> bool {
        cfg!(loom) || !is_before(Self::now(), self.due.load(Ordering::Relaxed))
    }

    /// Whether those that were called when the line was closed have had the time to come. In a model no time passes.
    fn is_late(&self) -> bool {
        !cfg!(loom) && Self::now().wrapping_sub(self.since.load(Ordering::Relaxed)) >= Self::PATIENCE
    }

    /// A place in the line, behind all who are there.
    pub fn join(&self, scope: Scope) -> Place<'_> {
        #[cfg(not(loom))]
        if scope == Scope::Private {
            self.events.forget_left_behind(|| self.forget_places());
        }
        let ticket = self.take_ticket();
        self.note_awake(ticket);
        let (seen, is_watching) = (AtomicU32::new(self.events.epoch()), AtomicBool::new(false));
        Place { line: self, scope, ticket: AtomicU32::new(ticket.number()), seen, is_watching }
    }

    /// The ticket of such a place, for those who leave a door. Given back by [`leave`](Self::leave).
    pub fn take_ticket(&self) -> Ticket {
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let Some(ticket) = Ticket::from_number(number) else { continue };
            if self.first.load(Ordering::SeqCst) == number {
                self.due.store(Self::now().wrapping_add(Self::TURN), Ordering::Relaxed);
            }
            return ticket;
        }
    }

    /// Whether a caller with this ticket, or without one, may take one of the `available` things that there are.
    #[inline(always)]
    pub fn admits(&self, ticket: Option<Ticket>, available: impl FnOnce() -> u32) -> bool {
        self.is_open() || self.admits_while_closed(ticket.map_or(Tickets::NONE, Tickets::from), available)
    }

    /// The same for a loop, which serves the holders of these tickets.
    pub fn admits_one_of(&self, tickets: Tickets, available: impl FnOnce() -> u32) -> bool {
        self.is_open() || self.admits_while_closed(tickets, available)
    }

    #[cold]
    fn admits_while_closed(&self, tickets: Tickets, available: impl FnOnce() -> u32) -> bool {
        let called = self.called.load(Ordering::SeqCst);
        called & tickets.0 != 0 || available() > called.count_ones() || self.open_if_late()
    }

    #[inline(always)]
    fn is_open(&self) -> bool {
        self.called.load(Ordering::SeqCst) == 0
    }

    fn is_called(&self, ticket: Ticket) -> bool {
        self.called.load(Ordering::SeqCst) & ticket.bit() != 0
    }

    /// Whether something is reserved for the holders of other tickets than this one.
    fn is_called_besides(&self, ticket: Ticket) -> bool {
        self.called.load(Ordering::SeqCst) & !ticket.bit() != 0
    }

    /// What comes free is reserved for the holder of this ticket as well.
    fn call(&self, ticket: Ticket) {
        let now = Self::now();
        if self.called.fetch_or(ticket.bit(), Ordering::SeqCst) == 0 {
            self.overdue.store(ticket.bit(), Ordering::Relaxed);
            self.since.store(now, Ordering::Relaxed);
        }
        let (due, earliest) = (self.due.load(Ordering::Relaxed), now.wrapping_sub(Self::TURN * Self::TURNS_AT_ONCE));
        let due = if is_before(due, earliest) { earliest } else { due };
        self.due.store(due.wrapping_add(Self::TURN), Ordering::Relaxed);
    }

    /// Nothing is reserved any more for the holders of tickets with these bits. Gives those for whom something was.
    fn take_back(&self, bits: u32) -> u32 {
        if self.called.load(Ordering::SeqCst) & bits == 0 {
            return 0;
        }
        let before = self.called.fetch_and(!bits, Ordering::SeqCst);
        if before & !bits == 0 {
            self.events.unset_watched();
        }
        before & bits
    }

    /// Takes their turns from those that were called and did not come in time. Says whether the line is open now.
    fn open_if_late(&self) -> bool {
        if !self.is_late() {
            return false;
        }
        let late = self.take_back(self.overdue.load(Ordering::Relaxed));
        self.overdue.store(self.called.load(Ordering::SeqCst), Ordering::Relaxed);
        self.since.store(Self::now(), Ordering::Relaxed);
        if late != 0 {
            // The last ticket that was called with the bit nearest to it.
            let last = self.first.load(Ordering::SeqCst).wrapping_sub(1);
            let behind = late.rotate_right(last % u32::BITS).rotate_right(1).leading_zeros();
            self.lost.store(last.wrapping_sub(behind).wrapping_add(1), Ordering::SeqCst);
        }
        self.is_open()
    }

    /// Where it is noted that the holder of the ticket is awake, and how; 0, as all of them are at first, says nothing.
    fn note(&self, ticket: Ticket) -> (&AtomicU16, u16) {
        (&self.awake[ticket.number() as usize % Self::AWAKE], ticket.number() as u16)
    }

    /// The holder of the ticket does not sleep, and will look before it does.
    fn note_awake(&self, ticket: Ticket) {
        let (note, half) = self.note(ticket);
        note.store(half, Ordering::SeqCst);
    }

    fn is_awake(&self, ticket: Ticket) -> bool {
        let (note, half) = self.note(ticket);
        half != 0 && note.load(Ordering::SeqCst) == half
    }

    /// Whether the holder of a ticket with one of these bits is awake.
    fn is_one_awake(&self, bits: u32) -> bool {
        let mut notes = self.awake.iter().map(|note| u32::from(note.load(Ordering::SeqCst)));
        notes.any(|half| Ticket::from_number(half).is_some_and(|t| t.bit() & bits != 0))
    }

    fn forget_awake(&self, ticket: Ticket) {
        let (note, _) = self.note(ticket);
        let there = note.load(Ordering::SeqCst);
        // Perhaps noted as one of a loop's, of which only the bit is known.
        if Ticket::from_number(there.into()).is_some_and(|noted| noted.bit() == ticket.bit()) {
            let _ = note.compare_exchange(there, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether the ticket is before the first that has not been called.
    fn is_past(&self, ticket: Ticket) -> bool {
        is_before(ticket.number(), self.first.load(Ordering::SeqCst))
    }

    /// Whether the ticket was passed over, since its holder was not found or another one took what was meant for it.
    fn is_passed_over(&self, ticket: Ticket) -> bool {
        self.is_past(ticket) && !self.is_called(ticket)
    }

    /// For one that was passed over: the next thing that comes free is its; or it gets a ticket at the end of the line, if
    /// it has lost its turn. Gives the ticket that counts from now on.
    fn call_or_renew(&self, ticket: Ticket) -> Ticket {
        let far = self.first.load(Ordering::SeqCst).wrapping_sub(ticket.number()) > Self::MOST;
        if !far && !is_before(ticket.number(), self.lost.load(Ordering::SeqCst)) {
            self.call(ticket);
            return ticket;
        }
        let ticket = self.take_ticket();
        if self.is_past(ticket) {
            // A ticket that was just given cannot be past: the word is damaged, and no other ticket would do.
            self.first.store(ticket.number(), Ordering::SeqCst);
        }
        ticket
    }

    /// The holder of the ticket leaves the line: it took something, or gives up. Says whether something was reserved for it;
    /// then others may have waited in vain meanwhile.
    pub fn leave(&self, ticket: Ticket) -> bool {
        let number = ticket.number();
        self.forget_awake(ticket);
        // Loom takes sequentially consistent accesses for less than they are. Who calls the ticket after this sees no note.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if self.first.load(Ordering::SeqCst) == number {
            let _ = self.first.compare_exchange(number, number.wrapping_add(1), Ordering::SeqCst, Ordering::SeqCst);
        }
        self.take_back(ticket.bit()) != 0
    }

    /// The same for one of a loop's: if nothing was reserved for it, it may have taken what was for another one of these.
    pub fn leave_for_one_of(&self, ticket: Ticket, tickets: Tickets) -> bool {
        let was_called = self.leave(ticket);
        let theirs = self.called.load(Ordering::SeqCst) & tickets.0;
        was_called || self.take_back(theirs & theirs.wrapping_neg()) != 0
    }

    /// Before a change that one waiter can use: reserves it, if the waiter at the head of the line has waited for long
    /// enough. What this gives goes to [`notify_prepared`](Self::notify_prepared) after the change, or to
    /// [`withdraw`](Self::withdraw) instead of it.
    #[inline(always)]
    pub fn prepare(&self) -> Prepared {
        if self.events.has_waiters() { self.prepare_slow(|| self.is_due()) } else { Prepared::Open }
    }

    #[cold]
    fn prepare_slow(&self, is_due: impl FnOnce() -> bool) -> Prepared {
        if !self.is_open() && !self.open_if_late() {
            return Prepared::ClosedBefore;
        }
        // Those who wait out of turn have no tickets, so there is nothing to reserve, and no clock to read.
        if self.places() == 0 || !is_due() {
            return Prepared::Open;
        }
        self.call_next().map_or(Prepared::Open, Prepared::Closed)
    }

    /// Calls the holder of the first ticket; None if there is none.
    fn call_next(&self) -> Option<Ticket> {
        loop {
            let (first, next) = (self.first.load(Ordering::SeqCst), self.next.load(Ordering::SeqCst));
            let waiting = next.wrapping_sub(first);
            if waiting > Self::MOST {
                self.first.store(next, Ordering::SeqCst);
            }
            if waiting == 0 || waiting > Self::MOST {
                return None;
            }
            let after = first.wrapping_add(1);
            if self.first.compare_exchange(first, after, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                continue;
            }
            if let Some(called) = Ticket::from_number(first) {
                self.call(called);
                return Some(called);
            }
        }
    }

    /// After a change that `count` waiters can use, and that ended with a sequentially consistent read-modify-write. So many
    /// things are `available` since then, the same or more.
    #[inline(always)]
    pub fn notify_prepared(&self, prepared: Prepared, count: u32, available: impl FnOnce() -> u32, scope: Scope) {
        // Loom takes a sequentially consistent read-modify-write for less than the processors make of it.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if prepared != Prepared::Open {
            self.call_out(prepared, available(), scope);
        } else if self.events.has_waiters() {
            self.invite(count, scope);
        }
    }

    /// Wakes `count` waiters, the head of the line among them if it is there. They may find that others were faster.
    #[cold]
    fn invite(&self, count: u32, scope: Scope) {
        let first = self.first.load(Ordering::SeqCst);
        let is_empty = first == self.next.load(Ordering::SeqCst);
        match Ticket::from_number(first).filter(|_| !is_empty && count > 0) {
            None => self.events.notify_slow(count, scope),
            Some(first) => {
                let wake = || self.wake_sleeper(first, scope);
                self.events.notify_head(count, scope, wake, || self.will_look(first));
                #[cfg(loom)]
                fence(Ordering::SeqCst);
                // Called meanwhile by a change that relied on the note of this wake-up, which was in vain.
                if self.is_called(first) && !self.is_awake(first) {
                    self.call_out(Prepared::ClosedBefore, 1, scope);
                }
            }
        }
    }

    /// Whether the head of the line, which does not sleep, looks before it does, so that no other need be told. A loop is
    /// rung, but it may be busy for long, or have been stopped. With more places than bits the note may have been left
    /// when another waiter was woken, one with the same bit.
    fn will_look(&self, first: Ticket) -> bool {
        self.ring(first.bit());
        self.is_awake(first) && !self.is_loops(first) && self.places() <= u32::BITS
    }

    /// Whether a door was left for the ticket, as far as is known.
    fn is_loops(&self, ticket: Ticket) -> bool {
        let bit = ticket.bit();
        self.tickets.iter().any(|theirs| theirs.load(Ordering::SeqCst) & bit != 0)
            || self.events.further_tickets() & bit != 0
    }

    /// Wakes those that are called, as many as there are things `available`, and calls the next ones if there are more.
    #[cold]
    fn call_out(&self, prepared: Prepared, available: u32, scope: Scope) {
        self.events.change();
        let mut is_told = match prepared {
            Prepared::Closed(called) => self.wake_called(called, scope),
            // They were told before. They may sleep again, since others were faster; or be on their way.
            Prepared::Open | Prepared::ClosedBefore => self.wake_called_before(scope),
        };
        for _ in 0..Self::SKIPS {
            let is_enough = is_told && self.called.load(Ordering::SeqCst).count_ones() >= available;
            let Some(next) = (!is_enough).then(|| self.call_next()).flatten() else { break };
            is_told |= self.wake_called(next, scope);
        }
        if !is_told {
            self.invite(1, scope);
        }
    }

    /// Wakes the holder of the ticket, which was just called; if it is gone, nothing is reserved for it any more.
    fn wake_called(&self, called: Ticket, scope: Scope) -> bool {
        let is_told = self.tell(called.bit(), scope, || self.wake_sleeper(called, scope));
        if !is_told {
            self.take_back(called.bit());
        }
        is_told
    }

    /// The same for one or more of those that were called before.
    fn wake_called_before(&self, scope: Scope) -> bool {
        let called = self.called.load(Ordering::SeqCst);
        let is_told = called != 0 && self.tell(called, scope, || self.events.wake_those(called, scope) > 0);
        if !is_told {
            self.take_back(called);
        }
        is_told
    }

    /// Tells the holder of a ticket with one of these bits. Says whether there is one, as far as is known.
    fn tell(&self, bits: u32, scope: Scope, wake: impl FnOnce() -> bool) -> bool {
        // As in `leave`.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        let is_woken = wake();
        // Both: with more than 32 waiters, the one that was meant may be at the door, and another one asleep.
        let is_at_door = self.ring(bits);
        if is_woken {
            return true;
        }
        let is_told = is_at_door || self.is_one_awake(bits);
        if is_at_door || is_told && !self.events.is_watched() {
            self.have_watched(scope);
        }
        is_told
    }

    /// The loop that was rung may be busy for long, and a note that a waiter is awake may have outlived it: one of those who
    /// sleep sees to it that nothing stays reserved; or, if none does, all other loops do, each of which may be busy too.
    fn have_watched(&self, scope: Scope) {
        self.events.set_watched();
        // The last ones: it is not their turn soon. They are not noted as awake: that one may have left, and be called.
        let last = self.next.load(Ordering::SeqCst);
        let mut last_ones = (1..=Self::WATCHERS).map_while(|i| Ticket::from_number(last.wrapping_sub(i)));
        if !last_ones.any(|ticket| self.events.wake_those(ticket.bit(), scope) > 0) && !self.events.wake_any(scope) {
            self.events.ring_all();
        }
    }

    /// Notes that the holder of the ticket is awake if `wake` wakes it: before, since it may be gone a moment later.
    fn rouse(&self, ticket: Ticket, wake: impl FnOnce() -> bool) -> bool {
        let was_noted = self.is_awake(ticket);
        // One that is noted may leave meanwhile, and would stay noted.
        if !was_noted {
            self.note_awake(ticket);
        }
        let is_woken = wake();
        if !is_woken && !was_noted {
            self.forget_awake(ticket);
        }
        is_woken
    }

    fn wake_sleeper(&self, ticket: Ticket, scope: Scope) -> bool {
        self.rouse(ticket, || self.events.wake_those(ticket.bit(), scope) > 0)
    }

    /// Rings a door that was left for a ticket with one of these bits; says whether it was heard.
    fn ring(&self, bits: u32) -> bool {
        let rouse_one_of = |bits, ring: &dyn Fn() -> bool| {
            Ticket::with_one_of(bits).is_some_and(|like_theirs| self.rouse(like_theirs, ring))
        };
        let mut doors = self.tickets.iter().enumerate();
        doors.any(|(i, theirs)| rouse_one_of(theirs.load(Ordering::SeqCst) & bits, &|| self.events.ring_at(i)))
            || rouse_one_of(self.events.further_tickets() & bits, &|| self.events.ring_one_of(bits))
    }

    /// What was prepared does not come.
    #[inline(always)]
    pub fn withdraw(&self, prepared: Prepared, scope: Scope) {
        if self.events.has_waiters() {
            self.call_back(prepared, scope);
        }
    }

    /// The ticket that was called is the first again. Who came while the line was closed may sleep beside what was there
    /// before.
    #[cold]
    fn call_back(&self, prepared: Prepared, scope: Scope) {
        if let Prepared::Closed(called) = prepared {
            let number = called.number();
            let back = self.first.compare_exchange(number.wrapping_add(1), number, Ordering::SeqCst, Ordering::SeqCst);
            if back.is_err() {
                // Others were called after it. It stays called, and looks in vain.
                return self.call_out(prepared, 1, scope);
            }
            self.take_back(called.bit());
        }
        fence(Ordering::SeqCst);
        // Who was refused has a ticket by now; those who wait out of turn are not refused.
        if self.places() > 0 {
            self.invite(1, scope);
        }
    }

    /// Something happened that one waiter can use, without preparation. The condition must have been made true before.
    pub fn notify_one(&self, scope: Scope) {
        self.notify(1, scope);
    }

    /// The same, for `count` waiters.
    pub fn notify(&self, count: u32, scope: Scope) {
        let prepared = self.prepare();
        fence(Ordering::SeqCst);
        self.notify_prepared(prepared, count, || count, scope);
    }

    /// So many things are `available`, more than the caller could use, who had waited: the next turn is the next one's.
    pub fn pass_on(&self, available: u32, scope: Scope) {
        let prepared = if self.events.has_waiters() { self.prepare_slow(|| true) } else { Prepared::Open };
        fence(Ordering::SeqCst);
        self.notify_prepared(prepared, 1, || available, scope);
    }

    /// As [`pass_on`](Self::pass_on), for one who does not know whether there is more: nothing is reserved.
    pub fn invite_next(&self, scope: Scope) {
        fence(Ordering::SeqCst);
        if self.events.has_waiters() {
            self.invite(1, scope);
        }
    }

    /// A waiter leaves on which another one may have relied, to look or to watch: the next one does.
    #[cold]
    fn hand_on(&self, scope: Scope) {
        if self.is_open() {
            self.notify_one(scope);
        } else {
            self.have_watched(scope);
        }
    }

    /// Something happened that all waiters must see.
    pub fn notify_all(&self, scope: Scope) {
        self.take_back(u32::MAX);
        self.events.notify_all(scope);
    }

    /// Leaves the door of a loop that serves the holders of `tickets`, `ticket` first. Gives the ticket that counts from now
    /// on, since this one may have lost its turn; None if there is no room for the door. Look at the condition after this.
    pub fn leave_door(&self, door: Door, ticket: Ticket, tickets: Tickets) -> Option<Ticket> {
        let place = self.events.leave_door_at(door)?;
        let mut ticket = ticket;
        // Once as a rule: it takes as many calls in between for each further round, or words that are scribbled over.
        for _ in 0..Self::SKIPS {
            let bits = tickets.0 | ticket.bit();
            match self.tickets.get(place) {
                Some(there) => there.store(bits, Ordering::SeqCst),
                None => self.events.set_tickets(place, bits),
            }
            if !self.is_passed_over(ticket) {
                break;
            }
            ticket = self.call_or_renew(ticket);
        }
        Some(ticket)
    }

    /// Where it can be waited for out of turn.
    pub fn events(&self) -> &EventCount {
        &self.events
    }

    /// Forgets all who wait: they did not come along into a forked child.
    pub fn reinit(&self) {
        self.events.reinit();
        self.forget_places();
    }

    fn forget_places(&self) {
        self.awake.iter().for_each(|note| note.store(0, Ordering::SeqCst));
        self.tickets.iter().for_each(|bits| bits.store(0, Ordering::SeqCst));
        self.called.store(0, Ordering::SeqCst);
        self.first.store(self.next.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// How many tickets have not been called: those who wait, and those who left meanwhile.
    pub fn places(&self) -> u32 {
        self.next.load(Ordering::SeqCst).wrapping_sub(self.first.load(Ordering::SeqCst))
    }

    /// How many threads sleep here, as far as is known.
    pub fn sleepers(&self) -> u32 {
        self.events.sleepers()
    }

    /// The whole of waiting, for those whose `look` takes what they wait for: see [`Place::wait_for`].
    ///
    /// # Errors
    /// When the deadline is past or the caller is interrupted.
    pub fn wait_for<T>(
        &self,
        patience: &Patience<'_>,
        scope: Scope,
        look: impl FnMut() -> Option<T>,
        each_nap: impl FnMut() -> Option<T>,
    ) -> Result<T, Stopped> {
        let place = self.join(scope);
        let result = place.wait_for(patience, look, each_nap);
        place.leave(result.is_err());
        result
    }
}

/// A thread's place in a [`Line`].
#[derive(Debug)]
#[must_use]
pub struct Place<'a> {
    line: &'a Line,
    scope: Scope,
    /// Changed by the thread that waits alone, as all below; others may look at it.
    ticket: AtomicU32,
    /// The epoch in which its owner last looked.
    seen: AtomicU32,
    /// Whether its owner is the one that sees to it that nothing stays reserved for another.
    is_watching: AtomicBool,
}

impl Place<'_> {
    /// For how long a waiter sleeps that looks after another one, for which something is reserved; in nanoseconds.
    const WATCH: u64 = (Line::PATIENCE as u64) << Line::UNIT;
    /// One that was called and found nothing looks after that at first, and after 2⁵ times as long at most.
    const DOUBLINGS: u32 = 5;

    /// Whether this place's owner may take what there is.
    pub fn is_admitted(&self) -> bool {
        self.line.admits(Some(self.ticket()), || 0)
    }

    /// Its ticket.
    pub fn ticket(&self) -> Ticket {
        // It was a ticket's number when it was stored.
        Ticket(NonZeroU32::new(self.ticket.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN))
    }

    /// Waits until `look`, which is asked only while this place is admitted, gives something.
    ///
    /// `each_nap` runs when a slice was slept to its end, to ask after the living and the dead; it may give a result
    /// too.
    ///
    /// # Errors
    /// When the deadline is past or the caller is interrupted. `look` is asked once more after the time is over.
    pub fn wait_for<T>(
        &self,
        patience: &Patience<'_>,
        mut look: impl FnMut() -> Option<T>,
        mut each_nap: impl FnMut() -> Option<T>,
    ) -> Result<T, Stopped> {
        let events = &self.line.events;
        let mut naps = patience.naps();
        let mut is_watching = false;
        let mut vain = 0_u32;
        loop {
            let announced = events.announce();
            self.seen.store(announced.epoch(), Ordering::Relaxed);
            if self.is_admitted()
                && let Some(t) = look()
            {
                return Ok(t);
            }
            let ticket = self.ticket();
            if self.line.is_passed_over(ticket) {
                self.line.forget_awake(ticket);
                let ticket = self.line.call_or_renew(ticket);
                self.ticket.store(ticket.number(), Ordering::Relaxed);
                self.line.note_awake(ticket);
                // What is there may be its own now.
                continue;
            }
            // One that was woken for nothing sees to it that nothing stays reserved for another that does not come.
            is_watching = self.line.is_called_besides(ticket) && (is_watching || announced.is_watched());
            self.is_watching.store(is_watching, Ordering::Relaxed);
            // One that was called may lose its turn while it sleeps. It looks less and less often, since that is rare, and
            // nothing may come for long.
            vain = if self.line.is_past(ticket) { vain.saturating_add(1) } else { 0 };
            let longest = match () {
                () if is_watching => Self::WATCH,
                () if vain > 0 => Self::WATCH << vain.min(Self::DOUBLINGS),
                () => u64::MAX,
            };
            let slept = events.sleep_as(announced, ticket.bit(), longest, patience, self.scope);
            self.line.note_awake(ticket);
            match slept {
                Ok(()) => is_watching = true,
                Err(Stopped::TimedOut) if self.is_admitted() => {
                    self.seen.store(events.epoch(), Ordering::Relaxed);
                    // As an announcement: what is told later is not what this look is for.
                    fence(Ordering::SeqCst);
                    return look().ok_or(Stopped::TimedOut);
                }
                // Nothing is taken any more: the caller raises, and could not give it back.
                Err(stopped) => return Err(stopped),
            }
            if patience.naps() != naps {
                naps = patience.naps();
                if let Some(t) = each_nap() {
                    return Ok(t);
                }
            }
        }
    }

    /// Gives the place up; `in_vain`: without having taken anything, so that what was reserved is the next one's.
    pub fn leave(self, in_vain: bool) {
        self.give_up(in_vain);
        core::mem::forget(self);
    }

    /// Leaves the line, for one who then looks whether there is something left, and tells the next one: to be forgotten
    /// after this.
    #[cfg(not(loom))]
    pub(crate) fn step_aside(&self) {
        self.line.leave(self.ticket());
        if self.is_watching.load(Ordering::Relaxed) && !self.line.is_open() {
            self.line.have_watched(self.scope);
        }
    }

    fn give_up(&self, in_vain: bool) {
        let was_called = self.line.leave(self.ticket());
        if !in_vain {
            return;
        }
        // Since its last look it may have been counted on: it was noted as awake until a moment ago.
        let is_counted_on = self.line.events.epoch() != self.seen.load(Ordering::Relaxed);
        let watched = self.is_watching.load(Ordering::Relaxed) && !self.line.is_open();
        if was_called {
            self.line.pass_on(1, self.scope);
        } else if is_counted_on || watched {
            self.line.hand_on(self.scope);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.give_up(true);
    }
}
