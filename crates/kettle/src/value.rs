//! Numbers that processes share.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use kettle_core::arena::Handle;
use kettle_core::shared::{Bytes, cell};
use kettle_core::sys::futex::Scope;

use crate::codec::by_token;
use crate::error::{OutOfMemory, expect_sound};
use crate::plain::Number;
use crate::session;

/// One number that any process of the session may read and change, each time in one step and without a lock.
///
/// ```
/// let hits = kettle::Value::new(0u64)?;
/// hits.fetch_add(1);
/// assert_eq!(hits.get(), 1);
/// # Ok::<(), kettle::OutOfMemory>(())
/// ```
///
/// A process that is killed has done a step or has not done it; nothing can be torn or left locked. For several
/// numbers that belong together, see [`Lock`](crate::Lock).
pub struct Value<T: Number> {
    body: Handle<Bytes>,
    number: PhantomData<T>,
}

by_token!(Value<T: Number>, check = |body: &Handle<Bytes>| match cell::words(body) {
    [] => Err("this is no value"),
    _ => Ok(()),
});

impl<T: Number> Value<T> {
    /// A number, to begin with.
    ///
    /// ```
    /// let hits = kettle::Value::new(0u64)?;
    /// assert_eq!(hits.get(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no shared memory to be had.
    pub fn new(number: T) -> Result<Self, OutOfMemory> {
        session::join()?;
        let body = cell::with_data(size_of::<u64>(), || Bytes)?;
        // Others find the session damaged that this process begins to use: it is told here when it uses the value.
        cell::words(&body)[0].store(number.to_word(), Ordering::SeqCst);
        Ok(Self::from_body(body))
    }

    fn from_body(body: Handle<Bytes>) -> Self {
        Self { body, number: PhantomData }
    }

    fn word(&self) -> &AtomicU64 {
        expect_sound(Scope::Shared);
        &cell::words(&self.body)[0]
    }

    /// The number now.
    ///
    /// ```
    /// let ratio = kettle::Value::new(0.5f64)?;
    /// assert_eq!(ratio.get(), 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&self) -> T {
        T::from_word(self.word().load(Ordering::SeqCst))
    }

    /// Makes it another number.
    ///
    /// ```
    /// let level = kettle::Value::new(1u32)?;
    /// level.set(7);
    /// assert_eq!(level.get(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, number: T) {
        self.word().store(number.to_word(), Ordering::SeqCst);
    }

    /// Replaces the number, and returns the previous one.
    ///
    /// ```
    /// let level = kettle::Value::new(1u32)?;
    /// assert_eq!(level.swap(7), 1);
    /// assert_eq!(level.get(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn swap(&self, number: T) -> T {
        T::from_word(self.word().swap(number.to_word(), Ordering::SeqCst))
    }

    /// Makes it `new` if it is `current`, bit by bit.
    ///
    /// ```
    /// let owner = kettle::Value::new(0u32)?;
    /// assert_eq!(owner.compare_exchange(0, 7), Ok(0));
    /// assert_eq!(owner.compare_exchange(0, 8), Err(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// With the number that it is instead.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        self.word()
            .compare_exchange(current.to_word(), new.to_word(), Ordering::SeqCst, Ordering::SeqCst)
            .map(T::from_word)
            .map_err(T::from_word)
    }

    /// Replaces the number with the result of `change`, and returns the previous one. If the number changes
    /// concurrently, `change` is called again.
    ///
    /// ```
    /// let n = kettle::Value::new(3u32)?;
    /// n.update(|n| n * n);
    /// assert_eq!(n.get(), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update(&self, change: impl Fn(T) -> T) -> T {
        let step = |word| Some(change(T::from_word(word)).to_word());
        let (Ok(before) | Err(before)) = self.word().fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        T::from_word(before)
    }

    /// Adds to the number, and returns the previous one. Integers wrap around.
    ///
    /// ```
    /// let tickets = kettle::Value::new(0u32)?;
    /// assert_eq!(tickets.fetch_add(1), 0);
    /// assert_eq!(tickets.fetch_add(1), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fetch_add(&self, more: T) -> T {
        self.update(|number| number.plus(more))
    }

    /// Subtracts from the number, and returns the previous one. Integers wrap around.
    ///
    /// ```
    /// let left = kettle::Value::new(10u32)?;
    /// assert_eq!(left.fetch_sub(1), 10);
    /// assert_eq!(left.get(), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fetch_sub(&self, less: T) -> T {
        self.update(|number| number.minus(less))
    }

    /// Replaces the number with the maximum of itself and `other`, and returns the previous one.
    ///
    /// ```
    /// let highest = kettle::Value::new(3u32)?;
    /// highest.fetch_max(5);
    /// highest.fetch_max(4);
    /// assert_eq!(highest.get(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fetch_max(&self, other: T) -> T {
        self.update(|number| if other > number { other } else { number })
    }

    /// Replaces the number with the minimum of itself and `other`, and returns the previous one.
    ///
    /// ```
    /// let lowest = kettle::Value::new(3u32)?;
    /// lowest.fetch_min(5);
    /// lowest.fetch_min(1);
    /// assert_eq!(lowest.get(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fetch_min(&self, other: T) -> T {
        self.update(|number| if other < number { other } else { number })
    }
}

impl<T: Number + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.get()).finish()
    }
}
