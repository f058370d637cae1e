//! The lock that knows its holder.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::crash_point;
use crate::stats::LockStatistics;
use crate::sys::Owner;
use crate::wait::{EventCount, Patience, Stopped, spin_until};

/// Mutual exclusion whose word names the holder.
///
/// ```text
///                acquire (one compare-exchange: taken and named together)
///        ┌────────────────────────────────────────────────►┐
///   [ free: 0 ]                                      [ held: Owner ]
///        ▲◄────────────────────────────────────────────────┘   │
///        │        release, by whomever                         │ found dead by whoever wants it; or
///        │                                                     ▼ abandoned by the holder itself
///        └──────────── reset, or a release ──────── [ broken: Owner | BROKEN ]
/// ```
///
/// There is no instant at which the lock is held by nobody, so a holder may die anywhere. With
/// [`OnOwnerDeath::Recover`] whoever finds a dead holder, or a broken lock, takes it over in one compare-exchange.
///
/// Orderings: taking is an acquire, leaving a release; leaving is sequentially consistent besides, for the event
/// count (its \[B\]).
#[repr(C)]
#[derive(Debug)]
pub struct Lock {
    word: AtomicU64,
    freed: EventCount,
    policy: AtomicU32,
    contended: AtomicU32,
    deaths: AtomicU32,
    passed_on: AtomicU32,
}

const BROKEN: u64 = Owner::FLAG_HIGH;

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

impl Lock {
    /// A free lock.
    pub fn new(policy: OnOwnerDeath) -> Self {
        Self {
            word: AtomicU64::new(0),
            freed: EventCount::new(),
            policy: AtomicU32::new(policy as u32),
            contended: AtomicU32::new(0),
            deaths: AtomicU32::new(0),
            passed_on: AtomicU32::new(0),
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_acquire_now<H: Home>(&self) -> bool {
        self.word.compare_exchange(0, H::me().to_bits(), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn acquire<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        if self.try_acquire_now::<H>() {
            return Ok(Acquired::Clean);
        }
        self.acquire_slow::<H>(patience)
    }

    #[cold]
    fn acquire_slow<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        let me = H::me().to_bits();
        let attempt = || match self.word.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Some(Ok(Acquired::Clean)),
            Err(word) if word & BROKEN != 0 => self.inherit::<H>(),
            Err(_) => None,
        };
        self.contended.fetch_add(1, Ordering::Relaxed);
        if !patience.may_wait() {
            // Somebody who does not wait is told of a death as well: it will never be free for him.
            return attempt().or_else(|| self.inherit::<H>()).unwrap_or(Err(Stopped::TimedOut.into()));
        }
        if patience.may_spin() && spin_until(|| self.word.load(Ordering::Relaxed) == 0) {
            if let Some(r) = attempt() {
                return r;
            }
        }
        let result = self.freed.wait_for(patience, H::SCOPE, attempt, || self.inherit::<H>());
        match result {
            Ok(r) => r,
            Err(Stopped::TimedOut) => self.inherit::<H>().unwrap_or(Err(Stopped::TimedOut.into())),
            Err(s) => Err(s.into()),
        }
    }

    /// If the holder is dead: takes the lock from it, or breaks it, as its policy says.
    fn inherit<H: Home>(&self) -> Option<Result<Acquired, LockError>> {
        let word = self.word.load(Ordering::Acquire);
        let owner = Owner::from_bits(word);
        if owner.is_nobody() {
            return None;
        }
        let recover = self.policy.load(Ordering::Relaxed) == OnOwnerDeath::Recover as u32;
        let is_broken = word & BROKEN != 0;
        if is_broken && !recover {
            return Some(Err(LockError::OwnerDied(owner)));
        }
        if !is_broken && !H::is_dead(owner) {
            return None;
        }
        let next = if recover { H::me().to_bits() } else { word | BROKEN };
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
    #[inline]
    pub fn release<H: Home>(&self) -> Result<(), NotHeld> {
        crash_point("lock.release.before");
        let holder = self.word.swap(0, Ordering::SeqCst);
        if holder == 0 {
            return Err(NotHeld);
        }
        crash_point("lock.release.before-notify");
        if self.freed.notify_after_fence(1, H::SCOPE) {
            self.note_release::<H>(holder);
        }
        Ok(())
    }

    /// Only where somebody waited: that costs nothing while nobody does.
    #[cold]
    fn note_release<H: Home>(&self, holder: u64) {
        if holder & BROKEN == 0 && holder != H::me().to_bits() {
            self.passed_on.store(1, Ordering::Relaxed);
        }
    }

    /// Whether one who waited for it ever got it from another thread than its holder. Whom it names then says little
    /// about who will release it.
    pub fn is_passed_on(&self) -> bool {
        self.passed_on.load(Ordering::Relaxed) != 0
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
                self.freed.notify_after_fence(1, H::SCOPE);
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
        let owner = Owner::from_bits(self.word.load(Ordering::Acquire));
        (!owner.is_nobody()).then_some(owner)
    }

    /// The same, to be asked again later.
    pub fn holder(&self) -> Holder<'_> {
        Holder(self)
    }

    /// Whether `owner` holds it, and it is not broken.
    #[inline]
    pub fn is_held_by(&self, owner: Owner) -> bool {
        self.word.load(Ordering::Acquire) == owner.to_bits()
    }

    /// Whether its holder died with it.
    pub fn is_broken(&self) -> bool {
        self.word.load(Ordering::Acquire) & BROKEN != 0
    }

    /// Where those wait who want it.
    pub fn freed(&self) -> &EventCount {
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

/// Who holds a lock, for one who may ask that and do nothing else to it.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a>(&'a Lock);

impl Holder<'_> {
    /// Who holds it now.
    pub fn now(self) -> Option<Owner> {
        self.0.owner()
    }

    /// See [`Lock::is_passed_on`].
    pub fn is_passed_on(self) -> bool {
        self.0.is_passed_on()
    }

    /// Tells the lock from the others of this process.
    pub fn place(self) -> usize {
        core::ptr::from_ref(self.0).addr()
    }
}
