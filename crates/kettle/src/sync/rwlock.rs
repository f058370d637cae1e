//! Locks for many readers or one writer, which contain the value they protect.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::thread;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::shared::Processes;
use kettle_core::stats::RwLockStatistics;
#[cfg(feature = "tokio")]
use kettle_core::sync::LockError;
use kettle_core::sync::{self, Acquired, OnOwnerDeath, Reader, ResetError};
use kettle_core::wait::Patience;
#[cfg(feature = "tokio")]
use kettle_core::wait::{EventCount, Line};

use super::content;
use super::rw_methods::{pass_async, rw_lock_methods};
use crate::deadlock::Call;
use crate::error::{AcquireError, HeldByTheLiving, OutOfMemory, OwnerDied, SessionDamaged};
use crate::label::{Label, by_token_and_label};
use crate::plain::Plain;
use crate::queue::until;

/// A value in shared memory that many threads of all processes may read at a time, or one may change.
///
/// ```standalone_crate
/// use kettle::{AcquireError, RwLock};
///
/// kettle::task! {
///     fn double(limit: RwLock<u32>) {
///         let seen = *limit.read().expect("no writer died");
///         *limit.write().expect("no writer died") = 2 * seen;
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     let limit = RwLock::new(10)?;
///     {
///         let (first, second) = (limit.read()?, limit.read()?); // at the same time
///         assert_eq!(*first + *second, 20);
///         assert!(matches!(limit.try_write(), Err(AcquireError::TimedOut)));
///     }
///     double::start(limit.clone())?.join()?;
///     assert_eq!(*limit.read()?, 20);
///     Ok(())
/// }
/// ```
///
/// Threads are served in the order of arrival: a writer that waits keeps later readers out. So a thread must not ask
/// for a second guard while it has one.
///
/// *All or nothing.* The guard of a writer works on a copy, and writes it back when it is dropped; a writer that panics
/// or is killed before that leaves the value unchanged. The guard of a reader has a copy too.
///
/// *Death.* If a process is killed while it writes, every later attempt fails with [`OwnerDied`] until the program
/// calls [`reset`](Self::reset); with [`OnOwnerDeath::Recover`] the next one succeeds, and `recovered_from` of its
/// guard reports the death. A process that is killed while it reads, or while it waits, is of no consequence.
///
/// *Deadlocks* of threads that wait for each other's writers are detected; see [`deadlock`](crate::deadlock). Of
/// readers it is not known for which thread they read.
///
/// There is room for 64 readers at a time; others wait for them.
pub struct RwLock<T: Plain = ()> {
    body: Handle<sync::RwLock>,
    label: Label,
    value: PhantomData<fn(T) -> T>,
}

by_token_and_label!(RwLock<T: Plain>, check = content::check::<_, T>);

impl<T: Plain> RwLock<T> {
    /// Creates a free lock that contains `value`.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn new(value: T) -> Result<Self, OutOfMemory> {
        Self::with_policy(value, OnOwnerDeath::Raise)
    }

    /// As [`new`](Self::new), with the behaviour after the death of a writer.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn with_policy(value: T, on_owner_death: OnOwnerDeath) -> Result<Self, OutOfMemory> {
        let body = content::create(|| sync::RwLock::noted(on_owner_death), &value)?;
        Ok(Self::from_parts(body, Label::here()))
    }

    fn from_parts(body: Handle<sync::RwLock>, label: Label) -> Self {
        Self { body, label, value: PhantomData }
    }

    fn label(&self) -> &Label {
        &self.label
    }

    fn state(&self) -> &sync::RwLock {
        &self.body
    }

    fn load(&self) -> Result<T, AcquireError> {
        content::load(&self.body).ok_or_else(|| AcquireError::Damaged(SessionDamaged::found()))
    }

    fn read_guard(&self, (reader, how): (Reader, Acquired)) -> Result<RwLockReadGuard<'_, T>, AcquireError> {
        let reading = Reading { lock: self, reader };
        Ok(RwLockReadGuard { value: self.load()?, death: dead_in(how), reading })
    }

    fn write_guard(&self, how: Acquired) -> Result<RwLockWriteGuard<'_, T>, AcquireError> {
        let writing = Writing { lock: self };
        let (is_changed, was_panicking) = (false, thread::panicking());
        Ok(RwLockWriteGuard { value: self.load()?, is_changed, was_panicking, death: dead_in(how), writing })
    }

    #[inline]
    fn try_read_now(&self) -> Option<Result<RwLockReadGuard<'_, T>, AcquireError>> {
        self.body.try_read_now::<Processes>().map(|reader| self.read_guard((reader, Acquired::Clean)))
    }

    #[inline]
    fn try_write_now(&self) -> Option<Result<RwLockWriteGuard<'_, T>, AcquireError>> {
        self.body.try_write_now::<Processes>().then(|| self.write_guard(Acquired::Clean))
    }

    #[cfg(feature = "tokio")]
    fn try_pass(&self) -> Result<sync::Passed<'_, Processes, sync::Noted>, LockError> {
        let passed = self.body.pass::<Processes>(&Patience::none())?;
        self.body.gate().unscope();
        Ok(passed)
    }

    #[cfg(feature = "tokio")]
    fn opened(&self) -> &Line {
        self.body.gate().freed()
    }
}

fn dead_in(how: Acquired) -> Option<OwnerDied> {
    match how {
        Acquired::Clean => None,
        Acquired::FromDead(owner) => Some(owner.into()),
    }
}

rw_lock_methods!(
    RwLock<T: Plain>,
    read = RwLockReadGuard<'_, T>, |this, read| this.read_guard(read),
    write = RwLockWriteGuard<'_, T>, |this, how| this.write_guard(how),
    home = Processes, begin = [::<Processes>],
);
pass_async!(RwLock<T: Plain>, sync::Passed<'_, Processes, sync::Noted>, Processes);

/// The right to read.
struct Reading<'a, T: Plain> {
    lock: &'a RwLock<T>,
    reader: Reader,
}

impl<T: Plain> Drop for Reading<'_, T> {
    fn drop(&mut self) {
        self.lock.body.end_read::<Processes>(self.reader);
    }
}

/// The right to write.
struct Writing<'a, T: Plain> {
    lock: &'a RwLock<T>,
}

impl<T: Plain> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        self.lock.body.end_write::<Processes>();
    }
}

/// Shared access to the value of a [`RwLock`]. Dropping it releases the lock.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct RwLockReadGuard<'a, T: Plain> {
    value: T,
    death: Option<OwnerDied>,
    #[expect(dead_code, reason = "it is dropped")]
    reading: Reading<'a, T>,
}

/// Exclusive access to the value of a [`RwLock`]. Dropping it writes the value back and releases the lock.
///
/// A guard that is dropped by a panic leaves the value unchanged.
#[must_use = "the lock is free again as soon as its guard is dropped"]
pub struct RwLockWriteGuard<'a, T: Plain> {
    value: T,
    is_changed: bool,
    was_panicking: bool,
    death: Option<OwnerDied>,
    /// Dropped after the value was written back.
    writing: Writing<'a, T>,
}

impl<T: Plain> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.is_changed = true;
        &mut self.value
    }
}

impl<T: Plain> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        let is_half_done = thread::panicking() && !self.was_panicking;
        if self.is_changed && !is_half_done {
            content::store(&self.writing.lock.body, &self.value);
        }
    }
}

macro_rules! guards {
    ($($guard:ident),+) => {$(
        impl<T: Plain> $guard<'_, T> {
            /// Returns the writer that died before, if the lock recovers from that and this is the first guard since.
            pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
                guard.death
            }
        }

        impl<T: Plain> Deref for $guard<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.value
            }
        }

        impl<T: Plain + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.value.fmt(f)
            }
        }

        impl<T: Plain + fmt::Display> fmt::Display for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.value.fmt(f)
            }
        }
    )+};
}

guards!(RwLockReadGuard, RwLockWriteGuard);
