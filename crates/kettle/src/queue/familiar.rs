//! The methods of queues by the names that they have elsewhere in Rust.

/// For a queue whose items are `$t`: what it asks of those that are put, and of those that are taken.
macro_rules! familiar_names {
    ($name:ident<$t:ident>, put: [$($put:path),*], get: [$($get:path),*]) => {
        impl<$t> $name<$t> {
            /// As [`shutdown`](Self::shutdown).
            pub fn close(&self) {
                self.shutdown();
            }

            /// As [`is_shut_down`](Self::is_shut_down).
            pub fn is_closed(&self) -> bool {
                self.is_shut_down()
            }

            /// As [`maxsize`](Self::maxsize).
            pub fn capacity(&self) -> Option<u32> {
                self.maxsize()
            }
        }

        impl<$t: $($put +)*> $name<$t> {
            /// As [`put`](Self::put).
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            #[inline]
            pub fn send(&self, item: $t) -> Result<(), PutError<$t>> {
                self.put(item)
            }

            /// As [`try_put`](Self::try_put).
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            pub fn try_send(&self, item: $t) -> Result<(), PutError<$t>> {
                self.try_put(item)
            }

            /// As [`put_timeout`](Self::put_timeout).
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            pub fn send_timeout(&self, item: $t, timeout: Duration) -> Result<(), PutError<$t>> {
                self.put_timeout(item, timeout)
            }

            /// As [`put_async`](Self::put_async).
            ///
            /// # Errors
            /// See [`PutError`], which returns the item.
            #[cfg(feature = "tokio")]
            pub async fn send_async(&self, item: $t) -> Result<(), PutError<$t>> {
                self.put_async(item).await
            }
        }

        impl<$t: $($get +)*> $name<$t> {
            /// As [`get`](Self::get).
            ///
            /// # Errors
            /// See [`GetError`].
            #[inline]
            pub fn recv(&self) -> Result<$t, GetError> {
                self.get()
            }

            /// As [`try_get`](Self::try_get).
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn try_recv(&self) -> Result<$t, GetError> {
                self.try_get()
            }

            /// As [`get_timeout`](Self::get_timeout).
            ///
            /// # Errors
            /// See [`GetError`].
            pub fn recv_timeout(&self, timeout: Duration) -> Result<$t, GetError> {
                self.get_timeout(timeout)
            }

            /// As [`get_async`](Self::get_async).
            ///
            /// # Errors
            /// See [`GetError`].
            #[cfg(feature = "tokio")]
            pub async fn recv_async(&self) -> Result<$t, GetError> {
                self.get_async().await
            }
        }
    };
}
pub(crate) use familiar_names;
