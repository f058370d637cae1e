//! The methods of a lock for readers and writers, between processes or threads.

/// The methods of a lock for readers and writers. Given in the type: `label`; `state()`, what it says of itself;
/// `try_read_now()` and `try_write_now()`; and, for tasks, `try_pass()` and `opened()`.
macro_rules! rw_lock_methods {
    (
        $name:ident<$t:ident $(: $bound:path)?>,
        read = $reads:ty, |$this:ident, $read:ident| $read_guard:expr,
        write = $writes:ty, |$this2:ident, $write:ident| $write_guard:expr,
        home = $home:ty, begin = [$($begin:tt)*] $(,)?
    ) => {
        impl<$t $(: $bound)?> $name<$t> {
            /// Sets the name under which a report of a [deadlock](crate::deadlock) lists the lock. Only the first call
            /// has an effect.
            pub fn named(self, name: &str) -> Self {
                self.label().name(name);
                self
            }

            fn call<'a>(&'a self, place: &'a Location<'a>) -> Call<'a> {
                let (holder, label) = (self.state().holder(), self.label());
                Call { holder, kind: "RwLock", label, reentrant: false, insists: false, place }
            }

            #[cold]
            fn wait_read(&self, patience: &Patience<'_>, place: &Location<'_>) -> Result<$reads, AcquireError> {
                let $this = self;
                let wait = |patience: &Patience<'_>| self.state().read$($begin)*(patience);
                let $read = self.call(place).wait::<$home, _>(patience, wait)?;
                $read_guard
            }

            #[cold]
            fn wait_write(&self, patience: &Patience<'_>, place: &Location<'_>) -> Result<$writes, AcquireError> {
                let $this2 = self;
                let wait = |patience: &Patience<'_>| self.state().write$($begin)*(patience);
                let $write = self.call(place).wait::<$home, _>(patience, wait)?;
                $write_guard
            }

            /// Waits until there is no writer, and gives shared access.
            ///
            /// # Errors
            /// If a writer died with it, or the wait would never end; see [`AcquireError`].
            #[inline]
            #[track_caller]
            pub fn read(&self) -> Result<$reads, AcquireError> {
                match self.try_read_now() {
                    Some(guard) => guard,
                    None => self.wait_read(&Patience::forever(), Location::caller()),
                }
            }

            /// Gives shared access if there is no writer now, and none that waits.
            ///
            /// # Errors
            /// See [`AcquireError`].
            #[inline]
            pub fn try_read(&self) -> Result<$reads, AcquireError> {
                match self.try_read_now() {
                    Some(guard) => guard,
                    None => self.wait_read(&Patience::none(), Location::caller()),
                }
            }

            /// Waits for at most `timeout` until there is no writer, and gives shared access.
            ///
            /// # Errors
            /// See [`AcquireError`].
            pub fn read_timeout(&self, timeout: Duration) -> Result<$reads, AcquireError> {
                match self.try_read_now() {
                    Some(guard) => guard,
                    None => self.wait_read(&until(timeout), Location::caller()),
                }
            }

            /// Waits until there are no readers and no other writer, and gives exclusive access.
            ///
            /// # Errors
            /// If a writer died with it, or the wait would never end; see [`AcquireError`].
            #[inline]
            #[track_caller]
            pub fn write(&self) -> Result<$writes, AcquireError> {
                match self.try_write_now() {
                    Some(guard) => guard,
                    None => self.wait_write(&Patience::forever(), Location::caller()),
                }
            }

            /// Gives exclusive access if there are no readers and no other writer now.
            ///
            /// # Errors
            /// See [`AcquireError`].
            #[inline]
            pub fn try_write(&self) -> Result<$writes, AcquireError> {
                match self.try_write_now() {
                    Some(guard) => guard,
                    None => self.wait_write(&Patience::none(), Location::caller()),
                }
            }

            /// Waits for at most `timeout` until there are no readers and no other writer, and gives exclusive access.
            ///
            /// # Errors
            /// See [`AcquireError`].
            pub fn write_timeout(&self, timeout: Duration) -> Result<$writes, AcquireError> {
                match self.try_write_now() {
                    Some(guard) => guard,
                    None => self.wait_write(&until(timeout), Location::caller()),
                }
            }

            /// Repairs a lock whose writer died. Does nothing if the lock is not broken.
            ///
            /// # Errors
            /// If a writer has it.
            pub fn reset(&self) -> Result<(), HeldByTheLiving> {
                let reset = self.state().reset$($begin)*();
                reset.map_err(|ResetError(holder)| HeldByTheLiving { pid: OwnerDied::from(holder).pid })
            }

            /// Returns whether the lock is broken: a writer died with it, and it was not reset since.
            pub fn is_broken(&self) -> bool {
                self.state().is_broken()
            }

            /// Returns statistics of the lock.
            pub fn statistics(&self) -> RwLockStatistics {
                self.state().statistics()
            }
        }

        #[cfg(feature = "tokio")]
        impl<$t $(: $bound)?> $name<$t> {
            /// As [`read`](Self::read), without blocking the thread. If the future is dropped before it is ready, the
            /// lock was not acquired.
            ///
            /// # Errors
            /// If a writer died with it.
            pub async fn read_async(&self) -> Result<$reads, AcquireError> {
                let mut passed = Some(self.passed_async().await?);
                let attempt = || match passed.take()?.read() {
                    Ok(read) => Some(read),
                    Err(still) => {
                        still.bury();
                        passed = Some(still);
                        None
                    }
                };
                let $this = self;
                let $read = crate::reactor::wait_on::<$home, _>(self.left(), attempt).await;
                $read_guard
            }

            /// As [`write`](Self::write), without blocking the thread. If the future is dropped before it is ready, the
            /// lock was not acquired.
            ///
            /// # Errors
            /// If a writer died with it.
            pub async fn write_async(&self) -> Result<$writes, AcquireError> {
                let mut passed = Some(self.passed_async().await?);
                let attempt = || match passed.take()?.write() {
                    Ok(write) => Some(write),
                    Err(still) => {
                        still.bury();
                        passed = Some(still);
                        None
                    }
                };
                let $this2 = self;
                let $write = crate::reactor::wait_on::<$home, _>(self.left(), attempt).await;
                $write_guard
            }

            fn left(&self) -> &EventCount {
                self.state().left()
            }
        }

        impl<$t $(: $bound)?> fmt::Debug for $name<$t> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let now = self.statistics();
                let mut f = f.debug_struct(stringify!($name));
                f.field("readers", &now.readers).field("is_written", &now.writer.is_some());
                f.field("is_broken", &now.broken).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use rw_lock_methods;

/// How a task passes the gate of such a lock.
macro_rules! pass_async {
    ($name:ident<$t:ident $(: $bound:path)?>, $passed:ty, $home:ty) => {
        #[cfg(feature = "tokio")]
        impl<$t $(: $bound)?> $name<$t> {
            async fn passed_async(&self) -> Result<$passed, AcquireError> {
                let attempt = || match self.try_pass().map_err(AcquireError::from) {
                    Err(AcquireError::TimedOut) => None,
                    result => Some(result),
                };
                crate::reactor::wait_on::<$home, _>(self.opened(), attempt).await
            }
        }
    };
}
pub(crate) use pass_async;
