//! How calls, chunks and outcomes stand in messages.
//!
//! | message | tag | word | body |
//! |---|---|---|---|
//! | a job, once for each worker | `JOB` + its kind | its number | `(function, whether arguments are unpacked)` |
//! | jobs that are over | `FORGET` | – | their numbers |
//! | a call | `CALL` + its kind | – | `(function, args, kwds)` |
//! | one item of a job | `ITEM` + its kind | the job | the item, as a queue would send it |
//! | a chunk of a `range` | `RANGE` | the job | its first number and its step |
//! | a chunk of short words | `WORDS` | the job | for each item its kind and, for numbers, eight bytes |
//! | a chunk of anything else | `ITEMS` + its kind | the job | the list |
//! | a result | its kind | – | as a queue would send it; of at most eight bytes: a word |
//! | an error | `ERROR` | – | what the Python side makes of it; the handles in it are held as those of an object |
//! | a task that was not begun, since a name of the main module was not found | `UNFOUND` | – | as an error |
//! | a task that was not begun, since the chunk cannot be taken to pieces: it may be another one's fault | `APART` | – | – |
//! | the worker is ready | `READY` | – | – |
//! | it will never be | `REFUSED` | – | as an error |
//!
//! An object stands in a message as a queue would send it, and has the kind that it has there.

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
// To these the kind of the object is added, which is less than 16.
pub(super) const JOB: u8 = 32;
pub(super) const CALL: u8 = 48;
pub(super) const ITEM: u8 = 64;
pub(super) const ITEMS: u8 = 80;

/// A tag without the kind of the object that it is added to.
pub(super) fn base(tag: u8) -> u8 {
    if tag < JOB { tag } else { tag & !15 }
}

/// Sends an object as a queue would, with `base` added to the tag.
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

/// As [`with_object`]. `by_value`: in a pickle, with what it has of the main module in it.
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

/// Sends bytes in which there are these handles.
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

/// The object of a message with this tag taken off.
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

/// Sends `len` items of a job. Numbers go as they are; one item of any kind as a queue would send it; anything else as
/// one list, so that what the items share they share in the worker too.
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

/// Numbers at the same distance from each other.
#[derive(Clone, Copy)]
pub(super) struct Progression {
    start: i64,
    step: i64,
}

impl Progression {
    /// Those of a `range`, if each fits into a word.
    pub(super) fn of(range: &Bound<'_, PyRange>) -> Option<Self> {
        // All of them are between the two ends.
        let (start, _, step) = (range.start().ok()?, range.stop().ok()?, range.step().ok()?);
        Some(Self { start: start as i64, step: step as i64 })
    }

    /// The one at this place. What overflows on the way there comes back, since the number itself fits.
    fn at(self, place: u64) -> i64 {
        self.start.wrapping_add(self.step.wrapping_mul(place as i64))
    }

    pub(super) fn get<'py>(self, py: Python<'py>, place: u64) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.at(place).into_pyobject(py)?.into_any())
    }

    /// Those from this place on.
    pub(super) fn from(self, place: u64) -> Self {
        Self { start: self.at(place), ..self }
    }

    /// Sends them, as many as the chunk has tasks.
    pub(super) fn send<T>(self, job: u64, send: impl FnOnce(Load<'_>) -> PyResult<T>) -> PyResult<T> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.start.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.step.to_ne_bytes());
        with_bytes(RANGE, job, &bytes, send)
    }

    /// Those of a message.
    pub(super) fn read(body: &[u8]) -> PyResult<Self> {
        let (start, rest) = body.split_first_chunk().ok_or_else(torn)?;
        let step = rest.first_chunk().ok_or_else(torn)?;
        Ok(Self { start: i64::from_ne_bytes(*start), step: i64::from_ne_bytes(*step) })
    }
}

/// False if it is none of the kinds that have at most eight bytes.
fn write_word(item: &Bound<'_, PyAny>, to: &mut Vec<u8>) -> bool {
    let Some((tag, value)) = word_of(item) else { return false };
    to.push(tag);
    if tag == Tag::Int as u8 || tag == Tag::Float as u8 {
        to.extend_from_slice(&value.to_ne_bytes());
    }
    true
}

/// An object of at most eight bytes as a word: exact types alone, as everywhere.
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

/// The object of a word.
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

/// Takes the first item off the words of a chunk.
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
