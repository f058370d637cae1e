//! Descriptors that the Python side keeps, and functions that open and use pidfds and memory files. Python's own
//! functions for these are missing from interpreters that were built with the headers of an older kernel.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use kettle_core::sys::descriptor::KnownFd;
use kettle_core::sys::{memory, process};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors;
use crate::fast::descriptors::{Given, Lent};

/// A descriptor that is kept, and known again should the program close it and open another file. Owns it.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Descriptor(KnownFd);

/// The read end and the write end of a new pipe that ties a child to this process; the write end is private.
#[pyfunction]
pub(crate) fn life_pipe() -> PyResult<(Descriptor, Descriptor)> {
    let (reader, writer) = KnownFd::pipe(LIFE).map_err(errors::os)?;
    Ok((Descriptor(reader), Descriptor(writer)))
}

const LIFE: &str = "what ties a child process to its parent";

/// The purposes of kept descriptors, as error messages name them.
const PURPOSES: [(&str, &str); 8] = [
    ("child", "what watches a child process"),
    ("life", LIFE),
    ("start", "through which a child process is told what to do"),
    ("report", "what reports the end of a child of the fork server"),
    ("server", "what leads to the fork server"),
    ("folder", "what holds the folder of listeners"),
    ("trace", "where a worker that crashes leaves its stacks"),
    ("signals", "through which signals wake an event loop"),
];

#[pymethods]
impl Descriptor {
    /// purpose: "child", "life", "start", "report", "server", "folder", "trace" or
    /// "signals".
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

/// Returns a new descriptor, owned by the caller, that is readable once process `pid` has ended.
#[pyfunction]
pub(crate) fn open_process(pid: u32) -> PyResult<i32> {
    Ok(process::open(pid).map_err(errors::os)?.into_raw_fd())
}

/// Sends a signal to the process of `fd`, which `open_process` returned.
#[pyfunction]
pub(crate) fn signal_process(fd: Lent, signal: i32) -> PyResult<()> {
    process::signal(fd.as_fd(), signal).map_err(errors::os)
}

/// Returns a new descriptor, owned by the caller, of an empty file in memory.
#[pyfunction]
pub(crate) fn memory_file(name: CString) -> PyResult<i32> {
    Ok(memory::create(&name).map_err(errors::os)?.into_raw_fd())
}
