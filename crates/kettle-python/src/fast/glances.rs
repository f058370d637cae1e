//! Finds changes in a dict without writing to the objects in it.
//!
//! Reading an object from Python changes its reference count. After a fork, this write copies the page that holds the
//! object.

use std::sync::{Mutex, PoisonError};
use std::{iter, ptr};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The contents of a dict at one moment, and of the lists, tuples and dicts in it, as addresses without references.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Glance {
    entries: Mutex<Vec<Entry>>,
    most_parts: usize,
}

#[derive(PartialEq)]
struct Entry {
    key: usize,
    value: usize,
    /// The contents of a list, tuple or dict.
    parts: Option<Vec<usize>>,
}

#[pymethods]
impl Glance {
    /// The contents of lists, tuples and dicts longer than `most_parts` are ignored.
    #[new]
    fn new(most_parts: usize) -> Self {
        Self { entries: Mutex::default(), most_parts }
    }

    /// The keys of `names` whose value is not the one of the last call, or has other contents. All that come after a
    /// key that was removed count as changed. An object that was freed since may have passed its address to another
    /// one.
    fn changed<'py>(&self, names: &Bound<'py, PyDict>) -> Vec<Bound<'py, PyAny>> {
        if cfg!(Py_GIL_DISABLED) {
            // Other threads may change the containers meanwhile.
            return names.keys().into_iter().collect();
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        let mut len = 0;
        for (key, value) in items(names.as_ptr()) {
            let entry = Entry { key: key as usize, value: value as usize, parts: parts(value, self.most_parts) };
            if entries.get(len) != Some(&entry) {
                // SAFETY: a key of the dict.
                changed.push(unsafe { Bound::from_borrowed_ptr(names.py(), key) });
                match entries.get_mut(len) {
                    Some(before) => *before = entry,
                    None => entries.push(entry),
                }
            }
            len += 1;
        }
        entries.truncate(len);
        changed
    }
}

/// The items of a dict, which must not change meanwhile.
fn items(dict: *mut ffi::PyObject) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> {
    let mut position = 0;
    iter::from_fn(move || {
        let (mut key, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the caller holds the dict, or another container that holds it; the references are borrowed.
        let found = unsafe { ffi::PyDict_Next(dict, &mut position, &mut key, &mut value) } != 0;
        found.then_some((key, value))
    })
}

fn parts(value: *mut ffi::PyObject, most: usize) -> Option<Vec<usize>> {
    let few = |len: ffi::Py_ssize_t| usize::try_from(len).ok().filter(|&len| len <= most);
    // SAFETY: a dict holds the object, and no other code runs meanwhile; each call is for an object of this type and
    // for an index within its length; the references are borrowed.
    unsafe {
        if ffi::PyList_CheckExact(value) != 0 {
            let len = few(ffi::PyList_GET_SIZE(value))?;
            Some((0..len).map(|i| ffi::PyList_GET_ITEM(value, i as ffi::Py_ssize_t) as usize).collect())
        } else if ffi::PyTuple_CheckExact(value) != 0 {
            let len = few(ffi::PyTuple_GET_SIZE(value))?;
            Some((0..len).map(|i| ffi::PyTuple_GET_ITEM(value, i as ffi::Py_ssize_t) as usize).collect())
        } else if ffi::PyDict_CheckExact(value) != 0 {
            few(ffi::PyDict_Size(value))?;
            Some(items(value).flat_map(|(key, value)| [key as usize, value as usize]).collect())
        } else {
            None
        }
    }
}
