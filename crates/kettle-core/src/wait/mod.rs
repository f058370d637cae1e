//! The only place that blocks.
//!
//! Every blocking operation is the same loop: *announce the intention to sleep; look; sleep for a slice; look again.*
//! This module decides once what happens at the end of a slice: it checks the absolute deadline and signals (Ctrl-C),
//! and gives the caller a chance to check whether the owner it waits for is still alive.
//!
//! Sleeps are cut into slices because a wake-up goes to an *arbitrary* waiter: if that one is killed before it acts,
//! the others notice at the end of their slices. So wake-ups need no owner, and none is lost for good. Slices grow with
//! the length of the wait, up to a second, so a long wait costs next to nothing.
//!
//! There are two front ends: [`EventCount`] for threads, which may sleep, and [`Doorbell`] for event loops, which may
//! not. [`Idle`] builds on the former, for the idle workers of a pool. An event loop of this library sleeps in its
//! [`Poller`]; other threads leave what they have for it in its [`Inbox`].

mod deadline;
mod descriptors;
mod doorbell;
mod event_count;
mod idle;
mod inbox;
mod line;
mod more_doors;
mod poller;
pub mod scoped;
mod spin;

use core::cell::Cell;
use core::time::Duration;

pub use deadline::Deadline;
pub use descriptors::{WatchError, sleep_on};
pub use doorbell::{Door, Doorbell, Doorbells};
pub use event_count::{Announced, EventCount};
pub use idle::{Idle, Searcher};
pub use inbox::Inbox;
pub use line::{Line, Place, Prepared, Ticket, Tickets};
pub use poller::{Poller, Removed};
pub use spin::{cpus, spin_and_yield_until, spin_on_calls, spin_until};

use crate::atomics::AtomicU32;
pub use crate::sys::futex::Scope;
use crate::sys::{clock, futex};

/// Why a wait ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The deadline passed.
    TimedOut,
    /// The caller's own check asked to stop, for example because a signal handler raised.
    Interrupted,
    /// The shared memory is [damaged](crate::damage), so nothing there can be relied on.
    Damaged,
    /// The caller would have to register as a participant where it waits, and cannot: no word there can name it.
    NoPart,
}

/// How long a caller waits, and what may end its wait early.
pub struct Patience<'a> {
    deadline: Deadline,
    slice: u64,
    instant: bool,
    spins: bool,
    stop: Option<&'a dyn Fn() -> bool>,
    watch: Option<&'a dyn Watcher>,
    naps: Cell<u32>,
    /// Total length of the slices slept to their end, in nanoseconds, since there was last a reason to look again soon.
    slept: Cell<u64>,
    /// The maximum length of a slice late in a long wait, in nanoseconds.
    longest: Cell<u64>,
    /// When the current slice ends; 0 before it begins. Futile wake-ups do not extend it: a thread that is woken all
    /// the time still has to check for signals and dead owners.
    slice_ends: Cell<u64>,
}

/// Checks on a thread's wait while the thread sleeps.
pub trait Watcher {
    /// Called after a slice was slept to its end.
    fn look(&self) -> Next;

    /// Whether another thread asked for a check now.
    fn is_called(&self) -> bool;
}

/// The outcome of a [`Watcher`]'s check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// End the wait.
    Stop,
    /// Check again soon.
    Soon,
    /// The next check is not urgent: slices may grow to this length.
    Later(Duration),
}

/// The first slices are short, so that a newcomer soon notices the death of an owner.
const FIRST_SLICE: u64 = 10_000_000;
/// Caps the doubling: a slice never exceeds a day.
const MOST_DOUBLINGS: u32 = 23;
/// The maximum slice early in a wait.
const SHORT_SLICE: Duration = Duration::from_millis(200);
/// The maximum slice late in a wait, which is otherwise half of the time slept so far.
const LONGEST_SLICE: Duration = Duration::from_secs(1);

impl<'a> Patience<'a> {
    /// Waits until `deadline`, regardless of signals.
    pub fn until(deadline: Deadline) -> Self {
        Self {
            deadline,
            slice: SHORT_SLICE.as_nanos() as u64,
            instant: false,
            spins: true,
            stop: None,
            watch: None,
            naps: Cell::new(0),
            slept: Cell::new(0),
            longest: Cell::new(LONGEST_SLICE.as_nanos() as u64),
            slice_ends: Cell::new(0),
        }
    }

    /// Waits forever.
    pub fn forever() -> Self {
        Self::until(Deadline::NEVER)
    }

    /// Does not wait, except for locks that are only ever held for a moment.
    pub fn none() -> Self {
        Self::until(Deadline::NOW)
    }

    /// Does not wait at all, not even for a lock that is held for a moment.
    pub fn instant() -> Self {
        Self { instant: true, ..Self::none() }
    }

    /// Whether even momentary waits are ruled out.
    pub fn is_instant(&self) -> bool {
        self.instant
    }

    /// Calls `stop` after every slice and after a signal handler ran; if it returns true, the wait ends. Slices are at
    /// most `slice` long until the wait has lasted for a while.
    ///
    /// The slice bounds the race between `stop`'s last check and falling asleep: a signal that arrives in between is
    /// noticed one slice later.
    pub fn interrupted_by(mut self, slice: Duration, stop: &'a dyn Fn() -> bool) -> Self {
        self.slice = (slice.min(SHORT_SLICE).as_nanos() as u64).max(1_000_000);
        self.stop = Some(stop);
        self
    }

    /// Also calls `watch` after every slice that was slept to its end, and whenever it is called for. Slices stay short
    /// enough for that until `watch` permits longer ones.
    pub fn watched_by<'b>(&'b self, watch: &'b dyn Watcher) -> Patience<'b> {
        let slice = self.slice.min(SHORT_SLICE.as_nanos() as u64);
        Patience { slice, watch: Some(watch), ..self.going_on() }
    }

    /// The same, among threads of this process. No owner can die here without this process dying too, so slices may be
    /// long unless there is a `stop` to call. `spins`: whether to spin before sleeping; that does not pay for a caller
    /// that needs something else as well, which its waker still holds at that moment.
    pub fn among_threads(&self, spins: bool) -> Patience<'a> {
        let slice = if self.stop.is_some() { self.slice } else { u64::MAX };
        Patience { slice, spins, ..self.anew() }
    }

    /// The same, but at least one second, for things that are held only for moments.
    pub fn at_least_a_second(&self) -> Patience<'a> {
        let second = Deadline::after(Duration::from_secs(1));
        Patience { deadline: self.deadline.max(second), ..self.anew() }
    }

    /// The same, with slices of maximum length from the start: for a caller that is notified of nearly everything it
    /// waits for, or that has already waited for a while.
    pub fn unhurried(&self) -> Patience<'a> {
        let slept = Cell::new(2 * LONGEST_SLICE.as_nanos() as u64);
        Patience { naps: Cell::new(MOST_DOUBLINGS), slept, ..self.anew() }
    }

    /// The same, but not beyond `deadline`.
    pub fn no_later_than(&self, deadline: Deadline) -> Patience<'a> {
        Patience { deadline: self.deadline.min(deadline), ..self.going_on() }
    }

    /// The same, with no time slept yet.
    fn anew(&self) -> Patience<'a> {
        let longest = Cell::new(LONGEST_SLICE.as_nanos() as u64);
        Patience { naps: Cell::new(0), slept: Cell::new(0), longest, slice_ends: Cell::new(0), ..*self }
    }

    /// The same, continuing from the time slept so far.
    fn going_on(&self) -> Patience<'a> {
        Patience {
            naps: self.naps.clone(),
            slept: self.slept.clone(),
            longest: self.longest.clone(),
            slice_ends: self.slice_ends.clone(),
            ..*self
        }
    }

    /// When the wait ends.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Whether the caller is willing to wait at all.
    pub fn may_wait(&self) -> bool {
        self.deadline != Deadline::NOW
    }

    /// For a caller that did not find what it wants: the error if it may not wait.
    pub(crate) fn check_may_wait(&self, scope: Scope) -> Result<(), Stopped> {
        match () {
            () if self.may_wait() => Ok(()),
            () if crate::damage::is_marked(scope) => Err(Stopped::Damaged),
            () => Err(Stopped::TimedOut),
        }
    }

    /// Whether the caller may take even what is [reserved](Line) for another waiter: it does not wait, and has already
    /// tried without that.
    pub fn takes_reserved(&self) -> bool {
        !self.may_wait() && !self.is_instant()
    }

    /// Whether to spin before going to sleep.
    pub fn may_spin(&self) -> bool {
        self.spins && self.may_wait()
    }

    /// How many slices were slept to their end. When this grows, the caller checks whether owners are still alive.
    pub fn naps(&self) -> u32 {
        self.naps.get()
    }

    /// The length of the next slice in nanoseconds.
    fn next_slice(&self) -> u64 {
        let after_long = (self.slept.get() / 2).min(self.longest.get());
        (FIRST_SLICE << self.naps.get().min(MOST_DOUBLINGS)).min(self.slice.max(after_long))
    }

    /// Sleeps while `word` holds `expected`, for at most one slice. `Ok` means: look again.
    pub fn sleep(&self, word: &AtomicU32, expected: u32, scope: Scope) -> Result<(), Stopped> {
        self.sleep_as(word, expected, futex::ANY, u64::MAX, scope)
    }

    /// As [`sleep`](Self::sleep), for wake-ups that have one of `bits`, and for at most `longest` nanoseconds.
    fn sleep_as(&self, word: &AtomicU32, expected: u32, bits: u32, longest: u64, scope: Scope) -> Result<(), Stopped> {
        // Checked once a slice, so that damage soon ends all waits.
        if crate::damage::is_marked(scope) {
            return Err(Stopped::Damaged);
        }
        if !self.may_wait() {
            return Err(Stopped::TimedOut);
        }
        let now = clock::now();
        let deadline = self.deadline.as_nanos();
        if now >= deadline {
            return Err(Stopped::TimedOut);
        }
        let longest = now.saturating_add(longest);
        if self.slice_ends.get() == 0 {
            self.slice_ends.set(now.saturating_add(self.next_slice()));
        }
        let until = self.slice_ends.get().min(longest);
        if now >= until {
            return self.slept();
        }
        match futex::wait_as(word, expected, until.min(deadline), bits, scope) {
            futex::Slept::Woken | futex::Slept::Changed if self.watch.is_some_and(Watcher::is_called) => self.slept(),
            futex::Slept::Woken | futex::Slept::Changed => Ok(()),
            futex::Slept::TimedOut => self.slept(),
            futex::Slept::Interrupted => self.check_stop(),
        }
    }

    /// The length of the next slice for a caller that sleeps on descriptors; see [`sleep`](Self::sleep).
    pub fn slice(&self) -> Result<Duration, Stopped> {
        let now = clock::now();
        let deadline = self.deadline.as_nanos();
        if !self.may_wait() || now >= deadline {
            return Err(Stopped::TimedOut);
        }
        Ok(Duration::from_nanos(self.next_slice().min(deadline - now)))
    }

    /// Records that a slice was slept to its end, and checks whether to stop.
    pub fn slept(&self) -> Result<(), Stopped> {
        self.slept.set(self.slept.get().saturating_add(self.next_slice()));
        self.naps.set(self.naps.get().saturating_add(1));
        self.slice_ends.set(0);
        self.check_stop()?;
        match self.watch.map(Watcher::look) {
            Some(Next::Stop) => return Err(Stopped::Interrupted),
            Some(Next::Soon) => self.slept.set(0),
            // Signals must be noticed within a second, whatever the watcher permits.
            Some(Next::Later(_)) if self.stop.is_some() => {}
            Some(Next::Later(longest)) => self.longest.set(longest.as_nanos() as u64),
            None => {}
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Stopped> {
        match self.stop {
            Some(stop) if stop() => Err(Stopped::Interrupted),
            _ => Ok(()),
        }
    }
}

impl core::fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Patience").field("deadline", &self.deadline).field("naps", &self.naps.get()).finish()
    }
}
