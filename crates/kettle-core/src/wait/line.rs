//! Waiting in the order of arrival, for things that only some of the waiters can get. The protocol is in `README.md`.

use core::num::NonZeroU32;

use super::{Door, EventCount, Patience, Scope, Stopped};
use crate::atomics::{AtomicBool, AtomicU16, AtomicU32, Ordering, const_fn, fence, zeros_u16, zeros_u32};
use crate::sys::clock;

/// An [`EventCount`] whose waiters are served in the order of arrival, whether they sleep or registered a [`Door`].
///
/// While everything goes quickly, a thing that becomes free goes to the first taker, which is cheapest. From time to
/// time it is reserved for the waiter at the head of the line instead. That waiter is *called*: the line is *closed* to
/// all others until it has taken its thing. If more things become free in the meantime, the next waiters are called
/// too. A waiter that does not come within 50 milliseconds loses its turn.
///
/// Every attempt to take asks [`admits`](Self::admits) first. A change that one waiter can use is announced before it
/// is made, by [`prepare`](Self::prepare), and notified afterwards, by [`notify_prepared`](Self::notify_prepared).
#[repr(C)]
#[derive(Debug)]
pub struct Line {
    events: EventCount,
    /// The ticket that the next waiter takes; never 0.
    next: AtomicU32,
    /// The first ticket that has not been called.
    first: AtomicU32,
    /// The [bits](Ticket::bit) of the tickets for which the next free thing is reserved; the line is open if there are
    /// none.
    called: AtomicU32,
    /// When the next turn is due, in units of [`UNIT`](Self::UNIT).
    due: AtomicU32,
    /// When the line was last closed. While it stays closed, this advances whenever the waiters called so far lose
    /// their turns.
    since: AtomicU32,
    /// The bits that were called by then.
    overdue: AtomicU32,
    /// The holders of earlier tickets have lost their turns, unless they are called.
    lost: AtomicU32,
    /// For each door index of the event count: the bits of the tickets for which the door is registered.
    tickets: [AtomicU32; EventCount::DOORS],
    /// The lower halves of the tickets of some waiters that are in line but not asleep.
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

    /// The ticket with this number; None for 0. With a number that was never issued, a waiter waits longer than
    /// necessary.
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The bit that selects the sleepers that this ticket's wake-up reaches, and the waiters that are admitted when it
    /// is called. With more than 32 waiters several share a bit.
    fn bit(self) -> u32 {
        1 << (self.number() % u32::BITS)
    }

    /// A ticket with the lowest of these bits; None if there is none.
    fn with_one_of(bits: u32) -> Option<Self> {
        Self::from_number(u32::BITS + bits.trailing_zeros()).filter(|_| bits != 0)
    }
}

/// The tickets that one loop serves, as far as their bits tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tickets(u32);

impl Tickets {
    /// No tickets.
    pub const NONE: Self = Self(0);

    /// The tickets whose numbers modulo 32 are the positions of these bits.
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

/// The outcome of [`Line::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Prepared {
    /// The first taker may have it.
    Open,
    /// The waiter at the head of the line, which holds this ticket, was just called.
    Closed(Ticket),
    /// The line is closed for waiters that were called earlier.
    ClosedBefore,
}

/// Whether `number` comes before `other`, given that the counter wraps.
fn is_before(number: u32, other: u32) -> bool {
    (number.wrapping_sub(other) as i32) < 0
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// In units of 2¹⁷ nanoseconds, about an eighth of a millisecond, 32 bits last for a week.
    const UNIT: u32 = 17;
    /// How long others may pass the waiter at the head of the line: about a quarter of a millisecond.
    const TURN: u32 = 2;
    /// How many turns may follow one another directly if as many were not needed before: when several permits are
    /// acquired at the same time and released at the same time, each of them is handed over.
    const TURNS_AT_ONCE: u32 = 8;
    /// How long a line stays closed to others: 50 milliseconds.
    const PATIENCE: u32 = 400;
    /// How many tickets of waiters that gave up are skipped at a time.
    const SKIPS: u32 = 64;
    /// How many waiters can be noted as present although they do not sleep.
    const AWAKE: usize = 8;
    /// How many of the last waiters in line are asked to watch another waiter's loop.
    const WATCHERS: u32 = 4;
    /// More than the possible number of waiters: a larger distance is a corrupted word.
    const MOST: u32 = 1 << 24;

    const_fn! {
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
                tickets: zeros_u32(),
                awake: zeros_u16(),
            }
        }
    }

    fn now() -> u32 {
        (clock::now() >> Self::UNIT) as u32
    }

    /// Whether others have passed the waiter at the head of the line for long enough. In a model every turn is due.
    fn is_due(&self) -> bool {
        cfg!(loom) || !is_before(Self::now(), self.due.load(Ordering::Relaxed))
    }

    /// Whether the waiters called when the line was closed have had enough time to come. In a model no time passes.
    fn is_late(&self) -> bool {
        !cfg!(loom) && Self::now().wrapping_sub(self.since.load(Ordering::Relaxed)) >= Self::PATIENCE
    }

    /// Takes a place at the end of the line.
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

    /// Takes a ticket without a place, for a waiter that registers a door. [`leave`](Self::leave) gives it back.
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

    /// Whether a caller with this ticket, or without one, may take one of the `available` things.
    #[inline(always)]
    pub fn admits(&self, ticket: Option<Ticket>, available: impl FnOnce() -> u32) -> bool {
        self.is_open() || self.admits_while_closed(ticket.map_or(Tickets::NONE, Tickets::from), available)
    }

    /// The same for a loop that serves the holders of these tickets.
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

    /// Whether something is reserved for the holders of other tickets.
    fn is_called_besides(&self, ticket: Ticket) -> bool {
        self.called.load(Ordering::SeqCst) & !ticket.bit() != 0
    }

    /// Reserves the next free thing for the holder of this ticket as well.
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

    /// Cancels the reservations for these bits. Returns the bits that had one.
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

    /// Takes the turns from waiters that were called and did not come in time. Returns whether the line is open now.
    fn open_if_late(&self) -> bool {
        if !self.is_late() {
            return false;
        }
        let late = self.take_back(self.overdue.load(Ordering::Relaxed));
        self.overdue.store(self.called.load(Ordering::SeqCst), Ordering::Relaxed);
        self.since.store(Self::now(), Ordering::Relaxed);
        if late != 0 {
            // The latest ticket that lost its turn: the nearest late bit at or before the last called ticket's.
            let last = self.first.load(Ordering::SeqCst).wrapping_sub(1);
            let behind = late.rotate_right(last % u32::BITS).rotate_right(1).leading_zeros();
            self.lost.store(last.wrapping_sub(behind).wrapping_add(1), Ordering::SeqCst);
        }
        self.is_open()
    }

    /// The word for the note that the ticket's holder is awake, and the note itself. The value 0, with which all words
    /// start, means nothing.
    fn note(&self, ticket: Ticket) -> (&AtomicU16, u16) {
        (&self.awake[ticket.number() as usize % Self::AWAKE], ticket.number() as u16)
    }

    /// Notes that the holder of the ticket is awake and will look before it sleeps.
    fn note_awake(&self, ticket: Ticket) {
        let (note, half) = self.note(ticket);
        note.store(half, Ordering::SeqCst);
    }

    fn is_awake(&self, ticket: Ticket) -> bool {
        let (note, half) = self.note(ticket);
        half != 0 && note.load(Ordering::SeqCst) == half
    }

    /// Whether the holder of a ticket with one of these bits is noted as awake.
    fn is_one_awake(&self, bits: u32) -> bool {
        let mut notes = self.awake.iter().map(|note| u32::from(note.load(Ordering::SeqCst)));
        notes.any(|half| Ticket::from_number(half).is_some_and(|t| t.bit() & bits != 0))
    }

    fn forget_awake(&self, ticket: Ticket) {
        let (note, _) = self.note(ticket);
        let there = note.load(Ordering::SeqCst);
        // The note may come from a ring to a loop, for which only the bit is known.
        if Ticket::from_number(there.into()).is_some_and(|noted| noted.bit() == ticket.bit()) {
            let _ = note.compare_exchange(there, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether the ticket is before the first one that has not been called.
    fn is_past(&self, ticket: Ticket) -> bool {
        is_before(ticket.number(), self.first.load(Ordering::SeqCst))
    }

    /// Whether the ticket was skipped: its holder was not found, or another waiter took what was meant for it.
    fn is_passed_over(&self, ticket: Ticket) -> bool {
        self.is_past(ticket) && !self.is_called(ticket)
    }

    /// For a waiter that was skipped: calls it, so that the next free thing is its; or, if it has lost its turn, gives
    /// it a ticket at the end of the line. Returns the ticket that counts from now on.
    fn call_or_renew(&self, ticket: Ticket) -> Ticket {
        let far = self.first.load(Ordering::SeqCst).wrapping_sub(ticket.number()) > Self::MOST;
        if !far && !is_before(ticket.number(), self.lost.load(Ordering::SeqCst)) {
            self.call(ticket);
            return ticket;
        }
        let ticket = self.take_ticket();
        if self.is_past(ticket) {
            // A ticket that was just issued cannot be past: the word is corrupted, and no other ticket would do better.
            self.first.store(ticket.number(), Ordering::SeqCst);
        }
        ticket
    }

    /// The holder of the ticket leaves the line, because it took something or gives up. Returns whether something was
    /// reserved for it; in that case others may have been refused in the meantime.
    pub fn leave(&self, ticket: Ticket) -> bool {
        let number = ticket.number();
        self.forget_awake(ticket);
        // Loom models sequentially consistent accesses as weaker than they are. A thread that calls the ticket after
        // this must not see the note.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if self.first.load(Ordering::SeqCst) == number {
            let _ = self.first.compare_exchange(number, number.wrapping_add(1), Ordering::SeqCst, Ordering::SeqCst);
        }
        self.take_back(ticket.bit()) != 0
    }

    /// The same for one of a loop's tickets: if nothing was reserved for it, its holder may have taken what was
    /// reserved for another of these tickets.
    pub fn leave_for_one_of(&self, ticket: Ticket, tickets: Tickets) -> bool {
        let was_called = self.leave(ticket);
        let theirs = self.called.load(Ordering::SeqCst) & tickets.0;
        was_called || self.take_back(theirs & theirs.wrapping_neg()) != 0
    }

    /// Before a change that one waiter can use: reserves it if the waiter at the head of the line has waited for long
    /// enough. Pass the result to [`notify_prepared`](Self::notify_prepared) after the change, or to
    /// [`withdraw`](Self::withdraw) if the change is not made.
    #[inline(always)]
    pub fn prepare(&self) -> Prepared {
        if self.events.has_waiters() { self.prepare_slow(|| self.is_due()) } else { Prepared::Open }
    }

    #[cold]
    fn prepare_slow(&self, is_due: impl FnOnce() -> bool) -> Prepared {
        if !self.is_open() && !self.open_if_late() {
            return Prepared::ClosedBefore;
        }
        // Waiters outside the line have no tickets, so there is nothing to reserve and no need to read the clock.
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

    /// Notifies after a change that `count` waiters can use and that ended with a sequentially consistent
    /// read-modify-write. `available` is the number of things that are free since then, `count` or more.
    #[inline(always)]
    pub fn notify_prepared(&self, prepared: Prepared, count: u32, available: impl FnOnce() -> u32, scope: Scope) {
        // Loom models a sequentially consistent read-modify-write as weaker than it is on real processors.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if prepared != Prepared::Open {
            self.call_out(prepared, available(), scope);
        } else if self.events.has_waiters() {
            self.invite(count, scope);
        }
    }

    /// Wakes `count` waiters, including the head of the line if it is there. They may find that others were faster.
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
                // Another change called the head in the meantime and relied on the note of this wake-up, which reached
                // no sleeper.
                if self.is_called(first) && !self.is_awake(first) {
                    self.call_out(Prepared::ClosedBefore, 1, scope);
                }
            }
        }
    }

    /// Whether the head of the line, which is not asleep, will look before it sleeps, so that no other waiter need be
    /// woken. A loop is rung, but it may be busy for a long time, or stopped. With more places than bits the note may
    /// stem from a wake-up of another waiter with the same bit.
    fn will_look(&self, first: Ticket) -> bool {
        self.ring(first.bit());
        self.is_awake(first) && !self.is_loops(first) && self.places() <= u32::BITS
    }

    /// Whether a door may be registered for the ticket.
    fn is_loops(&self, ticket: Ticket) -> bool {
        let bit = ticket.bit();
        self.tickets.iter().any(|theirs| theirs.load(Ordering::SeqCst) & bit != 0)
            || self.events.further_tickets() & bit != 0
    }

    /// Wakes called waiters, as many as there are things `available`, and calls the next ones if more things are.
    #[cold]
    fn call_out(&self, prepared: Prepared, available: u32, scope: Scope) {
        self.events.change();
        let mut is_told = match prepared {
            Prepared::Closed(called) => self.wake_called(called, scope),
            // They were notified before. They may be asleep again, since others were faster, or be on their way.
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

    /// Wakes the holder of the ticket, which was just called; if it is gone, cancels the reservation.
    fn wake_called(&self, called: Ticket, scope: Scope) -> bool {
        let is_told = self.tell(called.bit(), scope, || self.wake_sleeper(called, scope));
        if !is_told {
            self.take_back(called.bit());
        }
        is_told
    }

    /// The same for one or more waiters that were called earlier.
    fn wake_called_before(&self, scope: Scope) -> bool {
        let called = self.called.load(Ordering::SeqCst);
        let is_told = called != 0 && self.tell(called, scope, || self.events.wake_those(called, scope) > 0);
        if !is_told {
            self.take_back(called);
        }
        is_told
    }

    /// Notifies the holder of a ticket with one of these bits. Returns whether such a holder seems to exist.
    fn tell(&self, bits: u32, scope: Scope, wake: impl FnOnce() -> bool) -> bool {
        // As in `leave`.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        let is_woken = wake();
        // Do both: with more than 32 waiters, the intended one may be a loop while another one with its bit is asleep.
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

    /// A loop that was rung may be busy for a long time, and a note that a waiter is awake may have outlived the
    /// waiter. One of the sleepers therefore makes sure that nothing stays reserved; if none sleeps, all other loops
    /// are rung instead, because each of them may be busy too.
    fn have_watched(&self, scope: Scope) {
        self.events.set_watched();
        // The last in line, whose turn is not near. They are not noted as awake: by now such a waiter may have left and
        // been called.
        let last = self.next.load(Ordering::SeqCst);
        let mut last_ones = (1..=Self::WATCHERS).map_while(|i| Ticket::from_number(last.wrapping_sub(i)));
        if !last_ones.any(|ticket| self.events.wake_those(ticket.bit(), scope) > 0) && !self.events.wake_any(scope) {
            self.events.ring_all();
        }
    }

    /// Notes that the holder of the ticket is awake if `wake` wakes it. The note comes first, since the holder may be
    /// gone a moment later.
    fn rouse(&self, ticket: Ticket, wake: impl FnOnce() -> bool) -> bool {
        let was_noted = self.is_awake(ticket);
        // A waiter that is noted already may leave in the meantime; a second note would outlive it.
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

    /// Rings a door registered for a ticket with one of these bits; returns whether the ring was delivered.
    fn ring(&self, bits: u32) -> bool {
        let rouse_one_of = |bits, ring: &dyn Fn() -> bool| {
            Ticket::with_one_of(bits).is_some_and(|like_theirs| self.rouse(like_theirs, ring))
        };
        let mut doors = self.tickets.iter().enumerate();
        doors.any(|(i, theirs)| rouse_one_of(theirs.load(Ordering::SeqCst) & bits, &|| self.events.ring_at(i)))
            || rouse_one_of(self.events.further_tickets() & bits, &|| self.events.ring_one_of(bits))
    }

    /// Abandons a prepared change.
    #[inline(always)]
    pub fn withdraw(&self, prepared: Prepared, scope: Scope) {
        if self.events.has_waiters() {
            self.call_back(prepared, scope);
        }
    }

    /// Makes the called ticket the first one again. A caller that came while the line was closed may be asleep although
    /// something was free all along.
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
        // A caller that was refused holds a ticket by now; waiters outside the line are not refused.
        if self.places() > 0 {
            self.invite(1, scope);
        }
    }

    /// Notifies one waiter of a change that was not prepared. The change must have been made before.
    pub fn notify_one(&self, scope: Scope) {
        self.notify(1, scope);
    }

    /// The same, for `count` waiters.
    pub fn notify(&self, count: u32, scope: Scope) {
        let prepared = self.prepare();
        fence(Ordering::SeqCst);
        self.notify_prepared(prepared, count, || count, scope);
    }

    /// For a caller that had waited and leaves `available` things: gives the next waiter the next turn.
    pub fn pass_on(&self, available: u32, scope: Scope) {
        let prepared = if self.events.has_waiters() { self.prepare_slow(|| true) } else { Prepared::Open };
        fence(Ordering::SeqCst);
        self.notify_prepared(prepared, 1, || available, scope);
    }

    /// As [`pass_on`](Self::pass_on), for a caller that does not know whether anything is left: nothing is reserved.
    pub fn invite_next(&self, scope: Scope) {
        fence(Ordering::SeqCst);
        if self.events.has_waiters() {
            self.invite(1, scope);
        }
    }

    /// A waiter leaves on which others may have relied to look or to watch: makes the next one do it.
    #[cold]
    fn hand_on(&self, scope: Scope) {
        if self.is_open() {
            self.notify_one(scope);
        } else {
            self.have_watched(scope);
        }
    }

    /// Notifies all waiters of a change.
    pub fn notify_all(&self, scope: Scope) {
        self.take_back(u32::MAX);
        self.events.notify_all(scope);
    }

    /// Registers the door of a loop that serves the holders of `tickets`, `ticket` being the first of them. Returns the
    /// ticket that counts from now on, since this one may have lost its turn; None if there is no room for the door.
    /// Look at the condition after this.
    pub fn leave_door(&self, door: Door, ticket: Ticket, tickets: Tickets) -> Option<Ticket> {
        let place = self.events.leave_door_at(door)?;
        let mut ticket = ticket;
        // Usually a single iteration: each further one takes as many calls in between, or corrupted words.
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

    /// The event count on which threads can wait outside the line.
    pub fn events(&self) -> &EventCount {
        &self.events
    }

    /// Discards all waiters, for a forked child: they exist only in its parent.
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

    /// The number of tickets that have not been called, including those of waiters that left in the meantime.
    pub fn places(&self) -> u32 {
        self.next.load(Ordering::SeqCst).wrapping_sub(self.first.load(Ordering::SeqCst))
    }

    /// An estimate of the number of threads asleep here.
    pub fn sleepers(&self) -> u32 {
        self.events.sleepers()
    }

    /// The complete wait, for a `look` that takes what it waits for: see [`Place::wait_for`].
    ///
    /// # Errors
    /// If the deadline has passed or the caller is interrupted.
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
    /// This and the fields below are changed only by the thread that waits; other threads may read them.
    ticket: AtomicU32,
    /// The epoch in which the owner last looked.
    seen: AtomicU32,
    /// Whether the owner is watching that nothing stays reserved for another waiter.
    is_watching: AtomicBool,
}

impl Place<'_> {
    /// How long a waiter sleeps that watches over another one's reservation, in nanoseconds.
    const WATCH: u64 = (Line::PATIENCE as u64) << Line::UNIT;
    /// A waiter that was called and found nothing looks again after twice that time, and later after up to 2⁵ times as
    /// long.
    const DOUBLINGS: u32 = 5;

    /// Whether the owner of this place may take what is free.
    pub fn is_admitted(&self) -> bool {
        self.line.admits(Some(self.ticket()), || 0)
    }

    /// Its ticket.
    pub fn ticket(&self) -> Ticket {
        // The stored number was a ticket's.
        Ticket(NonZeroU32::new(self.ticket.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN))
    }

    /// Waits until `look`, which is called only while this place is admitted, returns a value.
    ///
    /// `each_nap` runs after each slice that was slept to its end, to check whether owners are still alive; it may
    /// return a result, too.
    ///
    /// # Errors
    /// If the deadline has passed or the caller is interrupted. `look` is called once more after the deadline.
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
                // What is free may be this waiter's now.
                continue;
            }
            // A waiter that was woken for nothing watches that nothing stays reserved for one that does not come.
            is_watching = self.line.is_called_besides(ticket) && (is_watching || announced.is_watched());
            self.is_watching.store(is_watching, Ordering::Relaxed);
            // A waiter that was called may lose its turn while it sleeps. That is rare, and nothing may become free for
            // a long time, so it looks less and less often.
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
                    // Like an announcement: notifications that come later are not meant for this look.
                    fence(Ordering::SeqCst);
                    return look().ok_or(Stopped::TimedOut);
                }
                // `look` must not take anything any more: the caller returns an error and could not give it back.
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

    /// Gives the place up. `in_vain`: nothing was taken, so a reservation goes to the next waiter.
    pub fn leave(self, in_vain: bool) {
        self.give_up(in_vain);
        core::mem::forget(self);
    }

    /// Leaves the line, for a caller that then checks whether anything is left and notifies the next waiter itself. The
    /// place must be forgotten after this.
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
        // Another thread may have relied on this one since its last look: it was noted as awake until a moment ago.
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
