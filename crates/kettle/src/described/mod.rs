//! Values that describe themselves on their way, for types that need it.
//!
//! [Messages](crate#values) have no names and no types in them, so some attributes of serde do not go with them. What
//! is wrapped in a [`Described`] travels with the names of its fields and variants, and with the type of each part, as
//! in JSON. A field of a type of yours can do so alone:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! #[serde(untagged)]
//! enum Setting {
//!     Number(f64),
//!     Text(String),
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Order {
//!     id: u64,
//!     #[serde(with = "kettle::described")]
//!     setting: Setting,
//! }
//!
//! let queue = kettle::Queue::new()?;
//! queue.put(Order { id: 1, setting: Setting::Text("fast".into()) })?;
//! assert_eq!(queue.get()?, Order { id: 1, setting: Setting::Text("fast".into()) });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decode;
mod digest;
mod encode;
mod format;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::codec;

/// A value that travels with a description of itself: for types with `#[serde(tag)]`, `untagged`, `flatten` or
/// `skip_serializing_if`, and for `serde_json::Value` and its like, which are [refused](crate#values) otherwise.
///
/// ```
/// use kettle::{Described, Queue};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(tag = "kind")]
/// enum Event {
///     Opened { path: String },
///     Closed {
///         #[serde(skip_serializing_if = "Option::is_none", default)]
///         reason: Option<String>,
///     },
/// }
///
/// let queue = Queue::new()?;
/// queue.put(Described(Event::Opened { path: "a.txt".into() }))?;
/// queue.put(Described(Event::Closed { reason: None }))?;
/// assert_eq!(queue.get()?.0, Event::Opened { path: "a.txt".into() });
/// assert_eq!(queue.get()?.0, Event::Closed { reason: None });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The sender reads each such value back before it goes. So one that would arrive as another value, or not at all, is
/// refused there, with an [`EncodeError`](crate::EncodeError) that says why: a field that is never written and has no
/// default, say, the second of two `untagged` variants that look alike, or a `u128` in a type with `tag`, `untagged` or
/// `flatten`, for which serde has no room there.
///
/// All that costs time and bytes: several times those of a plain value. [`Bytes`](crate::Bytes) in it are copied as any
/// others. Queues, locks and the like may be in it, ends of pipes may not. Types that have one form for people and
/// another for programs (IP addresses, many of identifiers and times) take that for people, since attributes like
/// `untagged` expect it.
///
/// In any other format than that of this library's messages, such as JSON, it is what the value in it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Described<T>(pub T);

impl<T> Described<T> {
    /// The value itself.
    ///
    /// ```
    /// assert_eq!(kettle::Described(5).into_inner(), 5);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Described<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Described<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Described<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: fmt::Display> fmt::Display for Described<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Serialize + DeserializeOwned> Serialize for Described<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Described<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// Writes a field as a [`Described`]: for `#[serde(with = "kettle::described")]`, of which the [module](self) has an
/// example.
///
/// # Errors
/// When the value would not arrive as it is.
pub fn serialize<T: Serialize + DeserializeOwned, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    // What is around it describes itself already.
    if !codec::is_active() || codec::is_described() {
        return value.serialize(serializer);
    }
    let bytes = codec::describing(|| encode::write(value)).map_err(ser::Error::custom)?;
    if !codec::is_trial() {
        codec::in_trial(|| codec::describing(|| arrives::<T>(&bytes))).map_err(ser::Error::custom)?;
    }
    serializer.serialize_bytes(&bytes)
}

/// Reads a field that was written as a [`Described`]: for `#[serde(with = "kettle::described")]`, of which the
/// [module](self) has an example.
///
/// # Errors
/// When no such value was written.
pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    if !codec::is_active() || codec::is_described() {
        return T::deserialize(deserializer);
    }
    deserializer.deserialize_bytes(Reader(PhantomData))
}

/// Makes sure that the value with these bytes is read as what it was: then it is written like this again.
fn arrives<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(), String> {
    let arrived = decode::read::<T>(bytes).map_err(|e| format!("its receiver could not read it: {e}"))?;
    let again = encode::write(&arrived).map_err(|e| format!("its receiver could not write it: {e}"))?;
    if bytes == again || digest::of(bytes) == digest::of(&again) {
        return Ok(());
    }
    Err("its Deserialize makes another value of what its Serialize writes (a field that is not written and has a value \
         that is not the default does this, and so does an untagged variant that looks like one before it)"
        .into())
}

/// The bytes of a described value, in a message that is of bytes alone, or in what has numbers for them.
struct Reader<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that describes itself")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        codec::describing(|| decode::read(bytes)).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}
