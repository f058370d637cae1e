//! The lock whose word names its holder.

use super::Home;
use crate::atomics::{AtomicU32, AtomicU64, Ordering, const_fn};
use crate::crash_point;
use crate::damage::{self, What};
use crate::stats::LockStatistics;
use crate::sys::Owner;
use crate::unwind::OnUnwind;
use crate::wait::{Line, Patience, Stopped, spin_and_yield_until};

/// Mutual exclusion with a word that names the holder.
///
/// ```text
///                acquire (one compare-exchange: taken and named together)
///        ┌────────────────────────────────────────────────►┐
///   [ free: 0 ]                                      [ held: Owner, possibly SCOPED ]
///        ▲◄────────────────────────────────────────────────┘   │
///        │        release, by any thread                       │ found dead by a thread that wants the lock;
///        │                                                     ▼ or abandoned by the holder itself
///        └──────────── reset, or a release ──────── [ broken: Owner | BROKEN ]
/// ```
///
/// There is no instant at which the lock is held without naming its holder, so the holder may die anywhere. With
/// [`OnOwnerDeath::Recover`], a thread that finds a dead holder or a broken lock takes it over in one compare-exchange.
///
/// *Who may release it.* Any thread. A thread that acquires it for a scope (the lifetime of a guard) declares that it
/// will release the lock itself at the end of that scope; the word records this. Nothing enforces it: it informs
/// deadlock detection, which asks whether a wait can ever end.
///
/// Orderings: acquiring is an acquire, releasing a release. Releasing is also sequentially consistent, for the event
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
    /// The lock is broken: acquiring it fails until it is reset. The data that it protects may be half changed.
    #[default]
    Raise = 0,
    /// The lock passes to the next thread, which learns of the death once.
    Recover = 1,
}

/// How a lock was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// From the free state.
    Clean,
    /// From a holder that died holding it.
    FromDead(Owner),
}

/// Why a lock was not acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// The wait ended.
    Stopped(Stopped),
    /// The holder died; the lock is broken until it is reset.
    OwnerDied(Owner),
}

impl From<Stopped> for LockError {
    fn from(s: Stopped) -> Self {
        Self::Stopped(s)
    }
}

/// Released while not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

/// Reset while a live thread holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetError(pub Owner);

/// The word of a lock that the caller holds.
#[inline(always)]
fn name_of_caller<H: Home>() -> Result<u64, Stopped> {
    H::try_me().map(Owner::to_bits).ok_or(Stopped::NoPart)
}

impl Lock {
    const_fn! {
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
    }

    /// Sets what happens when a holder dies. Only for a lock that no other thread knows of yet.
    pub fn set_policy(&self, policy: OnOwnerDeath) {
        self.policy.store(policy as u32, Ordering::Relaxed);
    }

    /// Acquires the lock if it is free and its memory is not damaged.
    #[inline(always)]
    pub fn try_acquire_now<H: Home>(&self) -> bool {
        !damage::is_marked(H::SCOPE) && H::try_me().is_some_and(|me| self.take_if_free(me.to_bits()))
    }

    /// The same; this thread will release it at the end of a scope.
    #[inline(always)]
    pub fn try_acquire_scoped<H: Home>(&self) -> bool {
        !damage::is_marked(H::SCOPE) && H::try_me().is_some_and(|me| self.take_if_free(me.to_bits() | SCOPED))
    }

    /// Acquires a lock that protects our own words for moments. Those are consistent at every instant, so a lock whose
    /// holder is gone passes on whatever its policy, even if only the holding thread ended while its process lives on.
    ///
    /// # Errors
    /// If the wait ended.
    pub(crate) fn acquire_inner<H: Home>(&self, patience: &Patience<'_>) -> Result<(), Stopped> {
        let mine = name_of_caller::<H>()?;
        if !damage::is_marked(H::SCOPE) && self.take_if_free(mine) {
            return Ok(());
        }
        match self.acquire_slow::<H>(mine, patience, true) {
            Ok(_) => Ok(()),
            Err(LockError::Stopped(stopped)) => Err(stopped),
            // Never returned for a lock that passes on.
            Err(LockError::OwnerDied(_)) => Err(Stopped::TimedOut),
        }
    }

    #[inline(always)]
    fn take_if_free(&self, mine: u64) -> bool {
        self.freed.admits(None, || 1)
            && self.word.compare_exchange(0, mine, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Acquires the lock, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn acquire<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        self.acquire_as::<H>(name_of_caller::<H>()?, patience)
    }

    /// The same; this thread will release it at the end of a scope.
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
            // Dead holders are reported even to callers that do not wait: for them the lock would never become free.
            // Such callers may also take a lock that is reserved for a waiter.
            return attempt().or_else(inherit).unwrap_or(Err(Stopped::TimedOut.into()));
        }
        // Who loses the race for a lock that became free looks on: the winner may hold it for a moment only.
        let is_taken = || self.word.load(Ordering::Relaxed) == 0 && self.take_if_free(mine);
        if patience.may_spin() && spin_and_yield_until(is_taken) {
            return Ok(Acquired::Clean);
        }
        let result = match inner {
            // The lock is held only for moments, so any thread that is awake may have it next; waiters would not notice
            // a turn.
            true => self.freed.events().wait_for(patience, H::SCOPE, attempt, inherit),
            false => self.freed.wait_for(patience, H::SCOPE, attempt, inherit),
        };
        match result {
            Ok(r) => {
                // Another thread released the lock before we left the line, which may have been closed on our behalf.
                if self.word.load(Ordering::SeqCst) == 0 {
                    self.freed.notify_one(H::SCOPE);
                }
                r
            }
            Err(Stopped::TimedOut) => inherit().unwrap_or(Err(Stopped::TimedOut.into())),
            Err(s) => Err(s.into()),
        }
    }

    /// If the holder is dead, takes the lock over or breaks it, depending on its policy. `inner`: see
    /// [`acquire_inner`](Self::acquire_inner).
    fn inherit<H: Home>(&self, mine: u64, inner: bool) -> Option<Result<Acquired, LockError>> {
        let word = self.word.load(Ordering::Acquire);
        let owner = Owner::from_bits(word);
        if owner.thread() == 0 || !H::can_be(owner) {
            // Flags without a holder are impossible, and a holder is always a thread.
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
        // If this fails, another thread noticed the death at the same time; the next look sees the result.
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

    /// Releases the lock, whichever thread holds it; also repairs a broken lock.
    ///
    /// # Errors
    /// If the lock is not held.
    #[inline(always)]
    pub fn release<H: Home>(&self) -> Result<(), NotHeld> {
        // Read first, so that fewer values live across the call.
        let me = H::my_thread();
        let left = self.leave::<H>()?;
        // Thread numbers are unique across processes.
        if Owner::from_bits(left).thread() != me {
            self.note_stranger(left);
        }
        Ok(())
    }

    /// The same for the holder itself, which need not compare the released word with its own name.
    #[inline(always)]
    pub(super) fn release_mine<H: Home>(&self) -> Result<(), NotHeld> {
        self.leave::<H>().map(drop)
    }

    /// Releases the lock; returns the word it held.
    #[inline(always)]
    fn leave<H: Home>(&self) -> Result<u64, NotHeld> {
        // The lock is released even if something here panics.
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
        // Repairing what a dead holder left is not a release on its behalf.
        if left & BROKEN == 0 {
            self.passed_on.store(1, Ordering::Relaxed);
        }
    }

    /// Whether a thread other than the holder ever released the lock. If so, its current holder says little about which
    /// thread will release it.
    pub fn is_passed_on(&self) -> bool {
        self.passed_on.load(Ordering::Relaxed) != 0
    }

    /// Withdraws the holder's declaration of a scope, for a guard that belongs to a task, which may move between
    /// threads.
    pub fn unscope(&self) {
        self.word.fetch_and(!SCOPED, Ordering::Relaxed);
    }

    /// Releases the lock as if its holder had died, for a live holder that cannot complete its change: the protected
    /// data may be half changed. Does nothing if the lock is free.
    #[cold]
    pub fn abandon<H: Home>(&self) {
        let broken = |word| (word != 0).then_some(word | BROKEN);
        if self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, broken).is_ok() {
            self.deaths.fetch_add(1, Ordering::Relaxed);
            self.freed.notify_all(H::SCOPE);
        }
    }

    /// Makes a broken lock free again. Does nothing if it is free.
    ///
    /// # Errors
    /// If its holder is alive: it would continue in the belief that it holds the lock.
    pub fn reset<H: Home>(&self) -> Result<(), ResetError> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let owner = Owner::from_bits(word);
            if owner.is_none() {
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

    /// Makes the lock free and discards its waiters, in a forked child.
    pub fn reinit(&self) {
        self.word.store(0, Ordering::SeqCst);
        self.freed.reinit();
    }

    /// The current holder.
    pub fn owner(&self) -> Option<Owner> {
        self.held().map(|held| held.by)
    }

    /// How the lock is held at the moment, if it is.
    pub fn held(&self) -> Option<Held> {
        let word = self.word.load(Ordering::Acquire);
        let by = Owner::from_bits(word);
        (!by.is_none()).then_some(Held { by, scoped: word & SCOPED != 0 })
    }

    /// A handle for asking that later.
    pub fn holder(&self) -> Holder<'_> {
        Holder(self)
    }

    /// Whether `owner` holds the lock and it is not broken.
    #[inline]
    pub fn is_held_by(&self, owner: Owner) -> bool {
        self.word.load(Ordering::Acquire) & !SCOPED == owner.to_bits()
    }

    /// Whether the holder died with the lock held.
    pub fn is_broken(&self) -> bool {
        self.word.load(Ordering::Acquire) & BROKEN != 0
    }

    /// The holder that died, if therefore no thread can acquire the lock until it is reset.
    pub(super) fn broken_by(&self) -> Option<Owner> {
        let word = self.word.load(Ordering::Acquire);
        let raises = self.policy.load(Ordering::Relaxed) != OnOwnerDeath::Recover as u32;
        (word & BROKEN != 0 && raises).then(|| Owner::from_bits(word))
    }

    /// The line of threads that wait for the lock.
    pub fn freed(&self) -> &Line {
        &self.freed
    }

    /// A snapshot of its counters.
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
    /// The holder.
    pub by: Owner,
    /// Whether the holder releases it at the end of a scope.
    pub scoped: bool,
}

/// Read-only access to a lock's holder.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a>(&'a Lock);

impl Holder<'_> {
    /// How the lock is held at the moment, if it is.
    pub fn now(self) -> Option<Held> {
        self.0.held()
    }

    /// See [`Lock::is_passed_on`].
    pub fn is_passed_on(self) -> bool {
        self.0.is_passed_on()
    }

    /// An estimate of the number of threads asleep until the lock is free.
    pub fn sleepers(self) -> u32 {
        self.0.freed.sleepers()
    }

    /// The address of the word that they sleep on.
    #[cfg(not(loom))]
    pub(crate) fn sleepers_word(self) -> usize {
        self.0.freed.events().address()
    }

    /// An address that identifies the lock within this process.
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
                assert_eq!(lock.word.load(Ordering::Relaxed), word, "the word was changed");
            }
        }
    }

    /// Our own locks protect words that are consistent at every instant, so their holders' deaths are not reported.
    #[test]
    fn an_inner_lock_passes_on_whatever_its_policy() {
        for policy in [OnOwnerDeath::Raise, OnOwnerDeath::Recover] {
            let lock = Lock::new(policy);
            assert!(lock.try_acquire_now::<Heap>());
            assert_eq!(lock.acquire_inner::<Heap>(&Patience::none()), Err(Stopped::TimedOut), "the holder is alive");
            lock.abandon::<Heap>();
            assert_eq!(lock.acquire_inner::<Heap>(&Patience::none()), Ok(()));
            assert!(!lock.is_broken());
            lock.release::<Heap>().unwrap();
        }
    }
}
