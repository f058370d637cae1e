//! The one place that sleeps.
//!
//! Everything that blocks is written as the same loop: *announce that I shall sleep; look; sleep for a slice; look
//! again.* What a slice brings is decided here once: absolute deadlines, signals (Ctrl-C), and the chance to ask
//! whether the one we wait for still lives.
//!
//! Sleeps are cut into slices because a wake-up is given to *somebody*: if that one is killed before it acts, the
//! others find out at the end of their slice. So no wake-up needs an owner, and none can be lost for good. The longer a
//! wait lasts, the longer are its slices, up to a second: what waits for long costs next to nothing.
//!
//! Two faces: [`EventCount`] for a thread that may sleep, [`Doorbell`] for an event loop that may not.
//! [`Idle`] stands on the first: the workers of a pool that have nothing to do.

mod deadline;
mod descriptors;
mod doorbell;
mod event_count;
mod idle;
mod line;
mod more_doors;
mod spin;

use core::cell::Cell;
use core::time::Duration;

pub use deadline::Deadline;
pub use descriptors::{WatchError, sleep_on};
pub use doorbell::{Door, Doorbell, Doorbells};
pub use event_count::{Announced, EventCount};
pub use idle::{Idle, Searcher};
pub use line::{Line, Place, Prepared, Ticket, Tickets};
pub use spin::{cpus, spin_on_calls, spin_until};

use crate::atomics::AtomicU32;
pub use crate::sys::futex::Scope;
use crate::sys::{clock, futex};

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The deadline passed.
    TimedOut,
    /// The caller's own check said to stop (a signal handler raised, say).
    Interrupted,
    /// The memory that the processes share is [damaged](crate::damage): nothing that is waited for there can be relied on.
    Damaged,
    /// The caller takes no part where it would wait, and cannot: nothing there can name it.
    NoPart,
}

/// How long a caller is willing to wait, and what may end its wait early.
pub struct Patience<'a> {
    deadline: Deadline,
    slice: u64,
    instant: bool,
    spins: bool,
    stop: Option<&'a dyn Fn() -> bool>,
    watch: Option<&'a dyn Watcher>,
    naps: Cell<u32>,
    /// For how long slices were slept to their end, in nanoseconds, since there was last a reason to look again soon.
    slept: Cell<u64>,
    /// How long slices may become when much has been slept, in nanoseconds.
    longest: Cell<u64>,
    /// When the present slice is over, 0 before it begins. Being woken for nothing does not make it longer: somebody
    /// who is woken all the time must look for signals and for the dead as well.
    slice_ends: Cell<u64>,
}

/// Looks after the wait of a thread while that sleeps.
pub trait Watcher {
    /// A slice was slept to its end.
    fn look(&self) -> Next;

    /// Whether another thread wants it to look now.
    fn is_called(&self) -> bool;
}

/// What a [`Watcher`] makes of its look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The wait is to end.
    Stop,
    /// It is to look again soon.
    Soon,
    /// It is to look again sooner or later: slices may grow to this length.
    Later(Duration),
}

/// Naps are short at first, so that the death of an owner is noticed soon by whoever comes after it.
const FIRST_SLICE: u64 = 10_000_000;
/// More than a day is no slice.
const MOST_DOUBLINGS: u32 = 23;
/// While a wait has not lasted for long.
const SHORT_SLICE: Duration = Duration::from_millis(200);
/// When it has: half of what was slept, but not more than this.
const LONGEST_SLICE: Duration = Duration::from_secs(1);

impl<'a> Patience<'a> {
    /// Waits until `deadline`, whatever signals come.
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

    /// Waits for ever.
    pub fn forever() -> Self {
        Self::until(Deadline::NEVER)
    }

    /// Does not wait.
    pub fn none() -> Self {
        Self::until(Deadline::NOW)
    }

    /// Does not wait, not even for a lock that is held for a moment.
    pub fn instant() -> Self {
        Self { instant: true, ..Self::none() }
    }

    /// Whether not even moments are waited for.
    pub fn is_instant(&self) -> bool {
        self.instant
    }

    /// Asks `stop` after every slice, which is at most `slice` until the wait has lasted for long, and when a signal handler
    /// ran: true ends the wait.
    ///
    /// The slice closes the race between `stop`'s last look and falling asleep: a signal that comes in between is
    /// seen one slice later.
    pub fn interrupted_by(mut self, slice: Duration, stop: &'a dyn Fn() -> bool) -> Self {
        self.slice = (slice.min(SHORT_SLICE).as_nanos() as u64).max(1_000_000);
        self.stop = Some(stop);
        self
    }

    /// Asks `watch` as well after every slice that was slept to its end, and when it is called; slices are short enough for
    /// that until it says otherwise.
    pub fn watched_by<'b>(&'b self, watch: &'b dyn Watcher) -> Patience<'b> {
        let slice = self.slice.min(SHORT_SLICE.as_nanos() as u64);
        Patience { slice, watch: Some(watch), ..self.going_on() }
    }

    /// The same among threads of this process. Nobody dies there without us, so slices may be long where there is
    /// nobody to ask whether to stop. `spins`: whether to look a little longer before going to sleep; it does not pay
    /// for one who needs something else besides that whoever wakes him holds then.
    pub fn among_threads(&self, spins: bool) -> Patience<'a> {
        let slice = if self.stop.is_some() { self.slice } else { u64::MAX };
        Patience { slice, spins, ..self.anew() }
    }

    /// For what is held for moments only: as patient as this, but not less than a second.
    pub fn at_least_a_second(&self) -> Patience<'a> {
        let second = Deadline::after(Duration::from_secs(1));
        Patience { deadline: self.deadline.max(second), ..self.anew() }
    }

    /// As patient as this, with slices that are as long as they ever become: for one who is told of nearly all that it
    /// waits for, or has waited before.
    pub fn unhurried(&self) -> Patience<'a> {
        let slept = Cell::new(2 * LONGEST_SLICE.as_nanos() as u64);
        Patience { naps: Cell::new(MOST_DOUBLINGS), slept, ..self.anew() }
    }

    /// As patient as this, but not beyond `deadline`.
    pub fn no_later_than(&self, deadline: Deadline) -> Patience<'a> {
        Patience { deadline: self.deadline.min(deadline), ..self.going_on() }
    }

    /// The same, with nothing slept.
    fn anew(&self) -> Patience<'a> {
        let longest = Cell::new(LONGEST_SLICE.as_nanos() as u64);
        Patience { naps: Cell::new(0), slept: Cell::new(0), longest, slice_ends: Cell::new(0), ..*self }
    }

    /// The same, which goes on where this one is.
    fn going_on(&self) -> Patience<'a> {
        Patience {
            naps: self.naps.clone(),
            slept: self.slept.clone(),
            longest: self.longest.clone(),
            slice_ends: self.slice_ends.clone(),
            ..*self
        }
    }

    /// When it ends.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Whether there is any waiting to do at all.
    pub fn may_wait(&self) -> bool {
        self.deadline != Deadline::NOW
    }

    /// For a caller that does not find what it wants: why it goes without, if it does not wait.
    pub(crate) fn check_may_wait(&self, scope: Scope) -> Result<(), Stopped> {
        match () {
            () if self.may_wait() => Ok(()),
            () if crate::damage::is_marked(scope) => Err(Stopped::Damaged),
            () => Err(Stopped::TimedOut),
        }
    }

    /// Whether it takes also what is [reserved](Line) for another: it does not wait, and tried without that before.
    pub fn takes_reserved(&self) -> bool {
        !self.may_wait() && !self.is_instant()
    }

    /// Whether to look a little longer before going to sleep.
    pub fn may_spin(&self) -> bool {
        self.spins && self.may_wait()
    }

    /// How many slices were slept to their end: the caller asks about the living and the dead when this grows.
    pub fn naps(&self) -> u32 {
        self.naps.get()
    }

    /// The length of the next slice in nanoseconds.
    fn next_slice(&self) -> u64 {
        let after_long = (self.slept.get() / 2).min(self.longest.get());
        (FIRST_SLICE << self.naps.get().min(MOST_DOUBLINGS)).min(self.slice.max(after_long))
    }

    /// Sleeps while `word` holds `expected`, one slice at most. `Ok` means: look again.
    pub fn sleep(&self, word: &AtomicU32, expected: u32, scope: Scope) -> Result<(), Stopped> {
        self.sleep_as(word, expected, futex::ANY, u64::MAX, scope)
    }

    /// As [`sleep`](Self::sleep), for wake-ups that have one of `bits`, and at most `longest` nanoseconds.
    fn sleep_as(&self, word: &AtomicU32, expected: u32, bits: u32, longest: u64, scope: Scope) -> Result<(), Stopped> {
        // Looked at once a slice, so that damage ends all waits soon.
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

    /// As [`sleep`](Self::sleep), for those who wait on descriptors: how long one slice may take now.
    pub fn slice(&self) -> Result<Duration, Stopped> {
        let now = clock::now();
        let deadline = self.deadline.as_nanos();
        if !self.may_wait() || now >= deadline {
            return Err(Stopped::TimedOut);
        }
        Ok(Duration::from_nanos(self.next_slice().min(deadline - now)))
    }

    /// Counts a slice that was slept, and asks whether to stop.
    pub fn slept(&self) -> Result<(), Stopped> {
        self.slept.set(self.slept.get().saturating_add(self.next_slice()));
        self.naps.set(self.naps.get().saturating_add(1));
        self.slice_ends.set(0);
        self.check_stop()?;
        match self.watch.map(Watcher::look) {
            Some(Next::Stop) => return Err(Stopped::Interrupted),
            Some(Next::Soon) => self.slept.set(0),
            // A signal is to be seen within a second, whoever watches besides.
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
