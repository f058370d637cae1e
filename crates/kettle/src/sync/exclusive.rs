//! The methods of all locks, re-entrant or not, between processes or threads; and those of plain locks only.

/// Given in the type: `label`; `state()`, what it says of itself; `try_now()`, which gives a guard if the lock is free;
/// and `wait_for(patience, place, insists)`, which waits.
macro_rules! lock_methods {
    (
        $name:ident $(<$t:ident $(: $bound:path)?>)?,
        guard = $guard:ty,
        reset = |$this:ident| $reset:expr,
        when = $when:literal $(,)?
    ) => {
        impl$(<$t $(: $bound)?>)? $name$(<$t>)? {
            /// Sets the name under which a report of a [deadlock](crate::deadlock) lists the lock. Only the first call
            /// has an effect.
            pub fn named(self, name: &str) -> Self {
                self.label().name(name);
                self
            }

            #[doc = concat!("Waits until the lock is ", $when, ", and takes it.")]
            ///
            /// # Errors
            /// If its holder died with it, or the wait would never end; see [`AcquireError`].
            #[inline]
            #[track_caller]
            pub fn acquire(&self) -> Result<$guard, AcquireError> {
                match self.try_now() {
                    Some(guard) => Ok(guard),
                    None => self.wait_for(&Patience::forever(), Location::caller(), false),
                }
            }

            #[doc = concat!("Takes the lock if it is ", $when, " now.")]
            ///
            /// # Errors
            /// See [`AcquireError`].
            #[inline]
            pub fn try_acquire(&self) -> Result<$guard, AcquireError> {
                match self.try_now() {
                    Some(guard) => Ok(guard),
                    None => self.wait_for(&Patience::none(), Location::caller(), false),
                }
            }

            #[doc = concat!("Waits for so long until the lock is ", $when, ", and takes it.")]
            ///
            /// # Errors
            /// See [`AcquireError`].
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<$guard, AcquireError> {
                match self.try_now() {
                    Some(guard) => Ok(guard),
                    None => self.wait_for(&until(timeout), Location::caller(), false),
                }
            }

            /// As [`acquire`](Self::acquire), by the name that it has elsewhere in Rust.
            ///
            /// # Errors
            /// See [`AcquireError`].
            #[inline]
            #[track_caller]
            pub fn lock(&self) -> Result<$guard, AcquireError> {
                self.acquire()
            }

            /// As [`try_acquire`](Self::try_acquire), by the name that it has elsewhere in Rust.
            ///
            /// # Errors
            /// See [`AcquireError`].
            #[inline]
            pub fn try_lock(&self) -> Result<$guard, AcquireError> {
                self.try_acquire()
            }

            /// As [`acquire_timeout`](Self::acquire_timeout), by the name that it has elsewhere in Rust.
            ///
            /// # Errors
            /// See [`AcquireError`].
            pub fn lock_timeout(&self, timeout: Duration) -> Result<$guard, AcquireError> {
                self.acquire_timeout(timeout)
            }

            /// Frees a lock whose holder died. Does nothing if the lock is free.
            ///
            /// # Errors
            /// If its holder is alive.
            pub fn reset(&self) -> Result<(), HeldByTheLiving> {
                let $this = self;
                $reset.map_err(|ResetError(holder)| HeldByTheLiving { pid: OwnerDied::from(holder).pid })
            }

            /// Returns whether the lock is broken: its holder died with it, and it was not reset since.
            pub fn is_broken(&self) -> bool {
                self.state().is_broken()
            }

            /// Returns whether the lock is held, or its holder died with it.
            pub fn is_locked(&self) -> bool {
                self.state().owner().is_some()
            }

            /// Returns statistics of the lock.
            pub fn statistics(&self) -> LockStatistics {
                self.state().statistics()
            }
        }

        impl$(<$t $(: $bound)?>)? fmt::Debug for $name$(<$t>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("locked", &self.is_locked()).field("broken", &self.is_broken()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use lock_methods;

/// What a lock can do whose guard may go to another thread: so a condition waits for it, and a future may. Given in the
/// type besides what [`lock_methods`] wants: `freed()` of its `state()`, where those wait who want it; and `unscope`,
/// which says of a guard that it is a task's, so no scope of this thread ends it.
macro_rules! plain_lock_methods {
    (
        $name:ident <$t:ident $(: $bound:path)?>,
        guard = $guard:ty,
        home = $home:ty,
        unscope = |$held:ident| $unscope:expr $(,)?
    ) => {
        impl<$t $(: $bound)?> $name<$t> {
            /// For a condition, whose waiter cannot do without it.
            pub(super) fn acquire_again(&self, place: &Location<'_>) -> Result<$guard, WaitError> {
                match self.try_now().map_or_else(|| self.wait_for(&Patience::forever(), place, true), Ok) {
                    Ok(guard) => Ok(guard),
                    Err(AcquireError::OwnerDied(death)) => Err(WaitError::OwnerDied(death)),
                    Err(AcquireError::Damaged(damage)) => Err(WaitError::Damaged(damage)),
                    Err(e) => unreachable!("who waits for ever, and insists, is told nothing else: {e}"),
                }
            }

            /// Acquires the lock, and waits until it is free without blocking the thread. If the future is dropped
            /// before it is ready, the lock was not acquired.
            ///
            /// # Errors
            /// If its holder died with it.
            #[cfg(feature = "tokio")]
            pub async fn acquire_async(&self) -> Result<$guard, AcquireError> {
                let attempt = || match self.try_acquire() {
                    Err(AcquireError::TimedOut) => None,
                    result => Some(result),
                };
                let $held = crate::reactor::wait_on::<$home, _>(self.state().freed(), attempt).await?;
                $unscope;
                Ok($held)
            }

            /// As [`acquire_async`](Self::acquire_async), by the name that it has elsewhere in Rust.
            ///
            /// # Errors
            /// If its holder died with it.
            #[cfg(feature = "tokio")]
            pub async fn lock_async(&self) -> Result<$guard, AcquireError> {
                self.acquire_async().await
            }
        }
    };
}
pub(crate) use plain_lock_methods;
