//! A pickler of the program's own, in the place of the standard library's `ForkingPickler`.
//!
//! Then all objects go through it: also those that skip pickle otherwise, since it may be there in order that nothing is
//! unpickled, or to count.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::buffers;
use crate::methods::calls;

static IS_SET: AtomicBool = AtomicBool::new(false);
static FUNCTIONS: Mutex<Option<(Py<PyAny>, Py<PyAny>)>> = Mutex::new(None);

/// Whether there is one.
#[inline(always)]
pub(crate) fn is_set() -> bool {
    IS_SET.load(Ordering::Relaxed)
}

/// Has all objects go through these two, `dumps` and `loads`; or, with None, through pickle again.
#[pyfunction]
#[pyo3(signature = (functions))]
pub(crate) fn replace_pickler(py: Python<'_>, functions: Option<(Py<PyAny>, Py<PyAny>)>) {
    let mut place = FUNCTIONS.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
    IS_SET.store(functions.is_some(), Ordering::Relaxed);
    let before = std::mem::replace(&mut *place, functions);
    // Letting objects go may run anybody's code: not under the lock.
    drop(place);
    drop(before);
}

/// Its `dumps` and `loads`. None: there is none any more.
fn functions(py: Python<'_>) -> Option<(Py<PyAny>, Py<PyAny>)> {
    let place = FUNCTIONS.lock_py_attached(py).unwrap_or_else(|e| e.into_inner());
    place.as_ref().map(|(dumps, loads)| (dumps.clone_ref(py), loads.clone_ref(py)))
}

/// What it makes of an object.
#[cold]
pub(crate) fn dumps(obj: &Bound<'_, PyAny>) -> Option<PyResult<Vec<u8>>> {
    let py = obj.py();
    let (dumps, _) = functions(py)?;
    let dumped = calls::call_one(dumps.bind(py), obj);
    Some(dumped.and_then(|dumped| buffers::with_bytes(&PyUntypedBuffer::get(&dumped)?, |bytes| Ok(bytes.to_vec()))))
}

/// The object of which it made these bytes.
#[cold]
pub(crate) fn loads<'py>(bytes: &Bound<'py, PyAny>) -> Option<PyResult<Bound<'py, PyAny>>> {
    let py = bytes.py();
    let (_, loads) = functions(py)?;
    let whole =
        PyUntypedBuffer::get(bytes).and_then(|view| buffers::with_bytes(&view, |bytes| buffers::to_bytes(py, bytes)));
    Some(whole.and_then(|whole| calls::call_one(loads.bind(py), whole.as_any())))
}
