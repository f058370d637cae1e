//! Waiting in the order of arrival, for what only some of the waiters can get. The protocol is in `README.md`.

use core::num::NonZeroU32;

use super::{Door, EventCount, Patience, Scope, Stopped};
use crate::atomics::{AtomicBool, AtomicU16, AtomicU32, Ordering, fence};
use crate::sys::clock;

/// An [`EventCount`] whose waiters are served in the order of arrival, whether they sleep or left a [`Door`].
///
/// As long as all goes quickly, what comes free goes to the first that takes it, which costs least. From time to
/// time it is reserved for the waiter at the head of the line: the line is *closed* to all others until that one
/// has taken it. A waiter that does not come within 50 milliseconds loses its turn.
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
    /// The ticket for which the line is closed, if it is.
    called: AtomicU32,
    /// When that was, or when the first waiter came, in units of [`UNIT`](Self::UNIT).
    since: AtomicU32,
    /// The tickets of those who left the doors with the same index.
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

    /// Those sleepers that this ticket's wake-up reaches. Some others sleep with the same bit, and look in vain.
    fn bit(self) -> u32 {
        1 << (self.number() % u32::BITS)
    }
}

/// What [`Line::prepare`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Prepared {
    /// Whoever comes first may take.
    Open,
    /// It was just closed for the waiter at the head of the line, who has this ticket.
    Closed(Ticket),
    /// It is closed for a waiter that was told before.
    ClosedBefore,
}

/// What [`Line::enter`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// What there is was reserved for the caller.
    Called,
    /// What there is is whoever's takes it first.
    Free,
    /// It is reserved for another.
    Refused,
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// In 2¹⁷ nanoseconds, about an eighth of a millisecond, so that 32 bits last for a week.
    const UNIT: u32 = 17;
    /// How long the waiter at the head of the line lets others pass: not quite half a millisecond.
    const TURN: u32 = 3;
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

    /// With nobody in it.
    pub fn new() -> Self {
        Self {
            events: EventCount::new(),
            next: AtomicU32::new(1),
            first: AtomicU32::new(1),
            called: AtomicU32::new(0),
            since: AtomicU32::new(0),
            tickets: [const { 0 }; EventCount::DOORS].map(AtomicU32::new),
            awake: [const { 0 }; Self::AWAKE].map(AtomicU16::new),
        }
    }

    fn now() -> u32 {
        (clock::now() >> Self::UNIT) as u32
    }

    /// Whether so many units have passed since the line was last closed, or the first waiter came.
    fn has_passed(&self, units: u32) -> bool {
        // In a model no time passes: each turn is due, and no one is late.
        if cfg!(loom) {
            units <= Self::TURN
        } else {
            Self::now().wrapping_sub(self.since.load(Ordering::Relaxed)) >= units
        }
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
                self.since.store(Self::now(), Ordering::Relaxed);
            }
            return ticket;
        }
    }

    /// Whether a caller with this ticket, or without one, may take what there is.
    #[inline(always)]
    pub fn admits(&self, ticket: Option<Ticket>) -> bool {
        !self.events.is_closed() || self.admits_while_closed(ticket)
    }

    #[cold]
    fn admits_while_closed(&self, ticket: Option<Ticket>) -> bool {
        ticket.is_some_and(|t| self.is_called(t)) || self.open_if_late()
    }

    /// Opens the line if the waiter for whom it is closed did not come in time.
    fn open_if_late(&self) -> bool {
        let is_late = self.has_passed(Self::PATIENCE);
        if is_late {
            self.events.open();
        }
        is_late
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

    fn forget_awake(&self, ticket: Ticket) {
        let (note, half) = self.note(ticket);
        if note.load(Ordering::SeqCst) == half {
            let _ = note.compare_exchange(half, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    fn is_called(&self, ticket: Ticket) -> bool {
        self.called.load(Ordering::SeqCst) == ticket.number()
    }

    /// The ticket to wait with: this one, or one at the end of the line if this one's turn is over.
    fn renewed(&self, ticket: Ticket) -> Ticket {
        let first = self.first.load(Ordering::SeqCst);
        let is_past = |ticket: Ticket| (ticket.number().wrapping_sub(first) as i32) < 0;
        if !is_past(ticket) || self.events.is_closed() && self.is_called(ticket) {
            return ticket;
        }
        let ticket = self.take_ticket();
        if is_past(ticket) {
            // Nobody was called who had not come: the word is damaged, and no ticket would do.
            self.first.store(ticket.number(), Ordering::SeqCst);
        }
        ticket
    }

    /// The holder of the ticket leaves the line: it took something, or gives up. Says whether the line was closed for it;
    /// then somebody else may have waited in vain meanwhile.
    pub fn leave(&self, ticket: Ticket) -> bool {
        let number = ticket.number();
        self.forget_awake(ticket);
        // Loom takes sequentially consistent accesses for less than they are. Who calls the ticket after this sees no note.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if self.first.load(Ordering::SeqCst) == number {
            let _ = self.first.compare_exchange(number, number.wrapping_add(1), Ordering::SeqCst, Ordering::SeqCst);
        }
        self.open_if_called(ticket)
    }

    fn open_if_called(&self, ticket: Ticket) -> bool {
        let is_called = self.events.is_closed() && self.is_called(ticket);
        if is_called {
            self.events.open();
        }
        is_called
    }

    /// Before the holder of the ticket, who has left a door, tries: what is reserved for it is free for all from now on.
    /// Should it then find nothing, it has lost its turn, and leaves its door again.
    pub fn enter(&self, ticket: Ticket) -> Admission {
        match () {
            () if self.open_if_called(ticket) => Admission::Called,
            () if self.admits(None) => Admission::Free,
            () => Admission::Refused,
        }
    }

    /// Before a change that one waiter can use: reserves it, if the waiter at the head of the line has waited for long
    /// enough. What this gives goes to [`notify_prepared`](Self::notify_prepared) after the change, or to
    /// [`withdraw`](Self::withdraw) instead of it.
    #[inline(always)]
    pub fn prepare(&self) -> Prepared {
        if self.events.has_waiters() { self.prepare_slow(Self::TURN) } else { Prepared::Open }
    }

    /// The next turn is due if the last one was so many units ago.
    #[cold]
    fn prepare_slow(&self, due_after: u32) -> Prepared {
        if self.events.is_closed() && !self.open_if_late() {
            return Prepared::ClosedBefore;
        }
        // Those who wait out of turn have no tickets, so there is nothing to reserve, and no clock to read.
        if self.places() == 0 || !self.has_passed(due_after) {
            return Prepared::Open;
        }
        if !self.events.close() {
            return Prepared::ClosedBefore;
        }
        match self.call_next() {
            Some(called) => Prepared::Closed(called),
            None => {
                self.events.open();
                Prepared::Open
            }
        }
    }

    /// Reserves what is reserved for the holder of the first ticket; None if there is none.
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
            // Called before it is passed by: at no instant does its holder see that its turn is over.
            self.called.store(first, Ordering::SeqCst);
            let after = first.wrapping_add(1);
            if self.first.compare_exchange(first, after, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                continue;
            }
            self.since.store(Self::now(), Ordering::Relaxed);
            if let Some(called) = Ticket::from_number(first) {
                return Some(called);
            }
        }
    }

    /// After a change that `count` waiters can use, and that ended with a sequentially consistent read-modify-write.
    #[inline(always)]
    pub fn notify_prepared(&self, prepared: Prepared, count: u32, scope: Scope) {
        // Loom takes a sequentially consistent read-modify-write for less than the processors make of it.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if prepared != Prepared::Open {
            self.call_out(prepared, scope);
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
                // Called meanwhile by one who relied on the note of this wake-up, which reached nobody.
                if self.events.is_closed() && self.is_called(first) && !self.is_awake(first) {
                    self.call_out(Prepared::ClosedBefore, scope);
                }
            }
        }
    }

    /// Whether the head of the line, which does not sleep, looks before it does, so that nobody else need be told. A loop is
    /// rung, but it may be busy for long, or have been stopped. With more places than bits the note may have been left
    /// when another waiter was woken, one with the same bit.
    fn will_look(&self, first: Ticket) -> bool {
        self.ring(first);
        self.is_awake(first) && !self.is_loops(first) && self.places() <= u32::BITS
    }

    /// Whether a door was left for the ticket, as far as is known.
    fn is_loops(&self, ticket: Ticket) -> bool {
        let number = ticket.number();
        self.tickets.iter().any(|t| t.load(Ordering::SeqCst) == number) || self.events.knows_ticket(number)
    }

    /// Wakes the waiter for whom the line is closed.
    #[cold]
    fn call_out(&self, prepared: Prepared, scope: Scope) {
        self.events.change();
        if let Prepared::Closed(called) = prepared {
            return self.call_from(called, scope);
        }
        // It was told before. It may sleep again, since another was faster; or be on its way.
        let called = Ticket::from_number(self.called.load(Ordering::SeqCst));
        if self.events.is_closed() && called.is_some_and(|called| self.wake_called(called, scope)) {
            return;
        }
        // It has taken something and left, and saw nothing more; or it is gone.
        match self.prepare_slow(0) {
            Prepared::Closed(called) => self.call_from(called, scope),
            Prepared::Open | Prepared::ClosedBefore => {
                self.events.open();
                self.invite(1, scope);
            }
        }
    }

    /// Wakes the holder of `called`, or of the next ticket whose holder has not left.
    fn call_from(&self, mut called: Ticket, scope: Scope) {
        for _ in 0..Self::SKIPS {
            if self.wake_called(called, scope) {
                return;
            }
            match self.call_next() {
                Some(next) => called = next,
                None => break,
            }
        }
        self.events.open();
        self.invite(1, scope);
    }

    fn wake_called(&self, called: Ticket, scope: Scope) -> bool {
        // As in `leave`.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        if self.wake_sleeper(called, scope) {
            return true;
        }
        let is_at_door = self.ring(called);
        let is_told = is_at_door || self.is_awake(called);
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

    fn ring(&self, ticket: Ticket) -> bool {
        let number = ticket.number();
        let mut doors = self.tickets.iter().enumerate();
        self.rouse(ticket, || {
            doors.any(|(i, ticket)| ticket.load(Ordering::SeqCst) == number && self.events.ring_at(i))
                || self.events.ring_ticket(number)
        })
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
            let _ = self.first.compare_exchange(number.wrapping_add(1), number, Ordering::SeqCst, Ordering::SeqCst);
            self.events.open();
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
        self.notify_prepared(prepared, count, scope);
    }

    /// There is more than the caller could use, who had waited: the next turn is the next one's.
    pub fn pass_on(&self, scope: Scope) {
        let prepared = if self.events.has_waiters() { self.prepare_slow(0) } else { Prepared::Open };
        fence(Ordering::SeqCst);
        self.notify_prepared(prepared, 1, scope);
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
        if self.events.is_closed() {
            self.have_watched(scope);
        } else {
            self.notify_one(scope);
        }
    }

    /// Something happened that all waiters must see.
    pub fn notify_all(&self, scope: Scope) {
        if self.events.is_closed() {
            self.events.open();
        }
        self.events.notify_all(scope);
    }

    /// Leaves a door for the holder of the ticket. Gives the ticket that counts from now on, since the turn of this one may
    /// be over; None if there is no room for the door. Look at the condition after this.
    pub fn leave_door(&self, door: Door, ticket: Ticket) -> Option<Ticket> {
        let place = self.events.leave_door_at(door)?;
        let mut ticket = ticket;
        // Once as a rule: it takes as many calls in between for each further round, or words that are scribbled over.
        for _ in 0..Self::SKIPS {
            match self.tickets.get(place) {
                Some(there) => there.store(ticket.number(), Ordering::SeqCst),
                None => self.events.set_ticket(place, ticket.number()),
            }
            let renewed = self.renewed(ticket);
            if renewed == ticket {
                break;
            }
            ticket = renewed;
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
        self.first.store(self.next.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    #[cfg(not(loom))]
    fn forget_places(&self) {
        self.awake.iter().for_each(|note| note.store(0, Ordering::SeqCst));
        self.tickets.iter().for_each(|ticket| ticket.store(0, Ordering::SeqCst));
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
    /// How long somebody sleeps who looks whether another one takes what is reserved for it, in nanoseconds.
    const WATCH: u64 = (Line::PATIENCE as u64) << Line::UNIT;

    /// Whether this place's owner may take what there is.
    pub fn is_admitted(&self) -> bool {
        self.line.admits(Some(self.ticket()))
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
        loop {
            let announced = events.announce();
            self.seen.store(announced.epoch(), Ordering::Relaxed);
            if self.is_admitted()
                && let Some(t) = look()
            {
                return Ok(t);
            }
            let ticket = self.line.renewed(self.ticket());
            if ticket != self.ticket() {
                self.line.forget_awake(self.ticket());
                self.ticket.store(ticket.number(), Ordering::Relaxed);
                self.line.note_awake(ticket);
            }
            // Who was woken for nothing sees to it that nothing stays reserved for one that does not come.
            is_watching = announced.is_closed() && (is_watching || announced.is_watched());
            self.is_watching.store(is_watching, Ordering::Relaxed);
            let longest = if is_watching { Self::WATCH } else { u64::MAX };
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
        if self.is_watching.load(Ordering::Relaxed) && self.line.events.is_closed() {
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
        let watched = self.is_watching.load(Ordering::Relaxed) && self.line.events.is_closed();
        if was_called {
            self.line.pass_on(self.scope);
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
