//! The commands that look at running programs, for `python/kettle/cli.py` and `python/kettle/observe.py`.

use pyo3::exceptions::{PyLookupError, PyOSError, PyPermissionError};
use pyo3::prelude::*;

use kettle_core::watch::WatchError;

/// Runs `kettle ps`, `stacks` or `doctor`; returns the exit status.
#[pyfunction]
pub(crate) fn command_line(arguments: Vec<String>) -> u8 {
    kettle_cli::main(&arguments)
}

/// The session of a process, as JSON.
#[pyfunction]
pub(crate) fn session_snapshot(pid: u32) -> PyResult<String> {
    kettle_cli::snapshot(pid).map_err(|e| {
        let text = e.to_string();
        match e {
            WatchError::NoProcess(_) | WatchError::NoSession(_) => PyLookupError::new_err(text),
            WatchError::NotAllowed(_) => PyPermissionError::new_err(text),
            _ => PyOSError::new_err(text),
        }
    })
}
