//! Telling sleepers that something happened.

use super::{Door, Patience, Scope, Stopped};
use crate::atomics::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::futex;

/// Waiting for a condition that lives in *other* words.
///
/// ```text
/// word:  31             3   2   1   0
///        [    epoch     ][R ][D ][S ]
/// S  somebody may sleep on the word
/// D  some event loop may have left a door
/// R  somebody may sleep on, while another one is woken
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
}

const SLEEPER: u32 = 1;
const DOOR: u32 = 2;
const REST: u32 = 4;
const EPOCH: u32 = 8;

/// Says that its holder announced itself, and will sleep only if nothing happened since.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Announced(u32);

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
    /// How many event loops can leave a door at a time; one that finds no room looks again every slice.
    pub const DOORS: usize = 4;

    /// So many are all who wait.
    pub const ALL: u32 = u32::MAX;

    /// With nobody asleep.
    pub fn new() -> Self {
        Self {
            word: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            doors: [const { 0 }; Self::DOORS].map(AtomicU64::new),
        }
    }

    /// Announces a sleeper. Look at the condition after this, and before [`sleep`](Self::sleep).
    pub fn announce(&self) -> Announced {
        let word = self.word.fetch_or(SLEEPER, Ordering::SeqCst) | SLEEPER;
        // [A] pairs with [B]: the announcement stands before the look at the condition.
        fence(Ordering::SeqCst);
        Announced(word)
    }

    /// Sleeps until something happened since `seen`, a slice is over, or `patience` is.
    ///
    /// # Errors
    /// When the deadline is past or the caller is interrupted.
    pub fn sleep(&self, seen: Announced, patience: &Patience<'_>, scope: Scope) -> Result<(), Stopped> {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        let r = patience.sleep(&self.word, seen.0, scope);
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
    fn notify_slow(&self, count: u32, scope: Scope) {
        if count == 0 {
            return;
        }
        let before = self
            .word
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |w| {
                let rest = if count != Self::ALL && w & SLEEPER != 0 { REST } else { 0 };
                Some(w.wrapping_add(EPOCH) & !asleep(count) | rest)
            })
            .unwrap_or_else(|w| w);
        let mut left = count;
        if before & asleep(count) != 0 {
            left -= futex::wake(&self.word, count, scope).min(left);
        }
        if before & DOOR != 0 && left > 0 {
            self.ring(left);
        }
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
        if count > 0 {
            self.forget_doors();
        }
    }

    /// Clears D when no door is left.
    fn forget_doors(&self) {
        let any = || self.doors.iter().any(|d| d.load(Ordering::SeqCst) != 0);
        if any() {
            return;
        }
        self.word.fetch_and(!DOOR, Ordering::SeqCst);
        // A loop may have left its door meanwhile, and a change may have passed it by while the bit was down.
        for door in &self.doors {
            if let Some(door) = Door::from_bits(door.swap(0, Ordering::SeqCst)) {
                door.ring();
            }
        }
    }

    /// Leaves a door that the next change will ring. Look at the condition after this. False if there is no room.
    pub fn leave_door(&self, door: Door) -> bool {
        let bits = door.to_bits();
        let taken = self.doors.iter().any(|d| d.load(Ordering::Relaxed) == bits)
            || self.doors.iter().any(|d| d.compare_exchange(0, bits, Ordering::AcqRel, Ordering::Relaxed).is_ok());
        if taken {
            self.word.fetch_or(DOOR, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        taken
    }

    /// Takes the door away again. A ring that was given to it meanwhile is passed on: it may have been the only one.
    pub fn take_door(&self, door: Door, scope: Scope) {
        let bits = door.to_bits();
        let found = self.doors.iter().any(|d| d.compare_exchange(bits, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok());
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
        self.sleepers.store(0, Ordering::SeqCst);
        self.word.fetch_and(!(SLEEPER | DOOR | REST), Ordering::SeqCst);
    }

    /// How many threads sleep here, as far as is known.
    pub fn sleepers(&self) -> u32 {
        self.sleepers.load(Ordering::Relaxed)
    }
}
