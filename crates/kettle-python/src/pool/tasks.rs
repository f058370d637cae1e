//! How calls, chunks and outcomes are encoded in messages.
//!
//! | message | tag | word | body |
//! |---|---|---|---|
//! | a job, once for each worker | `JOB` + its kind | its number | `(function, whether arguments are unpacked)` |
//! | jobs that are over | `FORGET` | – | their numbers |
//! | a call | `CALL` + its kind | – | `(function, args, kwds)` |
//! | one item of a job | `ITEM` + its kind | the job | the item, encoded as in a queue |
//! | a chunk of a `range` | `RANGE` | the job | its first number and its step |
//! | a chunk of short words | `WORDS` | the job | for each item its kind and, for numbers, eight bytes |
//! | a chunk of anything else | `ITEMS` + its kind | the job | the list |
//! | a result | its kind | – | the object, encoded as in a queue; if at most eight bytes, a word |
//! | an error | `ERROR` | – | the encoding made by the Python side; its handles are held like those of an object |
//! | a task that was not begun because a name of the main module was not found | `UNFOUND` | – | as an error |
//! | a task that was not begun because its chunk cannot be decoded, possibly due to another task | `APART` | – | – |
//! | the worker is ready | `READY` | – | – |
//! | the worker failed to start | `REFUSED` | – | as an error |
//!
//! An object is encoded as in a queue, and has the same kind there.

use kettle::pool::scheduler::process::{INLINE_MAX, Load, Word};
use kettle_core::arena::{Block, Names};
use kettle_core::queue::{Body, Taken};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyRange, PyRangeMethods};

use crate::errors;
use crate::message;
use crate::pickle::{self, Tag};

pub(super) const FORGET: u8 = 16;
pub(super) const WORDS: u8 = 17;
pub(super) const ERROR: u8 = 18;
pub(super) const READY: u8 = 19;
pub(super) const REFUSED: u8 = 20;
pub(super) const UNFOUND: u8 = 21;
pub(super) const APART: u8 = 22;
pub(super) const RANGE: u8 = 23;
// The object's kind, which is less than 16, is added to these.
pub(super) const JOB: u8 = 32;
pub(super) const CALL: u8 = 48;
pub(super) const ITEM: u8 = 64;
pub(super) const ITEMS: u8 = 80;

/// A tag without the object's kind.
pub(super) fn base(tag: u8) -> u8 {
    if tag < JOB { tag } else { tag & !15 }
}

/// Sends an object as a queue does, with `base` added to the tag.
pub(super) fn with_object<T>(
    obj: &Bound<'_, PyAny>,
    base: u8,
    word: u64,
    send: impl FnOnce(Load<'_>) -> PyResult<T>,
) -> PyResult<T> {
    let encoded = pickle::encode(obj)?;
    message::with_parcel_of(obj.py(), &encoded, INLINE_MAX, |parcel| {
        send(Load { tag: base + parcel.tag, word, body: parcel.body, parts: parcel.parts })
    })
}

/// Like [`with_object`]. If `by_value`, the object is pickled together with its definitions from the main module.
pub(super) fn with_object_by_value<T>(
    obj: &Bound<'_, PyAny>,
    base: u8,
    word: u64,
    by_value: bool,
    send: impl FnOnce(Load<'_>) -> PyResult<T>,
) -> PyResult<T> {
    match by_value.then(|| pickle::by_value_for_a_message(obj)).flatten() {
        Some(pickle) => {
            let (pickle, names) = pickle?;
            with_bytes_and_names(base + Tag::Pickle as u8, word, &pickle, &names, send)
        }
        None => with_object(obj, base, word, send),
    }
}

/// Sends plain bytes.
pub(super) fn with_bytes<T>(
    tag: u8,
    word: u64,
    bytes: &[u8],
    send: impl FnOnce(Load<'_>) -> PyResult<T>,
) -> PyResult<T> {
    let body = if bytes.len() <= INLINE_MAX {
        Body::Inline(bytes)
    } else {
        Body::Block(Block::copy_of(bytes).map_err(errors::arena)?)
    };
    send(Load { tag, word, body, parts: Vec::new() })
}

/// Sends bytes that contain these handles.
pub(super) fn with_bytes_and_names<T>(
    tag: u8,
    word: u64,
    bytes: &[u8],
    names: &Names,
    send: impl FnOnce(Load<'_>) -> PyResult<T>,
) -> PyResult<T> {
    with_bytes(tag, word, bytes, |mut load| {
        load.parts.extend(names.pack().map_err(errors::arena)?);
        send(load)
    })
}

/// The object of a message, whose tag includes this base.
pub(super) fn object<'py>(
    py: Python<'py>,
    mut taken: Taken<Block>,
    inline: &[u8],
    base: u8,
) -> PyResult<Bound<'py, PyAny>> {
    taken.tag -= base;
    message::rebuild(py, taken, inline)
}

/// The bytes of a message.
pub(super) fn body<'a>(taken: &'a Taken<Block>, inline: &'a [u8]) -> &'a [u8] {
    taken.block.as_ref().map_or(inline, Block::as_slice)
}

/// Sends `len` items of a job. Numbers are sent as words, a single item of any kind as in a queue, and anything else as
/// one list, so that objects shared between items stay shared in the worker.
pub(super) fn with_items<'py, T>(
    py: Python<'py>,
    job: u64,
    by_value: bool,
    len: usize,
    item: impl Fn(usize) -> PyResult<Bound<'py, PyAny>>,
    send: impl FnOnce(Load<'_>) -> PyResult<T>,
) -> PyResult<T> {
    if len == 1 && !by_value {
        return with_object(&item(0)?, ITEM, job, send);
    }
    let mut words = Vec::with_capacity(len * 9);
    let mut written = 0;
    while written < len && write_word(&item(written)?, &mut words) {
        written += 1;
    }
    if written == len {
        return with_bytes(WORDS, job, &words, send);
    }
    let items = (0..len).map(item).collect::<PyResult<Vec<_>>>()?;
    with_object_by_value(PyList::new(py, items)?.as_any(), ITEMS, job, by_value, send)
}

/// Evenly spaced numbers.
#[derive(Clone, Copy)]
pub(super) struct Progression {
    start: i64,
    step: i64,
}

impl Progression {
    /// The numbers of a `range`, if each fits into a word.
    pub(super) fn of(range: &Bound<'_, PyRange>) -> Option<Self> {
        // All of them lie between the two ends.
        let (start, _, step) = (range.start().ok()?, range.stop().ok()?, range.step().ok()?);
        Some(Self { start: start as i64, step: step as i64 })
    }

    /// The number at this index. Intermediate overflow cancels out, because the number itself fits.
    fn at(self, place: u64) -> i64 {
        self.start.wrapping_add(self.step.wrapping_mul(place as i64))
    }

    pub(super) fn get<'py>(self, py: Python<'py>, place: u64) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.at(place).into_pyobject(py)?.into_any())
    }

    /// The numbers from this index on.
    pub(super) fn from(self, place: u64) -> Self {
        Self { start: self.at(place), ..self }
    }

    /// Sends the numbers, as many as the chunk has tasks.
    pub(super) fn send<T>(self, job: u64, send: impl FnOnce(Load<'_>) -> PyResult<T>) -> PyResult<T> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.start.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.step.to_ne_bytes());
        with_bytes(RANGE, job, &bytes, send)
    }

    /// The numbers of a message.
    pub(super) fn read(body: &[u8]) -> PyResult<Self> {
        let (start, rest) = body.split_first_chunk().ok_or_else(torn)?;
        let step = rest.first_chunk().ok_or_else(torn)?;
        Ok(Self { start: i64::from_ne_bytes(*start), step: i64::from_ne_bytes(*step) })
    }
}

/// Returns false for an object that is not of a kind with at most eight bytes.
fn write_word(item: &Bound<'_, PyAny>, to: &mut Vec<u8>) -> bool {
    let Some((tag, value)) = word_of(item) else { return false };
    to.push(tag);
    if tag == Tag::Int as u8 || tag == Tag::Float as u8 {
        to.extend_from_slice(&value.to_ne_bytes());
    }
    true
}

/// An object of at most eight bytes as a word. Only exact types qualify, as everywhere else.
pub(super) fn word_of(item: &Bound<'_, PyAny>) -> Option<Word> {
    Some(if let Ok(i) = item.cast_exact::<PyInt>() {
        (Tag::Int as u8, i.extract::<i64>().ok()? as u64)
    } else if let Ok(f) = item.cast_exact::<PyFloat>() {
        (Tag::Float as u8, f.value().to_bits())
    } else if item.is_none() {
        (Tag::None as u8, 0)
    } else if let Ok(b) = item.cast_exact::<PyBool>() {
        (if b.is_true() { Tag::True } else { Tag::False } as u8, 0)
    } else {
        return None;
    })
}

/// The object that a word encodes.
pub(super) fn of_word(py: Python<'_>, (tag, value): Word) -> PyResult<Bound<'_, PyAny>> {
    Ok(match Tag::from_u8(tag)? {
        Tag::Int => (value as i64).into_pyobject(py)?.into_any(),
        Tag::Float => PyFloat::new(py, f64::from_bits(value)).into_any(),
        Tag::None => py.None().into_bound(py),
        Tag::True => PyBool::new(py, true).to_owned().into_any(),
        Tag::False => PyBool::new(py, false).to_owned().into_any(),
        Tag::Bytes | Tag::Str | Tag::Compact | Tag::Pickle => return Err(torn()),
    })
}

/// Removes the first item from the words of a chunk.
pub(super) fn read_word<'py>(py: Python<'py>, words: &mut &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (tag, rest) = words.split_first().ok_or_else(torn)?;
    *words = rest;
    let mut value = 0;
    if *tag == Tag::Int as u8 || *tag == Tag::Float as u8 {
        let (eight, rest) = words.split_first_chunk::<8>().ok_or_else(torn)?;
        value = u64::from_ne_bytes(*eight);
        *words = rest;
    }
    of_word(py, (*tag, value))
}

fn torn() -> PyErr {
    pyo3::exceptions::PyValueError::new_err("a chunk of tasks is torn")
}
