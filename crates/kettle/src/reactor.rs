//! Waiting on a tokio runtime: one doorbell for all that its tasks wait for.
//!
//! ```text
//! an item is published ─► rings the runtime's bell, calling a line's number ─► the driver task wakes the first in that
//! line ─► it looks ─┬─ takes what it wanted, leaves the line ─► the next one is woken, and looks
//!                   └─ finds nothing, leaves its door again, and sleeps
//! ```
//!
//! A line contains the tasks of one runtime that wait at one place. Only the first task in the line is woken, however
//! many there are. A task that leaves the line, because it got what it wanted or its future was dropped, wakes the next
//! one. So a cancelled task loses no notification, and each item costs at most one futile check.
//!
//! Where threads and the tasks of all runtimes are served in the order of arrival, each position in the line has a
//! *ticket*. Tickets belong to positions, not to tasks: the line registers for the ticket of its first position, and a
//! task that leaves from further back returns the last ticket.
//!
//! Deaths cause no notification: while tasks wait, the driver makes the first of each line check at intervals.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use kettle_core::sync::Home;
use kettle_core::wait::{self, Doorbell, EventCount, Scope, Ticket, Tickets};
use tokio::io::unix::AsyncFd;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use crate::session;

/// How often a waiter looks whether another process has died, until it has waited for long.
const SLICE: Duration = Duration::from_millis(200);
/// How often it looks after that.
const LONGEST_SLICE: Duration = Duration::from_secs(1);
/// How often to look where nothing rings.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Where a task can wait.
pub(crate) trait Awaited {
    /// Where it leaves its runtime's door.
    fn events(&self) -> &EventCount;

    /// If tasks and threads are served there in the order of arrival: their line.
    fn line(&self) -> Option<&wait::Line>;
}

impl Awaited for EventCount {
    fn events(&self) -> &EventCount {
        self
    }

    fn line(&self) -> Option<&wait::Line> {
        None
    }
}

impl Awaited for wait::Line {
    fn events(&self) -> &EventCount {
        self.events()
    }

    fn line(&self) -> Option<&wait::Line> {
        Some(self)
    }
}

/// Waits until `attempt` gives something. It is asked now, and whenever what happens at `at`, which is at home in `H`,
/// may have changed that.
pub(crate) async fn wait_on<H: Home, R>(at: &impl Awaited, mut attempt: impl FnMut() -> Option<R>) -> R {
    // A task that always finds something must let the other tasks run all the same.
    tokio::task::coop::consume_budget().await;
    let is_reserved = at.line().is_some_and(|line| !line.admits(None, || 0));
    if !is_reserved && let Some(r) = attempt() {
        return r;
    }
    let Ok(reactor) = Reactor::current() else {
        // Out of descriptors: no bell, but no reason to give up either.
        loop {
            sleep(LOOK_AGAIN).await;
            if let Some(r) = attempt() {
                return r;
            }
        }
    };
    let place = reactor.stand_in_line(at.events(), at.line(), H::SCOPE);
    poll_fn(|context| {
        place.remember(context.waker());
        // The door first, then the look: what happens after the look rings.
        if place.enter()
            && let Some(r) = attempt()
        {
            place.is_served.store(true, Ordering::Relaxed);
            return Poll::Ready(r);
        }
        Poll::Pending
    })
    .await
}

/// One runtime's doorbell, and who waits to hear it.
struct Reactor {
    bell: Doorbell,
    lines: Mutex<Lines>,
    /// Tells the driver that a task waits again.
    work: Notify,
}

#[derive(Default)]
struct Lines {
    /// The number of the line at a place; a place is the address of its event count.
    calls: HashMap<usize, u32>,
    lines: HashMap<u32, Line>,
    next_call: u32,
    next_waiter: u64,
}

struct Line {
    at: usize,
    waiters: VecDeque<(u64, Option<Waker>)>,
    /// As many as waiters, the first one's first, if they are served in the order of arrival.
    tickets: VecDeque<Ticket>,
}

/// The doorbells' calls have twenty bits.
const CALLS: u32 = 1 << 20;

static REACTORS: Mutex<Option<HashMap<runtime::Id, Arc<Reactor>>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reactor {
    /// That of the runtime we run on; with the first call its driver begins to run.
    fn current() -> io::Result<Arc<Self>> {
        let runtime = runtime::Handle::current();
        let mut reactors = lock(&REACTORS);
        let reactors = reactors.get_or_insert_default();
        if let Some(reactor) = reactors.get(&runtime.id()) {
            return Ok(Arc::clone(reactor));
        }
        // Doorbells require the session, even if nothing else is shared between processes.
        session::join().map_err(io::Error::other)?;
        let bell = Doorbell::new()?;
        let reactor = Arc::new(Self { bell, lines: Mutex::default(), work: Notify::new() });
        let fd = registered(Arc::clone(&reactor))?;
        let registration = Registration(runtime.id());
        reactors.insert(runtime.id(), Arc::clone(&reactor));
        runtime.spawn(drive(fd, registration));
        Ok(reactor)
    }

    fn stand_in_line<'a>(
        self: Arc<Self>,
        events: &'a EventCount,
        turns: Option<&'a wait::Line>,
        scope: Scope,
    ) -> PlaceInLine<'a> {
        let at = std::ptr::from_ref(events).addr();
        let mut lines = lock(&self.lines);
        let was_idle = lines.lines.is_empty();
        let waiter = lines.next_waiter;
        lines.next_waiter += 1;
        let call = lines.call_at(at);
        let line = lines.lines.entry(call).or_insert_with(|| Line::at(at));
        line.waiters.push_back((waiter, None));
        line.tickets.extend(turns.map(wait::Line::take_ticket));
        drop(lines);
        if was_idle {
            self.work.notify_one();
        }
        PlaceInLine { reactor: self, events, turns, scope, call, waiter, is_served: AtomicBool::new(false) }
    }

    /// Wakes the first in line.
    fn call_out(&self, call: u32) {
        let waker = lock(&self.lines).lines.get(&call).and_then(Line::first);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn call_all_out(&self) {
        let wakers: Vec<_> = lock(&self.lines).lines.values().filter_map(Line::first).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn is_idle(&self) -> bool {
        lock(&self.lines).lines.is_empty()
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

impl Lines {
    fn call_at(&mut self, at: usize) -> u32 {
        if let Some(&call) = self.calls.get(&at) {
            return call;
        }
        while self.lines.contains_key(&self.next_call) {
            self.next_call = (self.next_call + 1) % CALLS;
        }
        let call = self.next_call;
        self.next_call = (call + 1) % CALLS;
        self.calls.insert(at, call);
        call
    }
}

impl Line {
    fn at(at: usize) -> Self {
        Self { at, waiters: VecDeque::new(), tickets: VecDeque::new() }
    }

    fn is_first(&self, waiter: u64) -> bool {
        self.waiters.front().is_some_and(|(first, _)| *first == waiter)
    }

    /// The first of them, so many that more could not be told apart.
    fn all_tickets(&self) -> Tickets {
        self.tickets.iter().take(u32::BITS as usize).copied().collect()
    }

    fn first(&self) -> Option<Waker> {
        self.waiters.front().and_then(|(_, waker)| waker.clone())
    }

    /// Who came later has the higher number and stands further back.
    fn place_of(&self, waiter: u64) -> Option<usize> {
        self.waiters.binary_search_by_key(&waiter, |(waiter, _)| *waiter).ok()
    }
}

/// A task's place in a line. Dropped, it is given up, and the next one is woken.
struct PlaceInLine<'a> {
    reactor: Arc<Reactor>,
    events: &'a EventCount,
    turns: Option<&'a wait::Line>,
    scope: Scope,
    call: u32,
    waiter: u64,
    is_served: AtomicBool,
}

impl PlaceInLine<'_> {
    /// Leaves the door for the first in line. Where there is no room for it, the next slice brings a look.
    fn leave_door(&self, line: &mut Line) {
        let door = self.reactor.bell.door().calling(self.call);
        let Some(turns) = self.turns else {
            self.events.leave_door(door);
            return;
        };
        for _ in 0..line.tickets.len() {
            let ticket = line.tickets[0];
            let counts = turns.leave_door(door, ticket, line.all_tickets()).unwrap_or(ticket);
            if counts == ticket {
                return;
            }
            // That turn is over, and its holder goes on with the next one's.
            line.tickets.pop_front();
            line.tickets.push_back(counts);
        }
    }

    /// Before each look: whether it may take what there is. The door is left first: what happens after the look rings.
    fn enter(&self) -> bool {
        let mut lines = lock(&self.reactor.lines);
        let Some(line) = lines.lines.get_mut(&self.call) else { return true };
        if self.turns.is_some() && !line.is_first(self.waiter) {
            // The one before it wakes it.
            return false;
        }
        self.leave_door(line);
        self.turns.is_none_or(|turns| turns.admits_one_of(line.all_tickets(), || 0))
    }

    /// Others were refused while this one was called: they look for what it did not take.
    fn pass_on_if(&self, was_called: bool) {
        let Some(turns) = self.turns.filter(|_| was_called) else { return };
        if self.is_served.load(Ordering::Relaxed) {
            turns.invite_next(self.scope);
        } else {
            turns.pass_on(1, self.scope);
        }
    }

    fn remember(&self, waker: &Waker) {
        let mut lines = lock(&self.reactor.lines);
        let Some(line) = lines.lines.get_mut(&self.call) else { return };
        let Some(place) = line.place_of(self.waiter) else { return };
        let (_, theirs) = &mut line.waiters[place];
        if !theirs.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *theirs = Some(waker.clone());
        }
    }
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        let mut lines = lock(&self.reactor.lines);
        let Some(line) = lines.lines.get_mut(&self.call) else { return };
        let is_first = line.is_first(self.waiter);
        if let Some(place) = line.place_of(self.waiter) {
            line.waiters.remove(place);
        }
        let tickets = line.all_tickets();
        let ticket = if is_first { line.tickets.pop_front() } else { line.tickets.pop_back() };
        let was_called = self.turns.zip(ticket).is_some_and(|(turns, ticket)| turns.leave_for_one_of(ticket, tickets));
        if let Some((_, next)) = line.waiters.front() {
            let next = next.clone();
            if is_first {
                self.leave_door(line);
            }
            drop(lines);
            if let Some(next) = next {
                next.wake();
            }
            return self.pass_on_if(was_called);
        }
        let at = line.at;
        lines.lines.remove(&self.call);
        lines.calls.remove(&at);
        drop(lines);
        self.events.take_door(self.reactor.bell.door().calling(self.call), self.scope);
        self.pass_on_if(was_called);
    }
}

/// Answers the bell for as long as the runtime lives.
async fn drive(fd: AsyncFd<Arc<Reactor>>, _registration: Registration) {
    let reactor = Arc::clone(fd.get_ref());
    let mut since = Instant::now();
    let mut look = since + SLICE;
    loop {
        if reactor.is_idle() {
            reactor.work.notified().await;
            since = Instant::now();
            look = since + SLICE;
        }
        match timeout_at(look, fd.readable()).await {
            Ok(Ok(mut ready)) => {
                match reactor.bell.drain() {
                    Some(calls) => {
                        ready.clear_ready();
                        calls.into_iter().for_each(|call| reactor.call_out(call));
                    }
                    None => {
                        // There may be more, so the bell is asked again, after the tasks had their turn.
                        reactor.call_all_out();
                        yield_now().await;
                    }
                }
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        // Also where it rings all the time.
        let now = Instant::now();
        if now >= look {
            reactor.call_all_out();
            look = now + ((now - since) / 2).clamp(SLICE, LONGEST_SLICE);
        }
    }
}

/// Dropped with the runtime's tasks: its reactor is forgotten.
struct Registration(runtime::Id);

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(reactors) = &mut *lock(&REACTORS) {
            reactors.remove(&self.0);
        }
    }
}

/// A descriptor of ours, to be watched by the runtime we run on. A duplicate: several tasks may watch the same thing.
pub(crate) fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    registered(fd.try_clone_to_owned()?)
}

/// With the runtime we run on.
// `AsyncFd::register` would be unsafe: it wants a descriptor that is open and the same for as long as it is registered.
// All that are registered here own theirs (`OwnedFd`, or the reactor its doorbell), so the older function is all right.
#[allow(deprecated)]
fn registered<T: AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(owner)
}

/// A descriptor that is watched by one runtime, most of the time.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<Option<(runtime::Id, Arc<AsyncFd<OwnedFd>>)>>);

impl Watched {
    /// `fd`, watched by the runtime we run on.
    pub(crate) fn get(&self, fd: BorrowedFd<'_>) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
        let here = runtime::Handle::current().id();
        let mut watched = lock(&self.0);
        match &*watched {
            Some((there, fd)) if *there == here => Ok(Arc::clone(fd)),
            _ => {
                let fd = Arc::new(watch(fd)?);
                *watched = Some((here, Arc::clone(&fd)));
                Ok(fd)
            }
        }
    }
}
