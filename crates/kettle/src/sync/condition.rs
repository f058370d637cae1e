//! Condition variables.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use kettle_core::arena::Handle;
use kettle_core::damage;
use kettle_core::shared::Processes;
use kettle_core::stats::ConditionStatistics;
use kettle_core::sync;
use kettle_core::wait::{Deadline, Patience, Stopped};

use super::LockGuard;
use crate::codec::by_token;
use crate::error::{OutOfMemory, OwnerDied, SessionDamaged};
use crate::plain::Plain;
use crate::session;

/// Lets the holder of a [`Lock`](crate::Lock) wait until another thread or process has changed its value.
///
/// ```
/// let lock = kettle::Lock::new(0u32)?;
/// let changed = kettle::Condition::new()?;
/// # *lock.acquire()? = 3;
/// let guard = changed.wait_while(lock.acquire()?, |value| *value < 3)?;
/// assert_eq!(*guard, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A notification goes to the waiter that has waited longest. If that waiter's process died or the waiter gave up, the
/// notification goes to the next one.
pub struct Condition {
    body: Handle<sync::Condition>,
}

by_token!(Condition);

/// Why a wait failed. The lock is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The lock is broken: a holder died with it.
    OwnerDied(OwnerDied),
    /// There is no room for another waiter.
    TooManyWaiters,
    /// This process cannot take part in the session.
    OutOfMemory(OutOfMemory),
    /// The session's shared memory is damaged.
    Damaged(SessionDamaged),
}

impl From<sync::EnrolError> for WaitError {
    fn from(e: sync::EnrolError) -> Self {
        match e {
            sync::EnrolError::TooManyWaiters => Self::TooManyWaiters,
            sync::EnrolError::NoPart => Self::OutOfMemory(OutOfMemory::no_part()),
        }
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied(e) => e.fmt(f),
            Self::OutOfMemory(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
            Self::TooManyWaiters => write!(f, "{} wait for this condition already", sync::Condition::MAX_WAITERS),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OwnerDied(e) => Some(e),
            Self::OutOfMemory(e) => Some(e),
            Self::Damaged(e) => Some(e),
            _ => None,
        }
    }
}

impl From<OwnerDied> for WaitError {
    fn from(e: OwnerDied) -> Self {
        Self::OwnerDied(e)
    }
}

impl Condition {
    /// Creates a condition without waiters.
    ///
    /// # Errors
    /// If there is no shared memory.
    pub fn new() -> Result<Self, OutOfMemory> {
        session::join()?;
        Ok(Self::from_body(Handle::new(sync::Condition::new)?))
    }

    fn from_body(body: Handle<sync::Condition>) -> Self {
        Self { body }
    }
}

/// The methods of a condition, in either kind of memory, for the locks of that memory.
macro_rules! condition_methods {
    ($name:ident, T $(: $bound:path)?, $guard:ident, $home:ty) => {
        impl $name {
            /// Returns whether it was notified.
            #[track_caller]
            fn wait_with<'a, T$(: $bound)?>(
                &self,
                guard: $guard<'a, T>,
                patience: &Patience<'_>,
            ) -> Result<($guard<'a, T>, bool), WaitError> {
                if damage::is_marked(<$home as sync::Home>::SCOPE) {
                    return Err(WaitError::Damaged(SessionDamaged::found()));
                }
                let waiter = self.body.enrol::<$home>()?;
                let lock = $guard::lock(&guard);
                drop(guard);
                let notified = match self.body.wait::<$home>(waiter, patience) {
                    Ok(()) => true,
                    Err(Stopped::TimedOut | Stopped::Interrupted) => false,
                    Err(Stopped::Damaged) => return Err(WaitError::Damaged(SessionDamaged::found())),
                    Err(Stopped::NoPart) => return Err(sync::EnrolError::NoPart.into()),
                };
                Ok((lock.acquire_again(Location::caller())?, notified))
            }

            /// Releases the lock, waits for a notification, and acquires the lock again.
            ///
            /// The value may have changed again in between: see [`wait_while`](Self::wait_while).
            ///
            /// # Errors
            /// See [`WaitError`].
            #[track_caller]
            pub fn wait<'a, T$(: $bound)?>(&self, guard: $guard<'a, T>) -> Result<$guard<'a, T>, WaitError> {
                self.wait_with(guard, &Patience::forever()).map(|(guard, _)| guard)
            }

            /// Releases the lock, waits for a notification for at most `timeout`, and acquires the lock again. Returns
            /// whether it was notified.
            ///
            /// # Errors
            /// See [`WaitError`].
            #[track_caller]
            pub fn wait_timeout<'a, T$(: $bound)?>(
                &self,
                guard: $guard<'a, T>,
                timeout: Duration,
            ) -> Result<($guard<'a, T>, bool), WaitError> {
                self.wait_with(guard, &Patience::until(Deadline::after(timeout)))
            }

            /// Waits as long as `condition` holds for the value.
            ///
            /// # Errors
            /// See [`WaitError`].
            #[track_caller]
            pub fn wait_while<'a, T$(: $bound)?>(
                &self,
                mut guard: $guard<'a, T>,
                mut condition: impl FnMut(&T) -> bool,
            ) -> Result<$guard<'a, T>, WaitError> {
                while condition(&guard) {
                    guard = self.wait(guard)?;
                }
                Ok(guard)
            }

            /// Waits as long as `condition` holds for the value, but for at most `timeout`. Returns whether it ceased
            /// to hold.
            ///
            /// # Errors
            /// See [`WaitError`].
            #[track_caller]
            pub fn wait_timeout_while<'a, T$(: $bound)?>(
                &self,
                mut guard: $guard<'a, T>,
                timeout: Duration,
                mut condition: impl FnMut(&T) -> bool,
            ) -> Result<($guard<'a, T>, bool), WaitError> {
                let deadline = Deadline::after(timeout);
                while condition(&guard) {
                    if deadline.is_past() {
                        return Ok((guard, false));
                    }
                    guard = self.wait_with(guard, &Patience::until(deadline))?.0;
                }
                Ok((guard, true))
            }

            /// Notifies the waiter that has waited longest, if there is one. Call this while holding the lock.
            pub fn notify_one(&self) {
                self.body.notify::<$home>(1);
            }

            /// Notifies all waiters. Call this while holding the lock.
            pub fn notify_all(&self) {
                self.body.notify::<$home>(u32::MAX);
            }

            /// Returns statistics of the condition.
            pub fn statistics(&self) -> ConditionStatistics {
                self.body.statistics()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("waiting", &self.body.waiting()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use condition_methods;

condition_methods!(Condition, T: Plain, LockGuard, Processes);
