//! What one of several threads does, once.

use std::fmt;
use std::sync;

use super::{Mutex, OnOwnerDeath};
use crate::error::AcquireError;

/// A value that one of several threads computes, when it is first asked for.
///
/// It is in place and needs no allocation, so it can be a `static`.
///
/// ```
/// use std::collections::HashMap;
///
/// use kettle::threads::OnceLock;
///
/// static PRICES: OnceLock<HashMap<&str, u32>> = OnceLock::new();
///
/// let price = |of| PRICES.get_or_init(|| HashMap::from([("bread", 3), ("milk", 1)])).map(|prices| prices[of]);
/// assert_eq!(price("bread")?, 3);
/// # Ok::<(), kettle::AcquireError>(())
/// ```
///
/// While a thread computes the value, all others that ask for it wait; if it panics, the next one computes it. A
/// computation must not ask for the value itself: it would wait for itself. In contrast to those of the standard
/// library, it may [fail](Self::get_or_try_init) or [await](Self::get_or_init_async). Between processes there is an
/// [`OnceLock`](crate::OnceLock) for plain values.
pub struct OnceLock<T> {
    /// Held while the value is computed.
    turn: Mutex,
    value: sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    /// Creates one without a value.
    #[track_caller]
    pub const fn new() -> Self {
        Self { turn: Mutex::of_kind("OnceLock", (), OnOwnerDeath::Recover), value: sync::OnceLock::new() }
    }

    /// Sets the name under which a report of a [deadlock](crate::deadlock) lists the computation. Only the first call
    /// has an effect.
    pub fn named(self, name: &str) -> Self {
        self.turn.label().name(name);
        self
    }

    /// Returns the value, if there is one.
    ///
    /// ```
    /// let answer = kettle::threads::OnceLock::new();
    /// assert_eq!(answer.get(), None);
    /// answer.get_or_init(|| 42)?;
    /// assert_eq!(answer.get(), Some(&42));
    /// # Ok::<(), kettle::AcquireError>(())
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Returns the value, if there is one, to be changed: no other thread can ask for it while it is borrowed
    /// exclusively.
    ///
    /// ```
    /// let mut words = kettle::threads::OnceLock::from(vec!["one"]);
    /// words.get_mut().expect("a value").push("two");
    /// assert_eq!(words.into_inner(), Some(vec!["one", "two"]));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Takes the value out, if there is one.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// The value, which was set or is set now.
    fn settle(&self, value: T) -> &T {
        self.value.get_or_init(|| value)
    }

    /// Returns the value; if there is none, `make` computes it, while others that ask for it wait.
    ///
    /// # Errors
    /// If the wait would never end; see [`AcquireError::Deadlock`].
    #[track_caller]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Result<&T, AcquireError> {
        self.get_or_try_init(|| Ok(make()))
    }

    /// As [`get_or_init`](Self::get_or_init), for a computation that may fail. Then there is still no value, and the
    /// next one that asks computes it.
    ///
    /// ```
    /// let port = kettle::threads::OnceLock::<u16>::new();
    /// let read = |text: &str| port.get_or_try_init(|| Ok::<_, Box<dyn std::error::Error>>(text.parse()?)).copied();
    /// assert!(read("none").is_err());
    /// assert_eq!(read("8080")?, 8080);
    /// assert_eq!(read("none")?, 8080);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// That of the computation; or as for `get_or_init`.
    #[track_caller]
    pub fn get_or_try_init<E: From<AcquireError>>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _turn = self.turn.acquire()?;
        match self.get() {
            Some(value) => Ok(value),
            None => Ok(self.settle(make()?)),
        }
    }

    /// As [`get_or_init`](Self::get_or_init), without blocking the thread. If the future is dropped while the value is
    /// computed, there is none, and the next one that asks computes it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), kettle::AcquireError> {
    /// let answer = kettle::threads::OnceLock::new();
    /// assert_eq!(answer.get_or_init_async(async || 42).await?, &42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for `get_or_init`.
    #[cfg(feature = "tokio")]
    pub async fn get_or_init_async(&self, make: impl AsyncFnOnce() -> T) -> Result<&T, AcquireError> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let _turn = self.turn.acquire_async().await?;
        match self.get() {
            Some(value) => Ok(value),
            None => Ok(self.settle(make().await)),
        }
    }
}

impl<T> Default for OnceLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    /// One that has this value.
    #[track_caller]
    fn from(value: T) -> Self {
        let new = Self::new();
        new.settle(value);
        new
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => f.field(value),
            None => f.field(&format_args!("<no value>")),
        };
        f.finish()
    }
}

/// Something that one of several threads does, before all of them go on.
///
/// ```
/// use kettle::threads::Once;
///
/// static SET_UP: Once = Once::new();
///
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| SET_UP.call_once(|| println!("this is printed once")));
///     }
/// });
/// assert!(SET_UP.is_completed());
/// ```
///
/// If the one that does it panics, the next one does it.
#[derive(Default)]
pub struct Once {
    done: OnceLock<()>,
}

impl Once {
    /// Creates one that is not completed.
    #[track_caller]
    pub const fn new() -> Self {
        Self { done: OnceLock::new() }
    }

    /// Sets the name under which a report of a [deadlock](crate::deadlock) lists the call. Only the first call has an
    /// effect.
    pub fn named(self, name: &str) -> Self {
        Self { done: self.done.named(name) }
    }

    /// Calls `f` if no call of this method has completed; waits while another one is in progress.
    ///
    /// # Errors
    /// If the wait would never end; see [`AcquireError::Deadlock`].
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) -> Result<(), AcquireError> {
        self.done.get_or_init(f).copied()
    }

    /// As [`call_once`](Self::call_once), without blocking the thread. If the future is dropped before `f` has
    /// completed, the next one calls it.
    ///
    /// # Errors
    /// As for `call_once`.
    #[cfg(feature = "tokio")]
    pub async fn call_once_async(&self, f: impl AsyncFnOnce()) -> Result<(), AcquireError> {
        self.done.get_or_init_async(f).await.copied()
    }

    /// Returns whether a call has completed.
    pub fn is_completed(&self) -> bool {
        self.done.get().is_some()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish()
    }
}
