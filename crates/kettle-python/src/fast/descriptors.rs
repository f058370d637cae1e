//! Descriptors as Python passes them: by number.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A descriptor whose ownership the caller gives up.
pub(crate) struct Given(RawFd);

/// A descriptor borrowed from the caller for the duration of the call.
pub(crate) struct Lent(RawFd);

fn number(object: Borrowed<'_, '_, PyAny>) -> PyResult<RawFd> {
    let number: i64 = object.call_method0(pyo3::intern!(object.py(), "__index__"))?.extract()?;
    let number = RawFd::try_from(number).ok().filter(|number| *number >= 0);
    number.ok_or_else(|| PyValueError::new_err("invalid handle"))
}

impl Given {
    pub(crate) fn take(self) -> OwnedFd {
        // SAFETY: a Python program that gives a number to an object which will own it, as to `open` or `socket.socket`,
        // answers for it: it is open, or an error at each use, and nothing else closes it. The number is not -1.
        unsafe { OwnedFd::from_raw_fd(self.0) }
    }
}

impl FromPyObject<'_, '_> for Given {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        number(object).map(Self)
    }
}

impl FromPyObject<'_, '_> for Lent {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        number(object).map(Self)
    }
}

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: likewise, for the time of the call, which is how long this lives.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
