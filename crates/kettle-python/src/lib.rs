//! `kettle._native`: the Rust core under Python's names. Names and conversions only, no algorithms.

use pyo3::prelude::*;

/// The Rust core as Python sees it.
#[pymodule(gil_used = false)]
mod _native {}
