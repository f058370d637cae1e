//! The lock that knows its holder.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::damage::{self, What};
use crate::stats::LockStatistics;
use crate::sys::Owner;
use crate::unwind::OnUnwind;
use crate::wait::{Line, Patience, Stopped, spin_until};

/// Mutual exclusion whose word names the holder.
///
/// ```text
///                acquire (one compare-exchange: taken and named together)
///        ┌────────────────────────────────────────────────►┐
///   [ free: 0 ]                                      [ held: Owner, perhaps SCOPED ]
///        ▲◄────────────────────────────────────────────────┘   │
///        │        release, by whomever                         │ found dead by whoever wants it; or
///        │                                                     ▼ abandoned by the holder itself
///        └──────────── reset, or a release ──────── [ broken: Owner | BROKEN ]
/// ```
///
/// There is no instant at which the lock is held by nobody, so a holder may die anywhere. With
/// [`OnOwnerDeath::Recover`] whoever finds a dead holder, or a broken lock, takes it over in one compare-exchange.
///
/// *Who leaves it.* Anybody may. Who takes it for a scope (the life of a guard) says that he will leave
/// it himself at the end of that, and no other for him; the word keeps what he said. That binds nobody: it is for those
/// who ask whether they wait in vain.
///
/// Orderings: taking is an acquire, leaving a release; leaving is sequentially consistent besides, for the event
/// count (its \[B\]).
#[repr(C)]
#[derive(Debug)]
pub struct Lock {
    word: AtomicU64,
    freed: Line,
    policy: AtomicU32,
    contended: AtomicU32,
    deaths: AtomicU32,
    passed_on: AtomicU32,
}

const BROKEN: u64 = Owner::FLAG_HIGH;
const SCOPED: u64 = Owner::FLAG_LOW;

/// What happens to a lock whose holder died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum OnOwnerDeath {
    /// It is broken: whoever wants it is told so, until it is reset. What it protects may be half changed.
    #[default]
    Raise = 0,
    /// It passes to the next one, who is told so once.
    Recover = 1,
}

/// How a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// From its free state.
    Clean,
    /// From a holder that died with it.
    FromDead(Owner),
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// The wait ended first.
    Stopped(Stopped),
    /// Its holder died; the lock is broken until it is reset.
    OwnerDied(Owner),
}

impl From<Stopped> for LockError {
    fn from(s: Stopped) -> Self {
        Self::Stopped(s)
    }
}

/// A release of what nobody held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

/// A reset of what somebody alive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetError(pub Owner);

/// What the word of a lock holds that the caller has.
#[inline(always)]
fn name_of_caller<H: Home>() -> Result<u64, Stopped> {
    H::try_me().map(Owner::to_bits).ok_or(Stopped::NoPart)
}

impl Lock {
    /// A free lock.
    pub fn new(policy: OnOwnerDeath) -> Self {
        Self {
            word: AtomicU64::new(0),
            freed: Line::new(),
            policy: AtomicU32::new(policy as u32),
            contended: AtomicU32::new(0),
            deaths: AtomicU32::new(0),
            passed_on: AtomicU32::new(0),
        }
    }

    /// What is done about a holder's death from now on. Not for a lock that others know of.
    pub fn set_policy(&self, policy: OnOwnerDeath) {
        self.policy.store(policy as u32, Ordering::Relaxed);
    }

    /// Takes the lock if it is free, and its memory is not damaged.
    #[inline(always)]
    pub fn try_acquire_now<H: Home>(&self) -> bool {
        !damage::is_marked(H::SCOPE) && H::try_me().is_some_and(|me| self.take_if_free(me.to_bits()))
    }

    /// The same for a scope, at whose end this thread will leave it.
    #[inline(always)]
    pub fn try_acquire_scoped<H: Home>(&self) -> bool {
        !damage::is_marked(H::SCOPE) && H::try_me().is_some_and(|me| self.take_if_free(me.to_bits() | SCOPED))
    }

    /// Takes a lock that protects words of ours, for moments: what a holder left that is gone is whole, so it passes on
    /// whatever its policy, and also from a thread that ended while its process goes on.
    ///
    /// # Errors
    /// When the wait ended first.
    pub(crate) fn acquire_inner<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        let mine = name_of_caller::<H>()?;
        if !damage::is_marked(H::SCOPE) && self.take_if_free(mine) {
            return Ok(());
        }
        match self.acquire_slow::<H>(mine, patience, true) {
            Ok(_) => Ok(()),
            Err(LockError::Stopped(stopped)) => Err(stopped),
            // Not said of a lock that passes on.
            Err(LockError::OwnerDied(_)) => Err(Stopped::TimedOut),
        }
    }

    #[inline(always)]
    fn take_if_free(&self, mine: u64) -> bool {
        self.freed.admits(None, || 1)
            && self.word.compare_exchange(0, mine, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn acquire<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        self.acquire_as::<H>(name_of_caller::<H>()?, patience)
    }

    /// The same for a scope, at whose end this thread will leave it.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn acquire_scoped<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        self.acquire_as::<H>(name_of_caller::<H>()? | SCOPED, patience)
    }

    #[inline]
    fn acquire_as<H: Home>(&self, mine: u64, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        if !damage::is_marked(H::SCOPE) && self.take_if_free(mine) {
            return Ok(Acquired::Clean);
        }
        self.acquire_slow::<H>(mine, patience, false)
    }

    #[cold]
    fn acquire_slow<H: Home>(&self, mine: u64, patience: &Patience<'_>, inner: bool) -> Result<Acquired, LockError> {
        if damage::is_marked(H::SCOPE) {
            return Err(Stopped::Damaged.into());
        }
        let inherit = || self.inherit::<H>(mine, inner);
        let attempt = || match self.word.compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Some(Ok(Acquired::Clean)),
            Err(word) if word & BROKEN != 0 => inherit(),
            Err(_) => None,
        };
        self.contended.fetch_add(1, Ordering::Relaxed);
        if !patience.may_wait() {
            // Somebody who does not wait is told of a death as well: it will never be free for him.
            // Whoever does not wait takes what is there, also if it is reserved.
            return attempt().or_else(inherit).unwrap_or(Err(Stopped::TimedOut.into()));
        }
        if patience.may_spin() && spin_until(|| self.word.load(Ordering::Relaxed) == 0) && self.freed.admits(None, || 1)
        {
            if let Some(r) = attempt() {
                return r;
            }
        }
        let result = match inner {
            // Of what is held for moments, whoever is awake may have the next one: no waiter would notice its turn.
            true => self.freed.events().wait_for(patience, H::SCOPE, attempt, inherit),
            false => self.freed.wait_for(patience, H::SCOPE, attempt, inherit),
        };
        match result {
            Ok(r) => {
                // Released by another thread before we had left the line, which may have been closed for us.
                if self.word.load(Ordering::SeqCst) == 0 {
                    self.freed.notify_one(H::SCOPE);
                }
                r
            }
            Err(Stopped::TimedOut) => inherit().unwrap_or(Err(Stopped::TimedOut.into())),
            Err(s) => Err(s.into()),
        }
    }

    /// If the holder is dead: takes the lock from it, or breaks it, as its policy says. `inner`: see
    /// [`acquire_inner`](Self::acquire_inner).
    fn inherit<H: Home>(&self, mine: u64, inner: bool) -> Option<Result<Acquired, LockError>> {
        let word = self.word.load(Ordering::Acquire);
        let owner = Owner::from_bits(word);
        if owner.thread() == 0 || !H::can_be(owner) {
            // Flags stand beside a holder only, and a holder is a thread.
            return (word != 0).then(|| {
                damage::mark(H::SCOPE, What::Owner, 0, word);
                Err(Stopped::Damaged.into())
            });
        }
        let recover = inner || self.policy.load(Ordering::Relaxed) == OnOwnerDeath::Recover as u32;
        let is_broken = word & BROKEN != 0;
        if is_broken && !recover {
            return Some(Err(LockError::OwnerDied(owner)));
        }
        if !(is_broken || H::is_dead(owner) || inner && H::has_lost(owner)) {
            return None;
        }
        let next = if recover { mine } else { word | BROKEN };
        // If this fails, somebody else found out at the same time: the next look sees what came of it.
        self.word.compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed).ok()?;
        if !is_broken {
            self.deaths.fetch_add(1, Ordering::Relaxed);
        }
        if recover {
            return Some(Ok(Acquired::FromDead(owner)));
        }
        self.freed.notify_all(H::SCOPE);
        Some(Err(LockError::OwnerDied(owner)))
    }

    /// Leaves the lock, whoever holds it; also mends a broken one.
    ///
    /// # Errors
    /// When nobody holds it.
    #[inline(always)]
    pub fn release<H: Home>(&self) -> Result<(), NotHeld> {
        // Asked before, so that less is kept across the question.
        let me = H::my_thread();
        let left = self.leave::<H>()?;
        // No two threads have the same number, of whatever processes they are.
        if Owner::from_bits(left).thread() != me {
            self.note_stranger(left);
        }
        Ok(())
    }

    /// The same for one who holds it himself: saves the look at whose it was.
    #[inline(always)]
    pub(super) fn release_mine<H: Home>(&self) -> Result<(), NotHeld> {
        self.leave::<H>().map(drop)
    }

    /// Says how it was held.
    #[inline(always)]
    fn leave<H: Home>(&self) -> Result<u64, NotHeld> {
        // Whatever panics here, the lock is left.
        let leave = OnUnwind::new(|| self.word.store(0, Ordering::SeqCst));
        crash_point("lock.release.before");
        leave.done();
        let prepared = self.freed.prepare();
        let held = self.word.swap(0, Ordering::SeqCst);
        if held == 0 {
            self.freed.withdraw(prepared, H::SCOPE);
            return Err(NotHeld);
        }
        crash_point("lock.release.before-notify");
        self.freed.notify_prepared(prepared, 1, || 1, H::SCOPE);
        Ok(held)
    }

    #[cold]
    fn note_stranger(&self, left: u64) {
        // To mend what a dead one left is not to leave it in his place.
        if left & BROKEN == 0 {
            self.passed_on.store(1, Ordering::Relaxed);
        }
    }

    /// Whether another thread than its holder ever left it. Whom it names then says little about who will leave it.
    pub fn is_passed_on(&self) -> bool {
        self.passed_on.load(Ordering::Relaxed) != 0
    }

    /// Takes back what its holder said of a scope: the guard goes with a task, which may wander among threads.
    pub fn unscope(&self) {
        self.word.fetch_and(!SCOPED, Ordering::Relaxed);
    }

    /// Leaves the lock as if its holder had died: what it protects may be half changed. For a holder that cannot go on
    /// and lives. Nothing if nobody holds it.
    #[cold]
    pub fn abandon<H: Home>(&self) {
        let broken = |word| (word != 0).then_some(word | BROKEN);
        if self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, broken).is_ok() {
            self.deaths.fetch_add(1, Ordering::Relaxed);
            self.freed.notify_all(H::SCOPE);
        }
    }

    /// Makes a broken lock free again; nothing if it is free.
    ///
    /// # Errors
    /// When its holder lives: that one would believe to hold it still.
    pub fn reset<H: Home>(&self) -> Result<(), ResetError> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let owner = Owner::from_bits(word);
            if owner.is_nobody() {
                return Ok(());
            }
            if word & BROKEN == 0 && !H::is_dead(owner) {
                return Err(ResetError(owner));
            }
            if self.word.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                self.freed.notify_one(H::SCOPE);
                return Ok(());
            }
        }
    }

    /// Makes it free and forgets who waits, in a forked child.
    pub fn reinit(&self) {
        self.word.store(0, Ordering::SeqCst);
        self.freed.reinit();
    }

    /// Who holds it now.
    pub fn owner(&self) -> Option<Owner> {
        self.held().map(|held| held.by)
    }

    /// How it is held now, if it is.
    pub fn held(&self) -> Option<Held> {
        let word = self.word.load(Ordering::Acquire);
        let by = Owner::from_bits(word);
        (!by.is_nobody()).then_some(Held { by, scoped: word & SCOPED != 0 })
    }

    /// The same, to be asked later.
    pub fn holder(&self) -> Holder<'_> {
        Holder(self)
    }

    /// Whether `owner` holds it, and it is not broken.
    #[inline]
    pub fn is_held_by(&self, owner: Owner) -> bool {
        self.word.load(Ordering::Acquire) & !SCOPED == owner.to_bits()
    }

    /// Whether its holder died with it.
    pub fn is_broken(&self) -> bool {
        self.word.load(Ordering::Acquire) & BROKEN != 0
    }

    /// Where those wait who want it.
    pub fn freed(&self) -> &Line {
        &self.freed
    }

    /// How it is.
    pub fn statistics(&self) -> LockStatistics {
        LockStatistics {
            owner: self.owner(),
            broken: self.is_broken(),
            waiting: self.freed.sleepers(),
            contended: self.contended.load(Ordering::Relaxed),
            owners_died: self.deaths.load(Ordering::Relaxed),
        }
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// By whom.
    pub by: Owner,
    /// Until the end of a scope, at which the holder leaves it.
    pub scoped: bool,
}

/// Who holds a lock, for one who may ask that and do nothing else to it.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a>(&'a Lock);

impl Holder<'_> {
    /// How it is held now, if it is.
    pub fn now(self) -> Option<Held> {
        self.0.held()
    }

    /// See [`Lock::is_passed_on`].
    pub fn is_passed_on(self) -> bool {
        self.0.is_passed_on()
    }

    /// How many threads sleep until it is free, as far as is known.
    pub fn sleepers(self) -> u32 {
        self.0.freed.sleepers()
    }

    /// The address of the word on which they sleep.
    #[cfg(not(loom))]
    pub(crate) fn sleepers_word(self) -> usize {
        self.0.freed.events().address()
    }

    /// Tells the lock from the others of this process.
    pub fn place(self) -> usize {
        core::ptr::from_ref(self.0).addr()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Heap;

    #[test]
    fn a_word_that_names_no_thread_is_not_believed() {
        for policy in [OnOwnerDeath::Raise, OnOwnerDeath::Recover] {
            for word in [BROKEN, SCOPED, BROKEN | SCOPED, Owner::new(5, 1, 0).to_bits(), u64::from(u32::MAX) << 32] {
                let lock = Lock::new(policy);
                lock.word.store(word, Ordering::Relaxed);
                for patience in [Patience::none(), Patience::forever()] {
                    assert_eq!(lock.acquire::<Heap>(&patience), Err(Stopped::Damaged.into()), "{word:#x}");
                    assert_eq!(lock.acquire_inner::<Heap>(&patience), Err(Stopped::Damaged), "{word:#x}");
                }
                assert_eq!(lock.word.load(Ordering::Relaxed), word, "nothing was taken");
            }
        }
    }

    /// What one of our own locks protects is whole at any time, so no error tells that its holder has gone.
    #[test]
    fn an_inner_lock_passes_on_whatever_its_policy() {
        for policy in [OnOwnerDeath::Raise, OnOwnerDeath::Recover] {
            let lock = Lock::new(policy);
            assert!(lock.try_acquire_now::<Heap>());
            assert_eq!(lock.acquire_inner::<Heap>(&Patience::none()), Err(Stopped::TimedOut), "its holder lives");
            lock.abandon::<Heap>();
            assert_eq!(lock.acquire_inner::<Heap>(&Patience::none()), Ok(()));
            assert!(!lock.is_broken());
            lock.release::<Heap>().unwrap();
        }
    }
}
