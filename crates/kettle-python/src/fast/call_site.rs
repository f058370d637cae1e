//! The line of Python code that called us: recorded cheaply, and resolved on request.

use std::ffi::c_int;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use pyo3::{ffi, intern};

/// An instruction of Python code.
pub(crate) struct CallSite {
    code: Py<PyAny>,
    instruction: c_int,
}

/// The number of our own frames that may be between the caller and us.
const MOST_OF_OURS: usize = 6;

/// The directory of our package.
fn package(py: Python<'_>) -> PyResult<&str> {
    static DIRECTORY: PyOnceLock<Py<PyString>> = PyOnceLock::new();
    let directory = DIRECTORY.get_or_try_init(py, || -> PyResult<_> {
        let file: String = py.import("kettle")?.getattr("__file__")?.extract()?;
        Ok(PyString::new(py, file.trim_end_matches("__init__.py")).unbind())
    })?;
    directory.bind(py).to_str()
}

impl CallSite {
    /// The line that called us, skipping our own package. None if it cannot be determined.
    pub(crate) fn of_caller(py: Python<'_>) -> Option<Self> {
        let package = package(py).ok()?;
        // SAFETY: the interpreter is attached; what comes back is borrowed, or NULL outside of all Python code.
        let mut frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast())? };
        for _ in 0..MOST_OF_OURS {
            let this = frame.as_ptr().cast();
            // SAFETY: it is a frame, and alive; its code is a new reference and never NULL.
            let code = unsafe { Bound::from_owned_ptr(py, ffi::PyFrame_GetCode(this).cast()) };
            let file = code.getattr(intern!(py, "co_filename")).ok()?;
            // A path that is not UTF-8 is not ours.
            if !file.cast::<PyString>().ok()?.to_str().is_ok_and(|file| file.starts_with(package)) {
                // SAFETY: it is a frame, and alive.
                return Some(Self { code: code.unbind(), instruction: unsafe { ffi::PyFrame_GetLasti(this) } });
            }
            // SAFETY: it is a frame, and alive; what comes back is a new reference, or NULL at the bottom.
            frame = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyFrame_GetBack(this).cast())? };
        }
        None
    }

    /// The file and the line number.
    pub(crate) fn file_and_line(&self, py: Python<'_>) -> PyResult<(String, Option<u32>)> {
        let code = self.code.bind(py);
        let mut line = None;
        for range in code.call_method0("co_lines")?.try_iter()? {
            let (start, end, number): (c_int, c_int, Option<u32>) = range?.extract()?;
            if (start..end).contains(&self.instruction) {
                line = number;
            }
        }
        let file = code.getattr("co_filename")?;
        // Bytes that are not UTF-8 are escaped.
        let file = file.call_method1("encode", ("utf-8", "backslashreplace"))?.call_method1("decode", ("utf-8",))?;
        Ok((file.extract()?, line))
    }
}
