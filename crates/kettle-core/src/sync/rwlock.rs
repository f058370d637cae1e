//! Many readers, or one writer.

use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use super::{Acquired, Counted, Holder, Home, Lock, LockError, Noted, OnOwnerDeath, Reader, Readers, ResetError};
use crate::atomics::{AtomicU32, AtomicU64, Ordering, const_fn};
use crate::crash_point;
use crate::stats::RwLockStatistics;
use crate::sys::Owner;
use crate::unwind::OnUnwind;
use crate::wait::{EventCount, Patience, Stopped, spin_until};

/// Access for many readers at a time, or for one writer.
///
/// ```text
/// reader:  pass the gate → note itself among the readers → leave the gate → read → remove its note
/// writer:  pass the gate → wait until no reader is left → writing := Owner → write → writing := 0 → leave the gate
/// ```
///
/// The *gate* is a [`Lock`], so readers and writers pass it in the order of arrival: a writer keeps later readers out
/// while it waits for the earlier ones. Only its holder writes `writing` and adds notes. So there is nothing to agree
/// on but that the last reader wakes the writer, for which the event count is there.
///
/// *Death.* The gate passes on from a holder that died, whatever the lock's policy is: the value is untouched unless
/// `writing` names a writer. If it does, and the gate is free, that writer died (or panicked) while it wrote, and the
/// lock is broken, or the next to pass the gate learns of it. The note of a reader that died is removed by the writer
/// that waits for it; a reader changes nothing, so its death has no further effect.
///
/// Orderings: notes are removed by a release, and looked at by an acquire; everything else is ordered by the gate.
#[repr(C)]
#[derive(Debug)]
pub struct RwLock<R = Noted> {
    gate: Lock,
    /// The writer that may have changed something, as long as it has not changed everything.
    writing: AtomicU64,
    /// Where the holder of the gate waits for readers to leave.
    left: EventCount,
    policy: AtomicU32,
    _pad: AtomicU32,
    readers: R,
}

impl RwLock<Counted> {
    const_fn! {
        /// A free lock for the threads of one process.
        pub fn counted(policy: OnOwnerDeath) -> Self {
            Self::on(policy, Counted::new())
        }
    }
}

impl RwLock<Noted> {
    const_fn! {
        /// A free lock for processes.
        pub fn noted(policy: OnOwnerDeath) -> Self {
            Self::on(policy, Noted::new())
        }
    }
}

impl RwLock<Noted> {
    /// The readers, alive or dead.
    pub fn noted_readers(&self) -> impl Iterator<Item = Owner> {
        self.readers.names()
    }
}

impl<R> RwLock<R> {
    const_fn! {
        fn on(policy: OnOwnerDeath, readers: R) -> Self {
            Self {
                gate: Lock::new(OnOwnerDeath::Recover),
                writing: AtomicU64::new(0),
                left: EventCount::new(),
                policy: AtomicU32::new(policy as u32),
                _pad: AtomicU32::new(0),
                readers,
            }
        }
    }

    /// The gate, at which threads and tasks wait.
    pub fn gate(&self) -> &Lock {
        &self.gate
    }

    /// Where the holder of the gate waits for readers to leave.
    pub fn left(&self) -> &EventCount {
        &self.left
    }

    /// To be asked who holds the gate.
    pub fn holder(&self) -> Holder<'_> {
        self.gate.holder()
    }

    /// The writer that died, if therefore no thread can acquire the lock until it is reset. Only while no thread has
    /// it.
    fn broken_by(&self) -> Option<Owner> {
        let writer = Owner::from_bits(self.writing.load(Ordering::Acquire));
        let raises = self.policy.load(Ordering::Relaxed) != OnOwnerDeath::Recover as u32;
        (!writer.is_none() && raises).then_some(writer)
    }

    /// For the only owner of a lock.
    ///
    /// # Errors
    /// If it is broken.
    pub(super) fn check(&mut self) -> Result<(), Owner> {
        self.broken_by().map_or(Ok(()), Err)
    }
}

impl<R: Readers> RwLock<R> {
    /// Passes the gate, waiting as long as `patience` allows.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn pass<H: Home>(&self, patience: &Patience<'_>) -> Result<Passed<'_, H, R>, LockError> {
        // That a holder died there is of no interest: whether it wrote says `writing`.
        self.gate.acquire_scoped::<H>(patience)?;
        let passed = Passed { lock: self, dead: self.owner().unwrap_or_default(), home: PhantomData };
        match self.broken_by() {
            Some(dead) => Err(LockError::OwnerDied(dead)),
            None => Ok(passed),
        }
    }

    /// The same if the gate is open and there is nothing to tell.
    #[inline]
    fn pass_now<H: Home>(&self) -> Option<Passed<'_, H, R>> {
        if !self.gate.try_acquire_scoped::<H>() {
            return None;
        }
        let passed = Passed { lock: self, dead: Owner::default(), home: PhantomData };
        (self.writing.load(Ordering::Relaxed) == 0).then_some(passed)
    }

    /// Acquires the lock for reading if that is possible now.
    #[inline]
    pub fn try_read_now<H: Home>(&self) -> Option<Reader> {
        self.pass_now::<H>()?.read().ok().map(|(reader, _)| reader)
    }

    /// Acquires the lock for writing if that is possible now. End it by [`end_write`](Self::end_write).
    #[inline]
    pub fn try_write_now<H: Home>(&self) -> bool {
        self.pass_now::<H>().is_some_and(|passed| passed.write().is_ok())
    }

    /// Acquires the lock for reading.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn read<H: Home>(&self, patience: &Patience<'_>) -> Result<(Reader, Acquired), LockError> {
        self.insist(patience, self.pass::<H>(patience)?, Passed::read)
    }

    /// Acquires the lock for writing. End it by [`end_write`](Self::end_write).
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn write<H: Home>(&self, patience: &Patience<'_>) -> Result<Acquired, LockError> {
        let passed = self.pass::<H>(patience)?;
        if patience.may_spin() {
            spin_until(|| self.readers.count() == 0);
        }
        self.insist(patience, passed, Passed::write)
    }

    /// With the gate passed, makes attempts as readers leave.
    fn insist<'a, H: Home, T>(
        &self,
        patience: &Patience<'_>,
        passed: Passed<'a, H, R>,
        attempt: impl Fn(Passed<'a, H, R>) -> Result<T, Passed<'a, H, R>>,
    ) -> Result<T, LockError> {
        let passed = Cell::new(Some(passed));
        let attempt = || attempt(passed.take()?).map_err(|still| passed.set(Some(still))).ok();
        if let Some(done) = attempt() {
            return Ok(done);
        }
        let bury = || {
            self.readers.bury::<H>();
            attempt()
        };
        match self.left.wait_for(patience, H::SCOPE, attempt, bury) {
            Err(Stopped::TimedOut) => bury().ok_or(Stopped::TimedOut.into()),
            result => Ok(result?),
        }
    }

    /// A reader leaves.
    #[inline]
    pub fn end_read<H: Home>(&self, reader: Reader) {
        crash_point("rwlock.read.before-leave");
        self.readers.leave(reader);
        crash_point("rwlock.read.left");
        self.left.notify_one(H::SCOPE);
    }

    /// A writer has changed what it would.
    #[inline]
    pub fn end_write<H: Home>(&self) {
        self.writing.store(0, Ordering::Release);
        crash_point("rwlock.write.done");
        self.leave_gate::<H>();
    }

    /// The writer cannot complete its change, as if it had died.
    #[cold]
    pub fn abandon_write<H: Home>(&self) {
        self.leave_gate::<H>();
    }

    #[inline]
    fn leave_gate<H: Home>(&self) {
        // Cannot fail: the caller has passed the gate.
        let _ = self.gate.release::<H>();
    }

    /// Repairs a broken lock. Does nothing if it is not broken.
    ///
    /// # Errors
    /// If a writer has it.
    pub fn reset<H: Home>(&self) -> Result<(), ResetError> {
        let Some(writer) = self.owner() else { return Ok(()) };
        if self.gate.owner() == Some(writer) && !H::is_dead(writer) {
            return Err(ResetError(writer));
        }
        // Others have the gate for moments, to find that the lock is broken.
        match self.gate.acquire_scoped::<H>(&Patience::none().at_least_a_second()) {
            Ok(_) => {
                self.writing.store(0, Ordering::Release);
                self.leave_gate::<H>();
                Ok(())
            }
            Err(_) => Err(ResetError(self.gate.owner().unwrap_or_default())),
        }
    }

    /// The thread that writes, or died as it did.
    pub fn owner(&self) -> Option<Owner> {
        let writer = Owner::from_bits(self.writing.load(Ordering::Acquire));
        (!writer.is_none()).then_some(writer)
    }

    /// Whether a writer was found to have died with it.
    pub fn is_broken(&self) -> bool {
        self.broken_by().is_some_and(|writer| self.gate.owner() != Some(writer))
    }

    /// A snapshot of its counters.
    pub fn statistics(&self) -> RwLockStatistics {
        let gate = self.gate.statistics();
        RwLockStatistics {
            writer: self.owner(),
            broken: self.is_broken(),
            readers: self.readers.count(),
            waiting: gate.waiting.saturating_add(self.left.sleepers()),
            contended: gate.contended,
        }
    }
}

/// The gate is passed, which keeps all others out. Dropped, it is left as it was.
#[must_use]
pub struct Passed<'a, H: Home, R: Readers> {
    lock: &'a RwLock<R>,
    /// The writer that died before, if the lock recovers from that.
    dead: Owner,
    home: PhantomData<fn() -> H>,
}

impl<'a, H: Home, R: Readers> Passed<'a, H, R> {
    /// What the next one is told.
    fn how(&self) -> Acquired {
        if self.dead.is_none() { Acquired::Clean } else { Acquired::FromDead(self.dead) }
    }

    /// Removes what dead readers left.
    pub fn bury(&self) {
        self.lock.readers.bury::<H>();
    }

    /// Becomes a reader.
    ///
    /// # Errors
    /// If there are too many, the same again.
    #[inline]
    pub fn read(self) -> Result<(Reader, Acquired), Self> {
        let Some(me) = H::try_me() else { return Err(self) };
        let Some(reader) = self.lock.readers.enter(me) else { return Err(self) };
        crash_point("rwlock.read.entered");
        let how = self.how();
        if !self.dead.is_none() {
            self.lock.writing.store(0, Ordering::Relaxed);
        }
        drop(self);
        Ok((reader, how))
    }

    /// Becomes the writer, which keeps the gate.
    ///
    /// # Errors
    /// If there are readers, the same again.
    #[inline]
    pub fn write(self) -> Result<Acquired, Self> {
        if self.lock.readers.count() != 0 {
            return Err(self);
        }
        let Some(me) = H::try_me() else { return Err(self) };
        let how = self.how();
        self.lock.writing.store(me.to_bits(), Ordering::SeqCst);
        // From now on a death is told.
        let begun = ManuallyDrop::new(self);
        let end = OnUnwind::new(|| begun.lock.abandon_write::<H>());
        crash_point("rwlock.write.begun");
        end.done();
        Ok(how)
    }
}

impl<H: Home, R: Readers> Drop for Passed<'_, H, R> {
    #[inline]
    fn drop(&mut self) {
        // In a model, a thread that died leaves nothing.
        if !crate::crash::has_died() {
            self.lock.leave_gate::<H>();
        }
    }
}

impl<H: Home, R: Readers> core::fmt::Debug for Passed<'_, H, R> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Passed").field("dead", &self.dead).finish_non_exhaustive()
    }
}
