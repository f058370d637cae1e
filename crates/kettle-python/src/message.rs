//! Encoding objects as messages: which part is in the queue itself, and which in separate blocks.

use kettle_core::arena::{Block, Names};
use kettle_core::queue::{Body, INLINE_MAX, Parcel, Taken};
use kettle_core::shared::ArenaStore;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyString};

use crate::buffers::new_bytes;
use crate::compact;
use crate::errors;
use crate::memory::Lease;
use crate::pickle::{self, Encoded, Tag};

/// Encodes an object as a parcel and passes it to `send`.
pub(crate) fn with_parcel<T>(
    py: Python<'_>,
    encoded: &Encoded<'_>,
    send: impl FnOnce(Parcel<'_, ArenaStore>) -> PyResult<T>,
) -> PyResult<T> {
    with_parcel_of(py, encoded, INLINE_MAX, send)
}

/// Like [`with_parcel`], with a body of more than `inline_max` bytes in a block.
pub(crate) fn with_parcel_of<T>(
    py: Python<'_>,
    encoded: &Encoded<'_>,
    inline_max: usize,
    send: impl FnOnce(Parcel<'_, ArenaStore>) -> PyResult<T>,
) -> PyResult<T> {
    let (tag, bytes, buffers, names): (Tag, &[u8], &[PyBuffer<u8>], Option<&Names>) = match encoded {
        Encoded::Word(tag, word, len) => (*tag, &word[..*len], &[], None),
        Encoded::Bytes(b) => (Tag::Bytes, b.as_bytes(), &[], None),
        Encoded::Str(s) => (Tag::Str, s.to_str()?.as_bytes(), &[], None),
        Encoded::Compact(compact) => (Tag::Compact, compact.as_bytes(), &[], None),
        Encoded::Pickle(pickle, buffers, names) => (Tag::Pickle, pickle.as_bytes(py), buffers, Some(names)),
    };
    let mut parts = buffers.iter().map(|b| block_of_buffer(py, b)).collect::<PyResult<Vec<_>>>()?;
    if let Some(names) = names {
        parts.extend(names.pack().map_err(errors::arena)?);
    }
    let body = if bytes.len() <= inline_max { Body::Inline(bytes) } else { Body::Block(block_of_bytes(py, bytes)?) };
    send(Parcel::blocks(tag as u8, body, parts))
}

/// Copies of at least this many bytes are made while other threads may run.
pub(crate) const LONG_COPY: usize = 256 * 1024;

fn block_of_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Block> {
    let fill = || Block::copy_of(bytes);
    let block = if bytes.len() >= LONG_COPY { py.detach(fill) } else { fill() };
    block.map_err(errors::arena)
}

fn block_of_buffer(py: Python<'_>, buffer: &PyBuffer<u8>) -> PyResult<Block> {
    crate::buffers::with_bytes(buffer, |bytes| block_of_bytes(py, bytes))
}

/// The object of a received message; `inline` is its body unless that is in a block.
pub(crate) fn rebuild<'py>(py: Python<'py>, taken: Taken<Block>, inline: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let tag = Tag::from_u8(taken.tag)?;
    if tag == Tag::Pickle {
        return unpickle(py, taken, inline);
    }
    let bytes = taken.block.as_ref().map_or(inline, Block::as_slice);
    let word = || bytes.try_into().map_err(|_| pyo3::exceptions::PyValueError::new_err("a short message is torn"));
    Ok(match tag {
        Tag::None => py.None().into_bound(py),
        Tag::True => true.into_pyobject(py)?.to_owned().into_any(),
        Tag::False => false.into_pyobject(py)?.to_owned().into_any(),
        Tag::Int => i64::from_ne_bytes(word()?).into_pyobject(py)?.into_any(),
        Tag::Float => PyFloat::new(py, f64::from_ne_bytes(word()?)).into_any(),
        Tag::Bytes => new_bytes(py, bytes)?.into_any(),
        Tag::Str => PyString::from_bytes(py, bytes)?.into_any(),
        Tag::Compact => compact::decode(py, bytes)?,
        Tag::Pickle => unreachable!("handled above"),
    })
}

/// Kept separate, so that an object that skipped pickle pays nothing for this.
#[inline(never)]
fn unpickle<'py>(py: Python<'py>, mut taken: Taken<Block>, inline: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // Held until the pickle's own handles have been created.
    let _names = Names::unpack(&mut taken.parts).map_err(errors::arena)?;
    let buffers = taken
        .parts
        .into_iter()
        .map(|part| Ok(Bound::new(py, Lease::new(part)?)?.into_any()))
        .collect::<PyResult<Vec<_>>>()?;
    let pickle = match taken.block {
        Some(block) => Bound::new(py, Lease::new(block)?)?.into_any(),
        None => new_bytes(py, inline)?.into_any(),
    };
    pickle::loads(&pickle, buffers)
}
