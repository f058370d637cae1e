//! Keys of dicts, kept from one message to the next: a known key need be neither created nor hashed again.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::KEY_MAX;

const SLOTS: usize = 256;

struct Slot {
    key: Py<PyString>,
    len: u8,
    text: [u8; KEY_MAX],
}

/// The last key of each hash value.
pub(super) struct Keys(Vec<Option<Slot>>);

impl Keys {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(|| None).take(SLOTS).collect())
    }

    /// The key with this text.
    pub(super) fn get<'py>(&mut self, py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if text.len() > KEY_MAX {
            return PyString::from_bytes(py, text);
        }
        let slot = &mut self.0[hash(text)];
        match slot {
            Some(known) if known.text[..usize::from(known.len)] == *text => Ok(known.key.bind(py).clone()),
            _ => {
                let key = PyString::from_bytes(py, text)?;
                let mut kept = [0; KEY_MAX];
                kept[..text.len()].copy_from_slice(text);
                *slot = Some(Slot { key: key.clone().unbind(), len: text.len() as u8, text: kept });
                Ok(key)
            }
        }
    }
}

/// A hash of the first and the last bytes, which overlap in a short text.
fn hash(text: &[u8]) -> usize {
    let (first, last) = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (u64::from_ne_bytes(*first), u64::from_ne_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (u32::from_ne_bytes(*first).into(), u32::from_ne_bytes(*last).into())
    } else {
        let byte = |at: usize| u64::from(text.get(at).copied().unwrap_or(0));
        (byte(0) << 8 | byte(1), byte(2))
    };
    let mixed = (first ^ last.rotate_left(29) ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize % SLOTS
}
