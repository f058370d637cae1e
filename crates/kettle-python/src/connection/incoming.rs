//! A received message, which is read either as an object or as bytes.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use kettle_core::arena::Block;
use kettle_core::queue::Taken;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::memory::Lease;
use crate::pickle::{self, Tag};
use crate::{buffers, message};

thread_local! {
    /// Moved out while in use: rebuilding an object may receive in turn.
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// More capacity than this is not kept for the thread's next message.
const KEPT_MAX: usize = 64 * 1024;

/// The buffer that messages are received into. Each thread keeps one.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn take() -> Self {
        let mut bytes = KEPT.try_with(RefCell::take).unwrap_or_default();
        bytes.clear();
        Self(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.capacity() <= KEPT_MAX {
            let _ = KEPT.try_with(|kept| kept.replace(std::mem::take(&mut self.0)));
        }
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// A message. Its bytes are in the scratch buffer, from `start` on, unless they are in a block.
pub(super) enum Incoming {
    /// Bytes that `recv` treats as a pickle: everything that `send_bytes` sends, and most of what `send` does.
    Bytes { scratch: Scratch, start: usize },
    /// The same, in a block.
    Block(Block),
    /// An object in another form: it skipped pickle, or has separate buffers.
    Object { taken: Taken<Block>, scratch: Scratch, start: usize },
}

impl Incoming {
    pub(super) fn new(taken: Taken<Block>, scratch: Scratch, start: usize) -> Self {
        if taken.tag != Tag::Pickle as u8 || !taken.parts.is_empty() {
            return Self::Object { taken, scratch, start };
        }
        match taken.block {
            Some(block) => Self::Block(block),
            None => Self::Bytes { scratch, start },
        }
    }

    pub(super) fn into_object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Bytes { scratch, start } => unpickle(py, &scratch[start..]),
            Self::Block(block) => unpickle_block(py, block),
            Self::Object { taken, scratch, start } => message::rebuild(py, taken, &scratch[start..]),
        }
    }

    /// The message as bytes. For an object, these are its pickle.
    pub(super) fn into_bytes(self, py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
        match &self {
            Self::Bytes { scratch, start } => buffers::to_bytes(py, &scratch[*start..]),
            Self::Block(block) => buffers::to_bytes(py, block.as_slice()),
            Self::Object { .. } => pickle::dumps(&self.into_object(py)?),
        }
    }

    /// Lends the bytes.
    pub(super) fn with_bytes<T>(self, py: Python<'_>, look: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
        match &self {
            Self::Bytes { scratch, start } => look(&scratch[*start..]),
            Self::Block(block) => look(block.as_slice()),
            Self::Object { .. } => look(self.into_bytes(py)?.as_bytes()),
        }
    }

    /// The number of bytes, if it is known without encoding an object.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Bytes { scratch, start } => Some(scratch.len() - start),
            Self::Block(block) => Some(block.len()),
            Self::Object { .. } => None,
        }
    }
}

// Kept separate, so that an object that skipped pickle pays nothing for these.
#[inline(never)]
fn unpickle<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let _names = pickle::arrived(bytes);
    pickle::loads(buffers::new_bytes(py, bytes)?.as_any(), Vec::new())
}

#[inline(never)]
fn unpickle_block(py: Python<'_>, block: Block) -> PyResult<Bound<'_, PyAny>> {
    let _names = pickle::arrived(block.as_slice());
    pickle::loads(Bound::new(py, Lease::new(block)?)?.as_any(), Vec::new())
}
