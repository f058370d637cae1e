//! The descriptor of a Python socket, without a call.

use std::os::fd::RawFd;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::calls;

/// The class in C below all sockets.
static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// A Python socket. The program may close it at any time: then its number is -1, and belongs to another file soon.
pub(crate) struct Socket {
    object: Py<PyAny>,
    /// Whether the number is the first field of the object.
    is_known: bool,
}

impl Socket {
    /// # Errors
    /// If it has no number.
    pub(crate) fn new(object: Bound<'_, PyAny>) -> PyResult<Self> {
        let py = object.py();
        let number: RawFd = calls::call_method(&object, intern!(py, "fileno"), ())?.extract()?;
        let class = CLASS.import(py, "_socket", "socket")?;
        let mut this = Self { is_known: object.is_instance(class)?, object: object.unbind() };
        // What is there in this object is there in the class.
        this.is_known = this.number() == Some(number);
        Ok(this)
    }

    pub(crate) fn object(&self) -> &Py<PyAny> {
        &self.object
    }

    /// The number at the moment; None if it is known to the object's method only.
    #[inline(always)]
    pub(crate) fn number(&self) -> Option<RawFd> {
        if !self.is_known {
            return None;
        }
        // SAFETY: it is an object of a class in C that begins, after the header that all objects have, with the number;
        // the class is larger than that. A reference is held.
        Some(unsafe { self.object.as_ptr().byte_add(size_of::<ffi::PyObject>()).cast::<RawFd>().read_volatile() })
    }
}
