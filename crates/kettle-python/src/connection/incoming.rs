//! A message that has arrived, whichever way: as an object, or as bytes.

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
    /// Taken out while in use: rebuilding an object may receive in turn.
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// More than this is not kept for the thread's next message.
const KEPT_MAX: usize = 64 * 1024;

/// Where a message is received. Each thread keeps one.
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

/// A message, with its bytes from `start` on if they stand in the scratch.
pub(super) enum Incoming {
    /// Bytes that `recv` takes for a pickle: what `send_bytes` sends, and most of what `send` does.
    Bytes { scratch: Scratch, start: usize },
    /// Likewise, in a block.
    Block(Block),
    /// An object that was sent otherwise: it skipped pickle, or has buffers beside it.
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

    /// As bytes: an object's pickle.
    pub(super) fn into_bytes(self, py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
        match &self {
            Self::Bytes { scratch, start } => buffers::to_bytes(py, &scratch[*start..]),
            Self::Block(block) => buffers::to_bytes(py, block.as_slice()),
            Self::Object { .. } => pickle::dumps(&self.into_object(py)?),
        }
    }

    /// Shows the bytes.
    pub(super) fn with_bytes<T>(self, py: Python<'_>, look: impl FnOnce(&[u8]) -> PyResult<T>) -> PyResult<T> {
        match &self {
            Self::Bytes { scratch, start } => look(&scratch[*start..]),
            Self::Block(block) => look(block.as_slice()),
            Self::Object { .. } => look(self.into_bytes(py)?.as_bytes()),
        }
    }

    /// How many bytes it has, where that is known without making them.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Bytes { scratch, start } => Some(scratch.len() - start),
            Self::Block(block) => Some(block.len()),
            Self::Object { .. } => None,
        }
    }
}

// Apart, so that an object that skipped pickle pays nothing for these.
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
