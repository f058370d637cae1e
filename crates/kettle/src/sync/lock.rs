//! Mutual exclusion around data.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::thread;
use std::time::Duration;

use bytemuck::checked;
use kettle_core::arena::{Handle, participants};
use kettle_core::deadlock::Wanted;
use kettle_core::shared::{Processes, cell};
use kettle_core::stats::LockStatistics;
use kettle_core::sync::{self, OnOwnerDeath};
use kettle_core::wait::Patience;

use super::{acquired, only_death};
use crate::codec::by_token;
use crate::deadlock;
use crate::error::{AcquireError, HeldByTheLiving, OutOfMemory, OwnerDied};
use crate::plain::Plain;
use crate::queue::until;
use crate::session;

/// A value in shared memory that one at a time may look at and change: of all processes and all their threads.
///
/// ```
/// let tickets = kettle::Lock::new(10u32)?;
/// {
///     let mut left = tickets.acquire()?;
///     *left -= 1;
/// }
/// assert_eq!(*tickets.acquire()?, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// *All or nothing.* The guard works on a copy, and puts it back when it is dropped. So a holder that panics, or is
/// killed before that, leaves the value as it was.
///
/// *Death.* If a process is killed while it holds the lock, the others do not wait for ever: each `acquire` says
/// [`OwnerDied`], until somebody has looked at the matter and called [`reset`](Self::reset). With
/// [`OnOwnerDeath::Recover`] the next one simply gets the lock, and [`LockGuard::recovered_from`] tells of the death.
pub struct Lock<T: Plain = ()> {
    body: Handle<sync::Lock>,
    value: PhantomData<fn(T) -> T>,
}

by_token!(Lock<T: Plain>, check = |body: &Handle<sync::Lock>| {
    let there = size_of_val(cell::words(body));
    if there == cell::tail_for(size_of::<T>()) { Ok(()) } else { Err("this is a lock around something else") }
});

impl<T: Plain> Lock<T> {
    /// A free lock around `value`.
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn new(value: T) -> Result<Self, OutOfMemory> {
        Self::with_policy(value, OnOwnerDeath::Raise)
    }

    /// The same, and what is to happen when its holder dies.
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn with_policy(value: T, on_owner_death: OnOwnerDeath) -> Result<Self, OutOfMemory> {
        session::join()?;
        let body = cell::with_data(size_of::<T>(), || sync::Lock::new(on_owner_death))?;
        let lock = Self::from_body(body);
        lock.store(&value);
        Ok(lock)
    }

    fn from_body(body: Handle<sync::Lock>) -> Self {
        Self { body, value: PhantomData }
    }

    pub(crate) fn body(&self) -> &Handle<sync::Lock> {
        &self.body
    }

    fn store(&self, value: &T) {
        cell::store(cell::words(&self.body), 0, bytemuck::bytes_of(value));
    }

    fn load(&self) -> T {
        with_buffer(size_of::<T>(), |bytes| {
            cell::load(cell::words(&self.body), 0, bytes);
            // Only whole words are ever stored, so no field of it was half written, also not by one who was killed.
            checked::try_pod_read_unaligned(bytes).expect("what stands in a Lock<T> was put there as a T")
        })
    }

    #[track_caller]
    pub(super) fn acquire_with(&self, patience: &Patience<'_>) -> Result<LockGuard<'_, T>, AcquireError> {
        let body = &self.body;
        if body.try_acquire_now::<Processes>() {
            return Ok(LockGuard::new(self, None));
        }
        let wanted = Wanted { lock: body, reentrant: false, insists: true };
        let acquire = |p: &Patience<'_>| body.acquire::<Processes>(p);
        acquired(deadlock::acquire(body, ("Lock", wanted), patience, Location::caller(), acquire))
            .map(|death| LockGuard::new(self, death))
    }

    /// Waits until the lock is free, and takes it.
    ///
    /// # Errors
    /// When its holder died with it.
    #[track_caller]
    pub fn acquire(&self) -> Result<LockGuard<'_, T>, OwnerDied> {
        only_death(self.acquire_with(&Patience::forever()))
    }

    /// Takes the lock if it is free now.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn try_acquire(&self) -> Result<LockGuard<'_, T>, AcquireError> {
        self.acquire_with(&Patience::none())
    }

    /// Waits for so long until the lock is free, and takes it.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<LockGuard<'_, T>, AcquireError> {
        self.acquire_with(&until(timeout))
    }

    /// Waits until the lock is free without blocking the thread, and takes it. Dropped before it is ready, the future
    /// has taken nothing.
    ///
    /// # Errors
    /// When its holder died with it.
    #[cfg(feature = "tokio")]
    pub async fn acquire_async(&self) -> Result<LockGuard<'_, T>, OwnerDied> {
        let attempt = || match self.try_acquire() {
            Err(AcquireError::TimedOut) => None,
            result => Some(result),
        };
        only_death(crate::reactor::wait_on(self.body.freed(), attempt).await)
    }

    /// Makes a lock free again whose holder died. Nothing if it is free. The value is what the last one left who gave
    /// the lock back.
    ///
    /// # Errors
    /// When its holder lives.
    pub fn reset(&self) -> Result<(), HeldByTheLiving> {
        let living = |e: sync::ResetError| HeldByTheLiving { pid: participants::pid_of(e.0) };
        self.body.reset::<Processes>().map_err(living)
    }

    /// Whether somebody holds it, or died with it.
    pub fn is_locked(&self) -> bool {
        self.body.owner().is_some()
    }

    /// How it is.
    pub fn statistics(&self) -> LockStatistics {
        self.body.statistics()
    }
}

/// Gives `f` as many bytes: from the stack if they are few, as they are in nearly all cases.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut few = [0; 256];
    match few.get_mut(..len) {
        Some(bytes) => f(bytes),
        None => f(&mut vec![0; len]),
    }
}

impl<T: Plain> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

/// The right to the value of a [`Lock`]; dropping it puts the value back and frees the lock.
///
/// A guard that is dropped because its holder panics leaves the value as it was.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct LockGuard<'a, T: Plain> {
    lock: &'a Lock<T>,
    value: T,
    is_changed: bool,
    was_panicking: bool,
    death: Option<OwnerDied>,
}

impl<'a, T: Plain> LockGuard<'a, T> {
    fn new(lock: &'a Lock<T>, death: Option<OwnerDied>) -> Self {
        Self { lock, value: lock.load(), is_changed: false, was_panicking: thread::panicking(), death }
    }

    /// The holder that died with the lock before it came here, if the lock is one that recovers.
    pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
        guard.death
    }

    pub(super) fn lock(guard: &Self) -> &'a Lock<T> {
        guard.lock
    }
}

impl<T: Plain> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Plain> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.is_changed = true;
        &mut self.value
    }
}

impl<T: Plain> Drop for LockGuard<'_, T> {
    fn drop(&mut self) {
        let is_half_done = thread::panicking() && !self.was_panicking;
        if self.is_changed && !is_half_done {
            self.lock.store(&self.value);
        }
        // Somebody may have released it in our place, from Python say; then it is free already.
        let _ = self.lock.body.release::<Processes>();
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Plain + fmt::Display> fmt::Display for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
