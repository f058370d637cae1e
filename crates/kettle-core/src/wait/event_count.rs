//! Waking sleepers when a condition may have changed.

use super::doorbell::more_doors;
use super::more_doors::MoreDoors;
use super::{Door, Patience, Scope, Stopped};
use crate::atomics::{AtomicU32, AtomicU64, Ordering, const_fn, fence, zeros_u64};
use crate::sys::futex;
#[cfg(not(loom))]
use crate::sys::process;

/// Waiting for a condition that is stored in *other* words.
///
/// ```text
/// word:  31       5   4   3   2   1   0
///        [  epoch ][H ][W ][R ][D ][S ]
/// S  threads may be sleeping on the word
/// D  event loops may have registered doors
/// R  further threads may still be asleep while another one is being woken
/// W  the line is watched, H  its head was woken and has not looked yet: see [`Line`](super::Line)
/// ```
///
/// The sleeper:  announce (set S) → look at the condition → sleep while the word is unchanged → announce again …
/// The waker:    make the condition true → look at the word; if S or D (or R, to wake all): clear S, next epoch, wake.
///
/// Either the sleeper's look comes after the waker's change and sees it, or the waker's look comes after the
/// announcement and sees S: both sides put a sequentially consistent fence between their write and their read.
///
/// *One wake-up at a time.* Waking one sleeper clears S although others may be asleep, so that a waker that arrives
/// before the woken thread has looked need not call into the kernel for nothing; R records the others for a waker that
/// wakes all. The woken thread announces itself again before it looks (every iteration of the loop does), so S is set
/// again before the thread goes on, and the next change wakes the next sleeper. A change for a single waiter that came
/// in between, however, woke no thread. Where changes are for single waiters and may come in quick succession (permits,
/// messages), a thread that took something after a wait and sees that there is more *passes the wake-up on*, by
/// [`notify_one`](Self::notify_one). If the woken thread is killed in between, the others look by themselves at the end
/// of their slices. The price is one futile wake-up after the last sleeper has left.
///
/// *Doors.* An event loop cannot sleep here; it registers its [`Door`], which a change rings once and unregisters. One
/// ring is one wake-up: a change for one waiter wakes a sleeper or rings one door, not both.
#[repr(C)]
#[derive(Debug)]
pub struct EventCount {
    word: AtomicU32,
    /// The number of threads asleep here, for statistics. A process that is killed asleep stays counted.
    sleepers: AtomicU32,
    doors: [AtomicU64; Self::DOORS],
    /// Its number in the [`MoreDoors`], once it has doors there; otherwise 0.
    place: AtomicU32,
    /// On the heap: the process whose threads wait here; otherwise 0. Possibly with [`MOVING`].
    home: AtomicU32,
}

/// A thread of that process is discarding the waiters of another one.
#[cfg(not(loom))]
const MOVING: u32 = 1 << 31;

const SLEEPER: u32 = 1;
const DOOR: u32 = 2;
const REST: u32 = 4;
const WATCHED: u32 = 8;
const HEAD_WOKEN: u32 = 16;
const EPOCH: u32 = 32;

/// Proof that its holder announced itself; it will sleep only if nothing has happened since.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Announced(u32);

impl Announced {
    /// The value of [`EventCount::epoch`] at that time.
    pub(super) fn epoch(self) -> u32 {
        self.0 / EPOCH
    }

    /// Whether sleepers are to check periodically whether the line is still closed.
    pub(super) fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }
}

/// The bits that indicate sleepers to wake for a notification of `count` waiters.
#[inline]
const fn asleep(count: u32) -> u32 {
    if count == EventCount::ALL { SLEEPER | REST } else { SLEEPER }
}

impl Default for EventCount {
    fn default() -> Self {
        Self::new()
    }
}

impl EventCount {
    /// The number of event loops that can register a door here at a time. Further doors are stored with the session; a
    /// loop that finds no room there either looks again every slice.
    pub const DOORS: usize = 4;

    /// The number of further doors that the session has room for, shared by all event counts.
    pub const MORE_DOORS: usize = MoreDoors::LEN;

    /// The count that stands for all waiters.
    pub const ALL: u32 = u32::MAX;

    const_fn! {
        /// Creates an event count without waiters.
        pub fn new() -> Self {
            Self {
                word: AtomicU32::new(0),
                sleepers: AtomicU32::new(0),
                doors: zeros_u64(),
                place: AtomicU32::new(0),
                home: AtomicU32::new(0),
            }
        }
    }

    /// Announces a sleeper. Look at the condition after this and before [`sleep`](Self::sleep).
    pub fn announce(&self) -> Announced {
        let mut word = self.word.fetch_or(SLEEPER, Ordering::SeqCst) | SLEEPER;
        if word & HEAD_WOKEN != 0 {
            word = self.word.fetch_and(!HEAD_WOKEN, Ordering::SeqCst) & !HEAD_WOKEN;
        }
        // [A] pairs with [B]: the announcement is ordered before the look at the condition.
        fence(Ordering::SeqCst);
        Announced(word)
    }

    /// Sleeps until something has happened since `seen`, a slice is over, or `patience` runs out.
    ///
    /// # Errors
    /// If the deadline has passed or the caller is interrupted.
    pub fn sleep(&self, seen: Announced, patience: &Patience<'_>, scope: Scope) -> Result<(), Stopped> {
        self.sleep_as(seen, futex::ANY, u64::MAX, patience, scope)
    }

    /// The same, for wake-ups that have one of `bits`, and for at most `longest` nanoseconds.
    pub(super) fn sleep_as(
        &self,
        seen: Announced,
        bits: u32,
        longest: u64,
        patience: &Patience<'_>,
        scope: Scope,
    ) -> Result<(), Stopped> {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        let r = patience.sleep_as(&self.word, seen.0, bits, longest, scope);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        r
    }

    /// The complete loop: waits until `look` returns a value.
    ///
    /// `each_nap` runs after each slice that was slept to its end, to check whether owners are still alive; it may
    /// return a result, too.
    ///
    /// # Errors
    /// If the deadline has passed or the caller is interrupted. `look` is called once more after the deadline.
    pub fn wait_for<T>(
        &self,
        patience: &Patience<'_>,
        scope: Scope,
        mut look: impl FnMut() -> Option<T>,
        mut each_nap: impl FnMut() -> Option<T>,
    ) -> Result<T, Stopped> {
        let mut naps = patience.naps();
        loop {
            let announced = self.announce();
            if let Some(t) = look() {
                return Ok(t);
            }
            match self.sleep(announced, patience, scope) {
                Ok(()) => {}
                Err(Stopped::TimedOut) => return look().ok_or(Stopped::TimedOut),
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

    /// Notifies one waiter of a change that one waiter can use. The change must have been made before.
    #[inline]
    pub fn notify_one(&self, scope: Scope) {
        self.notify(1, scope);
    }

    /// Notifies all waiters of a change.
    #[inline]
    pub fn notify_all(&self, scope: Scope) {
        self.notify(Self::ALL, scope);
    }

    /// Notifies `count` waiters of a change that as many can use.
    #[inline]
    pub fn notify(&self, count: u32, scope: Scope) {
        // [B] pairs with [A]: the change of the condition is ordered before the look for sleepers.
        fence(Ordering::SeqCst);
        self.notify_after_fence(count, scope);
    }

    /// As [`notify`](Self::notify), for a caller whose change ended with a sequentially consistent read-modify-write.
    /// Returns whether there were waiters to notify.
    #[inline]
    pub fn notify_after_fence(&self, count: u32, scope: Scope) -> bool {
        // Loom models a sequentially consistent read-modify-write as weaker than it is on real processors.
        #[cfg(loom)]
        fence(Ordering::SeqCst);
        let anyone = self.word.load(Ordering::SeqCst) & (asleep(count) | DOOR) != 0;
        if anyone {
            self.notify_slow(count, scope);
        }
        anyone
    }

    #[cold]
    pub(super) fn notify_slow(&self, count: u32, scope: Scope) {
        if count == 0 {
            return;
        }
        let before = self.begin_epoch(count);
        self.tell(before, count, scope);
    }

    /// Notifies `count` waiters; see [`begin_epoch`](Self::begin_epoch) for those that are skipped.
    fn tell(&self, before: u32, count: u32, scope: Scope) {
        let mut left = count;
        if before & asleep(count) != 0 {
            left -= futex::wake(&self.word, left, scope).min(left);
        }
        if before & DOOR != 0 && left > 0 {
            self.ring(left);
        }
    }

    /// Notifies `count` waiters, at least one. `wake` wakes the head of the line if it is asleep, and `tell` notifies
    /// it if it is awake or an event loop; both return whether they reached it.
    ///
    /// S stays set: a head that is awake may have looked already while others sleep. While a head that was asleep is on
    /// its way, no other thread is woken, since the head will look.
    pub(super) fn notify_head(
        &self,
        count: u32,
        scope: Scope,
        wake: impl FnOnce() -> bool,
        tell: impl FnOnce() -> bool,
    ) {
        let begin = |w: u32| (w & HEAD_WOKEN == 0 || count > 1).then(|| w.wrapping_add(EPOCH) | HEAD_WOKEN);
        let Ok(before) = self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, begin) else { return };
        let mut left = count;
        if wake() {
            left -= 1;
        } else {
            self.word.fetch_and(!HEAD_WOKEN, Ordering::SeqCst);
            left -= u32::from(tell());
        }
        if left > 0 {
            self.tell(before, left, scope);
        }
    }

    /// Begins the next epoch, in which no sleeper has announced itself yet. Returns the previous word.
    fn begin_epoch(&self, count: u32) -> u32 {
        let next = |w: u32| {
            let rest = if count != Self::ALL && w & SLEEPER != 0 { REST } else { 0 };
            Some(w.wrapping_add(EPOCH) & !asleep(count) | rest)
        };
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_else(|w| w)
    }

    /// Begins the next epoch. S stays set, since the waiter to be woken may be gone while others sleep.
    pub(super) fn change(&self) {
        self.word.fetch_add(EPOCH, Ordering::SeqCst);
    }

    /// Wakes all sleepers whose bitset has one of `bits`; returns their number.
    pub(super) fn wake_those(&self, bits: u32, scope: Scope) -> u32 {
        futex::wake_those(&self.word, Self::ALL, bits, scope)
    }

    /// Whether a change may have waiters to notify.
    #[inline(always)]
    pub(super) fn has_waiters(&self) -> bool {
        self.word.load(Ordering::SeqCst) & (SLEEPER | DOOR) != 0
    }

    /// Changes with each notification.
    pub(super) fn epoch(&self) -> u32 {
        self.word.load(Ordering::SeqCst) / EPOCH
    }

    pub(super) fn is_watched(&self) -> bool {
        self.word.load(Ordering::SeqCst) & WATCHED != 0
    }

    pub(super) fn unset_watched(&self) {
        if self.is_watched() {
            self.word.fetch_and(!WATCHED, Ordering::SeqCst);
        }
    }

    /// Threads that go to sleep from now on check periodically whether the line is still closed.
    pub(super) fn set_watched(&self) {
        self.word.fetch_or(WATCHED, Ordering::SeqCst);
    }

    /// Wakes one sleeper; false if there is none.
    pub(super) fn wake_any(&self, scope: Scope) -> bool {
        self.begin_epoch(1) & (SLEEPER | REST) != 0 && futex::wake(&self.word, 1, scope) > 0
    }

    /// Rings all doors without unregistering them, since no waiter's turn has come.
    pub(super) fn ring_all(&self) {
        for door in &self.doors {
            if let Some(door) = Door::from_bits(door.load(Ordering::SeqCst)) {
                door.ring();
            }
        }
        if let Some((more, place)) = self.more_doors() {
            more.ring_and_leave(place);
        }
    }

    /// Rings the door at this index, if there is one; returns whether the ring was delivered.
    pub(super) fn ring_at(&self, index: usize) -> bool {
        Door::from_bits(self.doors[index].swap(0, Ordering::AcqRel)).is_some_and(Door::ring)
    }

    fn ring(&self, mut count: u32) {
        for door in &self.doors {
            if count == 0 {
                return;
            }
            if let Some(door) = Door::from_bits(door.swap(0, Ordering::AcqRel)) {
                count -= door.ring() as u32;
            }
        }
        if let Some((more, place)) = self.more_doors() {
            count -= more.ring(place, count);
        }
        if count > 0 {
            self.forget_doors();
        }
    }

    /// Where its further doors are stored, if it has had any.
    fn more_doors(&self) -> Option<(&'static MoreDoors, u32)> {
        let place = self.place.load(Ordering::SeqCst);
        (place != 0).then(more_doors).flatten().map(|more| (more, place))
    }

    /// Clears D if no door is left.
    fn forget_doors(&self) {
        let more = self.more_doors();
        if self.doors.iter().any(|d| d.load(Ordering::SeqCst) != 0) || more.is_some_and(|(more, place)| more.any(place))
        {
            return;
        }
        self.word.fetch_and(!DOOR, Ordering::SeqCst);
        if let Some((more, place)) = more {
            more.ring(place, Self::ALL);
        }
        // A loop may have registered its door in the meantime, and a change may have missed it while the bit was clear.
        for door in &self.doors {
            if let Some(door) = Door::from_bits(door.swap(0, Ordering::SeqCst)) {
                door.ring();
            }
        }
    }

    /// Registers a door that the next change will ring. Look at the condition after this. Returns false if there is no
    /// room.
    pub fn leave_door(&self, door: Door) -> bool {
        self.leave_door_at(door).is_some()
    }

    /// The same; returns the door's index.
    pub(super) fn leave_door_at(&self, door: Door) -> Option<usize> {
        let bits = door.to_bits();
        let doors = || self.doors.iter();
        // A door that is already registered stays where it is, and is registered nowhere else.
        let index = doors()
            .position(|d| d.load(Ordering::Relaxed) == bits)
            .or_else(|| self.more_doors().and_then(|(more, place)| Some(Self::DOORS + more.find(place, door)?)))
            .or_else(|| doors().position(|d| d.compare_exchange(0, bits, Ordering::AcqRel, Ordering::Relaxed).is_ok()))
            .or_else(|| Some(Self::DOORS + self.leave_more(door)?));
        if index.is_some() {
            self.word.fetch_or(DOOR, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        index
    }

    /// Stores the door with the session; returns its index there.
    #[cold]
    fn leave_more(&self, door: Door) -> Option<usize> {
        let more = more_doors()?;
        if self.place.load(Ordering::SeqCst) == 0 {
            // If another thread is faster, this number stays unused.
            let _ = self.place.compare_exchange(0, more.new_place(), Ordering::SeqCst, Ordering::SeqCst);
        }
        more.leave(self.place.load(Ordering::SeqCst), door)
    }

    /// For a door that is stored with the session: sets the tickets for which it is registered.
    pub(super) fn set_tickets(&self, index: usize, bits: u32) {
        if let (Some((more, _)), Some(index)) = (self.more_doors(), index.checked_sub(Self::DOORS)) {
            more.set_tickets(index, bits);
        }
    }

    /// The bits of all tickets for which doors are stored with the session.
    pub(super) fn further_tickets(&self) -> u32 {
        self.more_doors().map_or(0, |(more, place)| more.tickets(place))
    }

    /// Rings one door stored with the session for a ticket with one of these bits; returns whether the ring was
    /// delivered.
    pub(super) fn ring_one_of(&self, bits: u32) -> bool {
        self.more_doors().is_some_and(|(more, place)| more.ring_one_of(place, bits))
    }

    /// Unregisters the door. A ring that it received in the meantime is passed on, since it may have been the only one.
    pub fn take_door(&self, door: Door, scope: Scope) {
        let bits = door.to_bits();
        let found = self.doors.iter().any(|d| d.compare_exchange(bits, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok())
            || self.more_doors().is_some_and(|(more, place)| more.take(place, door));
        if !found {
            self.notify_one(scope);
        } else {
            self.forget_doors();
        }
    }

    /// Discards all sleepers and doors, for a forked child: they exist only in its parent.
    pub fn reinit(&self) {
        for door in &self.doors {
            door.store(0, Ordering::SeqCst);
        }
        self.place.store(0, Ordering::SeqCst);
        self.sleepers.store(0, Ordering::SeqCst);
        self.word.fetch_and(!(SLEEPER | DOOR | REST | WATCHED | HEAD_WOKEN), Ordering::SeqCst);
    }

    /// Before a wait on heap words: if threads waited here in the process from which this one was forked, and none in
    /// this process yet, discards what they left behind and calls `forget` to do the same.
    #[cfg(not(loom))]
    pub(super) fn forget_left_behind(&self, forget: impl FnOnce()) {
        let here = process::epoch() as u32 & !MOVING;
        if self.home.load(Ordering::Acquire) != here {
            self.move_to(here, forget);
        }
    }

    #[cfg(not(loom))]
    #[cold]
    fn move_to(&self, here: u32, forget: impl FnOnce()) {
        loop {
            let home = self.home.load(Ordering::Acquire);
            if home == here {
                return;
            }
            if home == here | MOVING {
                std::thread::yield_now();
                continue;
            }
            // A thread that was in the middle of this when its process forked does not exist in the child.
            if self.home.compare_exchange(home, here | MOVING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            if home != 0 {
                for door in &self.doors {
                    door.store(0, Ordering::SeqCst);
                }
                self.place.store(0, Ordering::SeqCst);
                // S and R stay set: the forking thread may continue in the child from the middle of its wait.
                self.word.fetch_and(!(DOOR | WATCHED | HEAD_WOKEN), Ordering::SeqCst);
                forget();
            }
            self.home.store(here, Ordering::Release);
            return;
        }
    }

    /// An estimate of the number of threads asleep here.
    pub fn sleepers(&self) -> u32 {
        self.sleepers.load(Ordering::Relaxed)
    }

    /// The address of the word that sleepers wait on.
    #[cfg(not(loom))]
    pub(crate) fn address(&self) -> usize {
        core::ptr::from_ref(&self.word).addr()
    }
}
