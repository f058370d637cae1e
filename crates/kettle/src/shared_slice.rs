//! Big slices of plain data that are not copied out.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::checked;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::bytes::{self, Bytes};
use crate::plain::Plain;

/// A slice of [plain](Plain) data that travels as a block of shared memory: copied once when it is sent, and not at all
/// when it is received. The receiver has it to itself, and may write to it.
///
/// It is [`Bytes`] for elements of other types. (An [`Array`](crate::Array) is in the memory of all processes at once.)
///
/// ```
/// use kettle::{Queue, SharedSlice};
///
/// let samples = Queue::<SharedSlice<f32>>::new()?;
/// samples.put(vec![0.5; 100_000].into())?;
///
/// let mut received = samples.get()?;
/// received[0] = 1.0; // still in shared memory, and now ours
/// assert_eq!((received.len(), received.iter().sum::<f32>()), (100_000, 50_000.5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In a type that allows only some values of its bytes, such as `bool` or an enum, the elements are checked when they
/// are received and at each access to the slice.
pub struct SharedSlice<T: Plain>(Place<T>);

enum Place<T> {
    Heap(Vec<T>),
    /// Bytes that are aligned for `T`, as many as make whole elements, each of them valid.
    Shared(Bytes),
}

impl<T: Plain> SharedSlice<T> {
    /// A copy of these elements.
    pub fn copy_of(elements: &[T]) -> Self {
        elements.to_vec().into()
    }

    /// Whether they were received, and stand in shared memory still.
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Place::Shared(_))
    }

    /// The elements that these bytes are.
    fn of_bytes(bytes: Bytes) -> Result<Self, &'static str> {
        const { assert!(size_of::<T>() > 0, "elements without a size would be lost on the way") }
        const OTHERS: &str = "these bytes are no elements of this type";
        if bytes.len() % size_of::<T>() != 0 {
            return Err(OTHERS);
        }
        if bytes.is_shared() && checked::try_cast_slice::<u8, T>(&bytes).is_ok() {
            return Ok(Self(Place::Shared(bytes)));
        }
        // Few of them, among the bytes of a message, or more strictly aligned than blocks are.
        let elements = bytes.chunks_exact(size_of::<T>()).map(checked::try_pod_read_unaligned);
        elements.collect::<Result<Vec<T>, _>>().map(Self::from).map_err(|_| OTHERS)
    }
}

impl<T: Plain> From<Vec<T>> for SharedSlice<T> {
    fn from(elements: Vec<T>) -> Self {
        Self(Place::Heap(elements))
    }
}

impl<T: Plain> From<&[T]> for SharedSlice<T> {
    fn from(elements: &[T]) -> Self {
        Self::copy_of(elements)
    }
}

impl<T: Plain> From<SharedSlice<T>> for Vec<T> {
    fn from(slice: SharedSlice<T>) -> Self {
        match slice.0 {
            Place::Heap(elements) => elements,
            Place::Shared(_) => slice.to_vec(),
        }
    }
}

impl<T: Plain> FromIterator<T> for SharedSlice<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl<T: Plain> Clone for SharedSlice<T> {
    /// A copy of the elements, in the memory of this process.
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl<T: Plain> Default for SharedSlice<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Plain> Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Place::Heap(elements) => elements,
            Place::Shared(bytes) => checked::cast_slice(bytes),
        }
    }
}

impl<T: Plain> DerefMut for SharedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Place::Heap(elements) => elements,
            Place::Shared(bytes) => checked::cast_slice_mut(bytes),
        }
    }
}

impl<T: Plain> AsRef<[T]> for SharedSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Plain + PartialEq> PartialEq for SharedSlice<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Plain + Eq> Eq for SharedSlice<T> {}

impl<T: Plain> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSlice").field("len", &self.len()).field("shared", &self.is_shared()).finish()
    }
}

impl<T: Plain> Serialize for SharedSlice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        bytes::write(bytemuck::cast_slice(self), serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for SharedSlice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of_bytes(Bytes::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
