//! What one of several processes does, once.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use kettle_core::damage::{self, What};
use kettle_core::shared::cell;
use kettle_core::sync;
use kettle_core::sys::futex::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Lock, OnOwnerDeath, content};
use crate::error::{AcquireError, OutOfMemory, SessionDamaged, expect_sound};
use crate::label::{self, Label};
use crate::plain::Plain;
use crate::session;

/// A value in shared memory that one of several processes computes, when it is first asked for.
///
/// ```standalone_crate
/// use kettle::OnceLock;
///
/// kettle::task! {
///     fn seed(seed: OnceLock<u64>) -> u64 {
///         seed.get_or_init(|| std::process::id().into()).expect("no deadlock")
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     let common = OnceLock::new()?;
///     let processes = [seed::start(common.clone())?, seed::start(common.clone())?];
///     let seeds = processes.map(|process| process.join().expect("a seed"));
///     assert_eq!(seeds[0], seeds[1]);
///     assert_eq!(common.get(), Some(seeds[0]));
///     Ok(())
/// }
/// ```
///
/// While a thread computes the value, all others that ask for it wait. If that thread panics, or its process is killed,
/// the next one computes it. A computation must not ask for the value itself: it would wait for itself.
///
/// Clones are handles to the same value. Between threads there is a [`threads::OnceLock`](crate::threads::OnceLock),
/// whose value may be of any type.
pub struct OnceLock<T: Plain> {
    /// Held while the value is computed. Its body is followed by the state, in a word, and the value.
    turn: Lock,
    value: PhantomData<fn() -> T>,
}

/// Where the value stands behind the lock's body.
const VALUE: usize = size_of::<u64>();
const UNSET: u64 = 0;
const SET: u64 = 1;

impl<T: Plain> OnceLock<T> {
    /// Creates one without a value.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn new() -> Result<Self, OutOfMemory> {
        session::join()?;
        // Nothing is half done when a process dies: the value counts from the moment at which the state is set.
        let body = cell::with_data(VALUE + size_of::<T>(), || sync::Lock::new(OnOwnerDeath::Recover))?;
        Ok(Self::around(Lock::from_parts(body, Label::here())))
    }

    fn around(turn: Lock) -> Self {
        Self { turn, value: PhantomData }
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
    /// let answer = kettle::OnceLock::<u32>::new()?;
    /// assert_eq!(answer.get(), None);
    /// answer.get_or_init(|| 42)?;
    /// assert_eq!(answer.get(), Some(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If the session's shared memory is damaged.
    pub fn get(&self) -> Option<T> {
        expect_sound(Scope::Shared);
        self.load().unwrap_or_else(|damage| panic!("{damage}"))
    }

    /// The value, if there is one; an error if what is there is none.
    fn load(&self) -> Result<Option<T>, SessionDamaged> {
        match cell::words(self.turn.body())[0].load(Ordering::Acquire) {
            UNSET => Ok(None),
            SET => content::load_at(self.turn.body(), VALUE).map(Some).ok_or_else(SessionDamaged::found),
            other => {
                damage::mark(Scope::Shared, What::Object, self.turn.body().off().to_bits(), other);
                Err(SessionDamaged::found())
            }
        }
    }

    fn store(&self, value: &T) {
        content::store_at(self.turn.body(), VALUE, value);
        cell::words(self.turn.body())[0].store(SET, Ordering::Release);
    }

    /// Returns the value; if there is none, `make` computes it, while others that ask for it wait.
    ///
    /// # Errors
    /// If the wait would never end, or this process cannot wait; see [`AcquireError`].
    #[track_caller]
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Result<T, AcquireError> {
        self.get_or_try_init(|| Ok(make()))
    }

    /// As [`get_or_init`](Self::get_or_init), for a computation that may fail. Then there is still no value, and the
    /// next one that asks computes it.
    ///
    /// ```
    /// let port = kettle::OnceLock::<u16>::new()?;
    /// let read = |text: &str| port.get_or_try_init(|| Ok::<_, Box<dyn std::error::Error>>(text.parse()?));
    /// assert!(read("none").is_err());
    /// assert_eq!(read("8080")?, 8080);
    /// assert_eq!(read("none")?, 8080);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// That of the computation; or as for `get_or_init`.
    #[track_caller]
    pub fn get_or_try_init<E: From<AcquireError>>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some(value) = self.load().map_err(AcquireError::Damaged)? {
            return Ok(value);
        }
        let _turn = self.turn.acquire()?;
        if let Some(value) = self.load().map_err(AcquireError::Damaged)? {
            return Ok(value);
        }
        let value = make()?;
        self.store(&value);
        Ok(value)
    }

    /// As [`get_or_init`](Self::get_or_init), without blocking the thread. If the future is dropped while the value is
    /// computed, there is none, and the next one that asks computes it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let answer = kettle::OnceLock::new()?;
    /// assert_eq!(answer.get_or_init_async(async || 42u32).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for `get_or_init`.
    #[cfg(feature = "tokio")]
    pub async fn get_or_init_async(&self, make: impl AsyncFnOnce() -> T) -> Result<T, AcquireError> {
        if let Some(value) = self.load().map_err(AcquireError::Damaged)? {
            return Ok(value);
        }
        let _turn = self.turn.acquire_async().await?;
        if let Some(value) = self.load().map_err(AcquireError::Damaged)? {
            return Ok(value);
        }
        let value = make().await;
        self.store(&value);
        Ok(value)
    }
}

impl<T: Plain> Clone for OnceLock<T> {
    /// Another handle to the same value.
    fn clone(&self) -> Self {
        Self::around(self.turn.clone())
    }
}

impl<T: Plain> Serialize for OnceLock<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (label::Outgoing(self.turn.body()), self.turn.label()).serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for OnceLock<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (label::Incoming(body), label) = Deserialize::deserialize(deserializer)?;
        content::check_len(&body, VALUE + size_of::<T>()).map_err(serde::de::Error::custom)?;
        Ok(Self::around(Lock::from_parts(body, label)))
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("OnceLock");
        match self.load() {
            Ok(Some(value)) => f.field(&value),
            Ok(None) => f.field(&format_args!("<no value>")),
            Err(_) => f.field(&format_args!("<damaged>")),
        };
        f.finish()
    }
}

/// Something that one of several processes does, before all of them go on.
///
/// ```standalone_crate
/// use kettle::{Once, Value};
///
/// kettle::task! {
///     fn set_up(once: Once, times: Value<u64>) {
///         once.call_once(|| _ = times.fetch_add(1)).expect("no deadlock");
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     kettle::init();
///     let (once, times) = (Once::new()?, Value::new(0)?);
///     for process in [set_up::start(once.clone(), times.clone())?, set_up::start(once.clone(), times.clone())?] {
///         process.join()?;
///     }
///     assert!(once.is_completed());
///     assert_eq!(times.get(), 1);
///     Ok(())
/// }
/// ```
///
/// If the one that does it panics, or its process is killed, the next one does it.
#[derive(Clone)]
pub struct Once {
    done: OnceLock<()>,
}

impl Once {
    /// Creates one that is not completed.
    ///
    /// # Errors
    /// If there is no shared memory.
    #[track_caller]
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self { done: OnceLock::new()? })
    }

    /// Sets the name under which a report of a [deadlock](crate::deadlock) lists the call. Only the first call has an
    /// effect.
    pub fn named(self, name: &str) -> Self {
        Self { done: self.done.named(name) }
    }

    /// Calls `f` if no call of this method has completed; waits while another one is in progress.
    ///
    /// # Errors
    /// If the wait would never end, or this process cannot wait; see [`AcquireError`].
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) -> Result<(), AcquireError> {
        self.done.get_or_init(f)
    }

    /// As [`call_once`](Self::call_once), without blocking the thread. If the future is dropped before `f` has
    /// completed, the next one calls it.
    ///
    /// # Errors
    /// As for `call_once`.
    #[cfg(feature = "tokio")]
    pub async fn call_once_async(&self, f: impl AsyncFnOnce()) -> Result<(), AcquireError> {
        self.done.get_or_init_async(f).await
    }

    /// Returns whether a call has completed.
    ///
    /// # Panics
    /// If the session's shared memory is damaged.
    pub fn is_completed(&self) -> bool {
        self.done.get().is_some()
    }
}

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.done.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { done: Deserialize::deserialize(deserializer)? })
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &matches!(self.done.load(), Ok(Some(())))).finish()
    }
}
