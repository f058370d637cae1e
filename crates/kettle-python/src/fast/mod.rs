//! What the hand-written methods stand on, and code that works on the interpreter's own structures; together with
//! `fast_methods` and `buffers`, the only `unsafe` code of this crate.
//!
//! No class of ours is named here. The contents of a dict can be [inspected](glances) without writing to them. Integers
//! ([`numbers`]) and descriptor numbers ([`descriptors`]) are converted here, too.

mod attached;
mod call_site;
pub(crate) mod calls;
pub(crate) mod descriptors;
pub(crate) mod forks;
mod glances;
pub(crate) mod handle;
pub(crate) mod handle_classes;
pub(crate) mod lifetimes;
pub(crate) mod numbers;
mod ours;
pub(crate) mod scopes;
pub(crate) mod sockets;
mod spare;
pub(crate) mod vectorcall;

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::{PyClass, PyTypeInfo};

pub(crate) use attached::{Attached, AttachedLock};
pub(crate) use call_site::CallSite;
pub(crate) use glances::Glance;
pub(crate) use ours::{Called, Ours, is_layout_known, learn_layout, nothing_else};

use crate::primitive::Waitable;

/// A lock or similar primitive, in its ordinary case.
pub(crate) trait FastLock:
    PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + PyTypeInfo + Sync + Waitable
{
    /// The `help` text of `acquire`, its signature first.
    const ACQUIRE_DOC: &'static CStr =
        c"acquire($self, /, block=True, timeout=None)\n--\n\nAcquires it, waiting at most `timeout` seconds.";
    /// The `help` text of `release`.
    const RELEASE_DOC: &'static CStr = c"release($self, /)\n--\n\nReleases it.";

    /// Whether its holder may have died. A caller that does not wait is told of that as well.
    const HOLDER_CAN_DIE: bool = true;

    /// Acquires it if that needs no waiting.
    fn try_acquire(&self) -> bool;
    /// Releases it. Returns false if that is an error.
    fn try_release(&self) -> bool;

    /// Whether a failed `acquire(False)` simply returns False, with nothing else to do.
    #[inline]
    fn is_simply_taken(&self) -> bool {
        !Self::HOLDER_CAN_DIE && self.line().is_none_or(|line| line.admits(None, || 0))
    }
    /// Whether the end of a `with` block may release it without calling `object.release()`. `object` is this primitive.
    #[inline]
    fn leaves_by_itself(&self, _object: &Bound<'_, PyAny>) -> bool {
        true
    }
}

/// A lock for threads.
pub(crate) trait Exclusive: FastLock {
    fn is_locked(&self) -> bool;
}
