//! What every lock can do, be it re-entrant or not, between processes or threads.

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
            /// Gives it a name, by which a report of a [deadlock](crate::deadlock) calls it. The first name stays.
            pub fn named(self, name: &str) -> Self {
                self.label().name(name);
                self
            }

            #[doc = concat!("Waits until the lock is ", $when, ", and takes it.")]
            ///
            /// # Errors
            /// When its holder died with it, or the wait would never end; see [`AcquireError`].
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

            /// Makes a lock free again whose holder died. Nothing if it is free.
            ///
            /// # Errors
            /// When its holder lives.
            pub fn reset(&self) -> Result<(), HeldByTheLiving> {
                let $this = self;
                $reset.map_err(|ResetError(holder)| HeldByTheLiving { pid: OwnerDied::from(holder).pid })
            }

            /// Whether somebody holds it, or died with it.
            pub fn is_locked(&self) -> bool {
                self.state().owner().is_some()
            }

            /// How it is.
            pub fn statistics(&self) -> LockStatistics {
                self.state().statistics()
            }
        }

        impl$(<$t $(: $bound)?>)? fmt::Debug for $name$(<$t>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("locked", &self.is_locked()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use lock_methods;
