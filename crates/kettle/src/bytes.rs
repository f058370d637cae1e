//! Big payloads that are not copied out.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use kettle_core::arena::Block;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;

/// Bytes that travel as a block of shared memory: copied once when they are sent, and not at all when they are
/// received. The receiver has them to itself, and may write to them.
///
/// ```
/// let queue = kettle::Queue::<(String, kettle::Bytes)>::new()?;
/// queue.put(("frame 1".to_string(), kettle::Bytes::from(vec![7; 1 << 20])))?;
///
/// let (name, mut pixels) = queue.get()?;
/// assert_eq!((name.as_str(), pixels.len()), ("frame 1", 1 << 20));
/// pixels[0] = 0; // still in shared memory, and now ours
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Bytes(Place);

enum Place {
    Heap(Vec<u8>),
    Arena(Block),
}

/// Shorter ones stand among the message's own bytes.
const SHORT: usize = 1024;

impl Bytes {
    /// A copy of these bytes.
    pub fn copy_of(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }

    /// Whether they were received, and stand in shared memory still.
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Place::Arena(_))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Heap(bytes))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_of(bytes)
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        Vec::from_iter(bytes).into()
    }
}

impl Clone for Bytes {
    /// A copy of the bytes, in the memory of this process.
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        match bytes.0 {
            Place::Heap(bytes) => bytes,
            Place::Arena(block) => block.as_slice().to_vec(),
        }
    }
}

/// Without a copy: bytes that were received stay in shared memory.
#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl From<Bytes> for bytes::Bytes {
    fn from(bytes: Bytes) -> Self {
        match bytes.0 {
            Place::Heap(bytes) => bytes.into(),
            Place::Arena(_) => Self::from_owner(bytes),
        }
    }
}

/// Without a copy if nothing else refers to these bytes.
#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl From<bytes::Bytes> for Bytes {
    fn from(bytes: bytes::Bytes) -> Self {
        Vec::from(bytes).into()
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Heap(bytes) => bytes,
            Place::Arena(block) => block.as_slice(),
        }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Place::Heap(bytes) => bytes,
            Place::Arena(block) => block.as_mut_slice(),
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes").field("len", &self.len()).field("shared", &self.is_shared()).finish()
    }
}

/// How they stand in a message of ours.
#[derive(Serialize, Deserialize)]
enum Written<'a> {
    Here(&'a [u8]),
    Block(u32),
}

/// Writes bytes as a [`Bytes`] is written.
pub(crate) fn write<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if !codec::is_active() || codec::is_described() {
        return serializer.serialize_bytes(bytes);
    }
    let packed = if bytes.len() < SHORT { None } else { codec::pack(bytes)? };
    packed.map_or(Written::Here(bytes), Written::Block).serialize(serializer)
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !codec::is_active() || codec::is_described() {
            return deserializer.deserialize_byte_buf(Foreign);
        }
        match Written::deserialize(deserializer)? {
            Written::Here(bytes) => Ok(Self::copy_of(bytes)),
            Written::Block(number) => match codec::unpack(number) {
                Some(Ok(block)) => Ok(Self(Place::Arena(block))),
                Some(Err(bytes)) => Ok(bytes.into()),
                None => Err(de::Error::custom("the block that it speaks of did not come with it")),
            },
        }
    }
}

/// Bytes in another format.
struct Foreign;

impl<'de> Visitor<'de> for Foreign {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_of(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}
