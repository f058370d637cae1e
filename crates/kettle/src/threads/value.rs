//! A lock around a value, and the guard through which the value is seen.

/// Given in the types: `body` of the lock, an `Arc`, and `hold` of the guard, through which the value is seen.
macro_rules! around_a_value {
    ($lock:ident, $guard:ident) => {
        impl<T> Clone for $lock<T> {
            /// Another handle to the same lock.
            fn clone(&self) -> Self {
                Self { body: Arc::clone(&self.body) }
            }
        }

        impl<T> $guard<'_, T> {
            /// The holder that panicked before the lock came here, if the lock is one that recovers.
            pub fn recovered_from(guard: &Self) -> Option<OwnerDied> {
                guard.hold.recovered_from().map(OwnerDied::from)
            }
        }

        impl<T> std::ops::Deref for $guard<'_, T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.hold
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }

        impl<T: fmt::Display> fmt::Display for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    };
}
pub(super) use around_a_value;
