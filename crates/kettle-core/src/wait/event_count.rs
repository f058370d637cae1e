//! Telling sleepers that something happened.

use super::doorbell::more_doors;
use super::more_doors::MoreDoors;
use super::{Door, Patience, Scope, Stopped};
use crate::atomics::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::futex;
#[cfg(not(loom))]
use crate::sys::process;

/// Waiting for a condition that lives in *other* words.
///
/// ```text
/// word:  31       5   4   3   2   1   0
///        [  epoch ][H ][W ][R ][D ][S ]
/// S  somebody may sleep on the word
/// D  some event loop may have left a door
/// R  somebody may sleep on, while another one is woken
/// W  the line is watched, H  its head was woken and has not looked: see [`Line`](super::Line)
/// ```
///
/// The sleeper:  announce (set S) → look at the condition → sleep while the word is unchanged → announce again …
/// The waker:    make the condition true → look at the word; if S or D (or R, to wake all): clear S, next epoch, wake.
///
/// Either the sleeper's look comes after the waker's change and sees it, or the waker's look comes after the
/// announcement and sees S: both sides put a sequentially consistent fence between their write and their read.
///
/// *One wake-up at a time.* Waking one sleeper clears S although others may sleep, so that a waker that comes before the
/// woken one has looked need not call the kernel for nothing; R keeps that in mind for whoever wakes all. The woken one
/// announces again before it looks (every round of the loop does), so S is set again before it goes its way, and the
/// next change wakes the next. But a change for one that came in between woke nobody: where a change is for one waiter and several may come in a row (permits,
/// messages), whoever took something after a wait and sees that more is there *passes the wake-up on*, by
/// [`notify_one`](Self::notify_one). If the woken one is killed in between, the others look for themselves at the end
/// of their slice. The price is one futile look for a sleeper after the last one has left.
///
/// *Doors.* An event loop cannot sleep here; it leaves the name of its [`Door`], which a change rings once and takes
/// away. One ring is one wake-up: a change for one waiter wakes a sleeper or rings one door, not both.
#[repr(C)]
#[derive(Debug)]
pub struct EventCount {
    word: AtomicU32,
    /// Kept so that statistics can tell how many sleep here now. A process that is killed asleep stays counted.
    sleepers: AtomicU32,
    doors: [AtomicU64; Self::DOORS],
    /// Its number among the [`MoreDoors`](super::more_doors::MoreDoors), once it has doors there; else 0.
    place: AtomicU32,
    /// On the heap: the process of those who wait here; else 0. Perhaps with [`MOVING`].
    home: AtomicU32,
}

/// A thread of that process is forgetting those of another one.
#[cfg(not(loom))]
const MOVING: u32 = 1 << 31;

const SLEEPER: u32 = 1;
const DOOR: u32 = 2;
const REST: u32 = 4;
const WATCHED: u32 = 8;
const HEAD_WOKEN: u32 = 16;
const EPOCH: u32 = 32;

/// Says that its holder announced itself, and will sleep only if nothing happened since.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Announced(u32);

impl Announced {
    /// As [`EventCount::epoch`] gave it then.
    pub(super) fn epoch(self) -> u32 {
        self.0 / EPOCH
    }

    /// Whether sleepers are to look now and then whether the line is still closed.
    pub(super) fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }
}

/// The bits that say that there may be sleepers for so many wake-ups.
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
    /// How many event loops can leave a door here at a time. Those of more stand with the session;
    /// a loop that finds none looks again every slice.
    pub const DOORS: usize = 4;

    /// For so many the session has room, for all event counts together.
    pub const MORE_DOORS: usize = MoreDoors::LEN;

    /// So many are all who wait.
    pub const ALL: u32 = u32::MAX;

    /// With nobody asleep.
    pub fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            doors: [const { 0 }; Self::DOORS].map(AtomicU64::new),
            place: AtomicU32::new(0),
            home: AtomicU32::new(0),
        }
    }

    /// Announces a sleeper. Look at the condition after this, and before [`sleep`](Self::sleep).
    pub fn announce(&self) -> Announced {
        let mut word = self.word.fetch_or(SLEEPER, Ordering::SeqCst) | SLEEPER;
        if word & HEAD_WOKEN != 0 {
            word = self.word.fetch_and(!HEAD_WOKEN, Ordering::SeqCst) & !HEAD_WOKEN;
        }
        // [A] pairs with [B]: the announcement stands before the look at the condition.
        fence(Ordering::SeqCst);
        Announced(word)
    }

    /// Sleeps until something happened since `seen`, a slice is over, or `patience` is.
    ///
    /// # Errors
    /// When the deadline is past or the caller is interrupted.
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

    /// The whole loop: waits until `look` gives something.
    ///
    /// `each_nap` runs when a slice was slept to its end, to ask after the living and the dead; it may give a result
    /// too.
    ///
    /// # Errors
    /// When the deadline is past or the caller is interrupted. `look` is asked once more after the time is over.
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

    /// Something happened that one waiter can use. The condition must have been made true before.
    #[inline]
    pub fn notify_one(&self, scope: Scope) {
        self.notify(1, scope);
    }

    /// Something happened that all waiters must see.
    #[inline]
    pub fn notify_all(&self, scope: Scope) {
        self.notify(Self::ALL, scope);
    }

    /// Something happened that `count` waiters can use.
    #[inline]
    pub fn notify(&self, count: u32, scope: Scope) {
        // [B] pairs with [A]: the change of the condition stands before the look for sleepers.
        fence(Ordering::SeqCst);
        self.notify_after_fence(count, scope);
    }

    /// As [`notify`](Self::notify), for a caller whose change ended with a sequentially consistent read-modify-write.
    /// Says whether there was somebody to tell.
    #[inline]
    pub fn notify_after_fence(&self, count: u32, scope: Scope) -> bool {
        // Loom takes a sequentially consistent read-modify-write for less than the processors make of it.
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

    /// Tells `count` waiters; see [`begin_epoch`](Self::begin_epoch) for who is passed over.
    fn tell(&self, before: u32, count: u32, scope: Scope) {
        let mut left = count;
        if before & asleep(count) != 0 {
            left -= futex::wake(&self.word, left, scope).min(left);
        }
        if before & DOOR != 0 && left > 0 {
            self.ring(left);
        }
    }

    /// Tells `count` waiters, one at least. `wake` wakes the head of the line if it sleeps, and `tell` tells it if it is
    /// there otherwise; both say whether they did.
    ///
    /// S stays: a head that does not sleep may have looked, and others sleep. While one that slept is on its way nobody
    /// else is woken: it will look.
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

    /// The next epoch, in which nobody has announced itself. Gives the word before.
    fn begin_epoch(&self, count: u32) -> u32 {
        let next = |w: u32| {
            let rest = if count != Self::ALL && w & SLEEPER != 0 { REST } else { 0 };
            Some(w.wrapping_add(EPOCH) & !asleep(count) | rest)
        };
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_else(|w| w)
    }

    /// The next epoch. S stays, since the one that will be woken may not be there, and others may sleep.
    pub(super) fn change(&self) {
        self.word.fetch_add(EPOCH, Ordering::SeqCst);
    }

    /// Wakes all sleepers that sleep with one of `bits`; says how many there were.
    pub(super) fn wake_those(&self, bits: u32, scope: Scope) -> u32 {
        futex::wake_those(&self.word, Self::ALL, bits, scope)
    }

    /// Whether somebody may have to be told of a change.
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

    /// Whoever goes to sleep from now on looks now and then whether it is still closed.
    pub(super) fn set_watched(&self) {
        self.word.fetch_or(WATCHED, Ordering::SeqCst);
    }

    /// Wakes a sleeper; false if there is none.
    pub(super) fn wake_any(&self, scope: Scope) -> bool {
        self.begin_epoch(1) & (SLEEPER | REST) != 0 && futex::wake(&self.word, 1, scope) > 0
    }

    /// Rings all doors, and leaves them where they are: nobody's turn has come.
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

    /// Rings the door with this index, if there is one; says whether it was heard.
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

    /// Where its further doors are, if it has had any.
    fn more_doors(&self) -> Option<(&'static MoreDoors, u32)> {
        let place = self.place.load(Ordering::SeqCst);
        (place != 0).then(more_doors).flatten().map(|more| (more, place))
    }

    /// Clears D when no door is left.
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
        // A loop may have left its door meanwhile, and a change may have passed it by while the bit was down.
        for door in &self.doors {
            if let Some(door) = Door::from_bits(door.swap(0, Ordering::SeqCst)) {
                door.ring();
            }
        }
    }

    /// Leaves a door that the next change will ring. Look at the condition after this. False if there is no room.
    pub fn leave_door(&self, door: Door) -> bool {
        self.leave_door_at(door).is_some()
    }

    /// The same; gives the door's index.
    pub(super) fn leave_door_at(&self, door: Door) -> Option<usize> {
        let bits = door.to_bits();
        let doors = || self.doors.iter();
        // Where it is already, it stays, and is nowhere else.
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

    /// Leaves it with the session; gives its index there.
    #[cold]
    fn leave_more(&self, door: Door) -> Option<usize> {
        let more = more_doors()?;
        if self.place.load(Ordering::SeqCst) == 0 {
            // If another one is quicker, a number was given to nothing.
            let _ = self.place.compare_exchange(0, more.new_place(), Ordering::SeqCst, Ordering::SeqCst);
        }
        more.leave(self.place.load(Ordering::SeqCst), door)
    }

    /// Says of the door with this index, beyond those that have room here, for which tickets it was left.
    pub(super) fn set_tickets(&self, index: usize, bits: u32) {
        if let (Some((more, _)), Some(index)) = (self.more_doors(), index.checked_sub(Self::DOORS)) {
            more.set_tickets(index, bits);
        }
    }

    /// The bits of all tickets for which doors were left beyond those that have room here.
    pub(super) fn further_tickets(&self) -> u32 {
        self.more_doors().map_or(0, |(more, place)| more.tickets(place))
    }

    /// Rings one of these that was left for a ticket with one of these bits; says whether it was heard.
    pub(super) fn ring_one_of(&self, bits: u32) -> bool {
        self.more_doors().is_some_and(|(more, place)| more.ring_one_of(place, bits))
    }

    /// Takes the door away again. A ring that was given to it meanwhile is passed on: it may have been the only one.
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

    /// Forgets all who sleep here and all doors: they did not come along into a forked child.
    pub fn reinit(&self) {
        for door in &self.doors {
            door.store(0, Ordering::SeqCst);
        }
        self.place.store(0, Ordering::SeqCst);
        self.sleepers.store(0, Ordering::SeqCst);
        self.word.fetch_and(!(SLEEPER | DOOR | REST | WATCHED | HEAD_WOKEN), Ordering::SeqCst);
    }

    /// For words on the heap, before a wait: if threads waited here in the process that this one was forked from, and none has
    /// in this one yet, forgets what they left, and has `forget` do the same.
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
            // One that was moving when its process forked did not come along.
            if self.home.compare_exchange(home, here | MOVING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            if home != 0 {
                for door in &self.doors {
                    door.store(0, Ordering::SeqCst);
                }
                self.place.store(0, Ordering::SeqCst);
                // S and R stay: the thread that forked may have come along from the middle of its wait.
                self.word.fetch_and(!(DOOR | WATCHED | HEAD_WOKEN), Ordering::SeqCst);
                forget();
            }
            self.home.store(here, Ordering::Release);
            return;
        }
    }

    /// How many threads sleep here, as far as is known.
    pub fn sleepers(&self) -> u32 {
        self.sleepers.load(Ordering::Relaxed)
    }

    /// The address of the word on which they sleep.
    #[cfg(not(loom))]
    pub(crate) fn address(&self) -> usize {
        core::ptr::from_ref(&self.word).addr()
    }
}
