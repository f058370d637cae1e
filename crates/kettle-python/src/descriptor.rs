//! Descriptors that the Python side keeps.

use std::os::fd::{AsRawFd, IntoRawFd};

use kettle_core::sys::descriptor::KnownFd;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors;
use crate::methods::descriptors::Given;

/// A descriptor that is kept, and known again should the program close it and open another file. Owns it.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Descriptor(KnownFd);

/// What descriptors are kept for, as errors say it.
const PURPOSES: [(&str, &str); 7] = [
    ("child", "what watches a child process"),
    ("life", "what ties a child process to its parent"),
    ("start", "through which a child process is told what to do"),
    ("report", "what reports the end of a child of the fork server"),
    ("server", "what leads to the fork server"),
    ("folder", "what holds the folder of listeners"),
    ("trace", "where a worker that crashes leaves its stacks"),
];

#[pymethods]
impl Descriptor {
    /// purpose: "child", "life", "start", "report", "server", "folder" or "trace".
    /// private: a forked child must not have it, and closes it.
    #[new]
    #[pyo3(signature = (fd, purpose, private=true))]
    fn new(fd: Given, purpose: &str, private: bool) -> PyResult<Self> {
        let known = PURPOSES.iter().find(|(key, _)| *key == purpose);
        let (_, purpose) = *known.ok_or_else(|| PyValueError::new_err(format!("no such purpose: {purpose}")))?;
        let keep = if private { KnownFd::private } else { KnownFd::new };
        Ok(Self(keep(fd.take(), purpose)))
    }

    /// The number. Raises DescriptorLost if the program closed it.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.0.get().map_err(errors::descriptor_lost)?.as_raw_fd())
    }

    /// Whether it is still open, and ours.
    fn is_ours(&self) -> bool {
        self.0.is_ours()
    }

    /// Gives it up: its number, which the caller keeps from now on. Raises DescriptorLost if the program closed it.
    fn detach(&self) -> PyResult<i32> {
        Ok(self.0.detach().map_err(errors::descriptor_lost)?.into_raw_fd())
    }

    /// Closes it, if it is still ours. Again is nothing.
    fn close(&self) {
        self.0.close();
    }
}
