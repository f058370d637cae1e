//! Whether a method that others call through the object is still ours.
//!
//! In the standard library `Queue.put_nowait` says `self.put(...)`, and the end of a semaphore's `with` block
//! `self.release()`. A subclass may have another one; a test or a tracer may put one into the class, or into one object,
//! at any time. What does it natively instead looks here first.
//!
//! A class has a version, which its interpreter changes with every change of the class or of one of its bases. The
//! version for which it was found that nothing was replaced is kept in the object, so that ordinarily one comparison
//! tells. An object has a dictionary only after an attribute of its own was set; where that is kept is learned once, from
//! an object of which it is known.

use std::sync::atomic::{AtomicIsize, AtomicU32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use crate::threads::event::Event;

/// Where the interpreter keeps an object's dictionary, NULL if there is none yet: in bytes from the object. Until that
/// is known it is the place of the class, which is never NULL, so that each object seems to have a dictionary.
static DICTIONARY: AtomicIsize = AtomicIsize::new(std::mem::offset_of!(ffi::PyObject, ob_type) as isize);

/// As CPython 3.11 to 3.14 have it.
#[cfg(not(Py_GIL_DISABLED))]
const EXPECTED: isize = -3 * size_of::<usize>() as isize;
#[cfg(Py_GIL_DISABLED)]
const EXPECTED: isize = -(size_of::<usize>() as isize);

/// What stands at `offset` bytes from `object`.
///
/// # Safety
/// That is within what was allocated for it.
#[inline(always)]
unsafe fn word_at(object: *mut ffi::PyObject, offset: isize) -> *mut ffi::PyObject {
    // SAFETY: as promised; another thread may write the pointer at the same time, so it is read in one piece.
    unsafe { std::sync::atomic::AtomicPtr::from_ptr(object.byte_offset(offset).cast()).load(Ordering::Relaxed) }
}

/// Learns where objects of classes written in Python, with a native base, have their dictionaries.
pub(crate) fn learn_layout(py: Python<'_>) -> PyResult<()> {
    if !(py.version_info() >= (3, 11) && py.version_info() < (3, 15)) {
        return Ok(());
    }
    let bases = (py.get_type::<Event>(),);
    let probe = py.get_type::<PyType>().call1(("Probe", bases, PyDict::new(py)))?.call0()?;
    // SAFETY: in these versions three words at least are in front of an object that the collector knows and whose class
    // has a dictionary, or one without a GIL.
    let before = unsafe { word_at(probe.as_ptr(), EXPECTED) };
    probe.setattr("x", 1)?;
    // SAFETY: as above.
    let after = unsafe { word_at(probe.as_ptr(), EXPECTED) };
    if before.is_null() && after == probe.getattr("__dict__")?.as_ptr() {
        DICTIONARY.store(EXPECTED, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether `object` has attributes of its own, or may have.
#[inline(always)]
fn has_attributes(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the class is in every object; the other place was found in an object of the same kind, a class written in
    // Python on top of one of ours.
    !unsafe { word_at(object.as_ptr(), DICTIONARY.load(Ordering::Relaxed)) }.is_null()
}

/// The version of a class, 0 if it has none now.
///
/// # Safety
/// `class` is one.
#[inline(always)]
unsafe fn version_of(class: *mut ffi::PyTypeObject) -> u32 {
    // SAFETY: as promised; another thread may change the version at the same time, so it is read in one piece.
    unsafe { AtomicU32::from_ptr(&raw mut (*class).tp_version_tag).load(Ordering::Relaxed) }
}

/// The version of the object's class.
#[inline(always)]
fn version(object: &Bound<'_, PyAny>) -> u32 {
    // SAFETY: an object has a class.
    unsafe { version_of(ffi::Py_TYPE(object.as_ptr())) }
}

/// Some methods that others call.
pub(crate) struct Called {
    names: &'static [&'static str],
    interned: PyOnceLock<Vec<Py<PyString>>>,
    /// Versions of classes that have ours, the latest few.
    known: [AtomicU32; 4],
    next: AtomicU32,
}

impl Called {
    pub(crate) const fn new(names: &'static [&'static str]) -> Self {
        Self { names, interned: PyOnceLock::new(), known: [const { AtomicU32::new(0) }; 4], next: AtomicU32::new(0) }
    }

    fn interned(&self, py: Python<'_>) -> &Vec<Py<PyString>> {
        self.interned.get_or_init(py, || self.names.iter().map(|name| PyString::intern(py, name).unbind()).collect())
    }

    /// Whether a class has ours: those are native, and what is put in their place is not.
    fn are_native(&self, class: &Bound<'_, PyType>) -> PyResult<bool> {
        for name in self.interned(class.py()) {
            let method = class.getattr(name)?;
            // SAFETY: both are types.
            if !unsafe { ffi::Py_IS_TYPE(method.as_ptr(), &raw mut ffi::PyMethodDescr_Type) != 0 } {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether one of them was put into the object itself.
    #[cold]
    fn are_attributes(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = object.py();
        // SAFETY: it is an object; what comes back is a new reference or NULL with an exception set.
        let dict = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut()))?
        };
        let dict = dict.cast::<PyDict>()?;
        for name in self.interned(py) {
            if dict.contains(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn remember(&self, version: u32) {
        let place = self.next.fetch_add(1, Ordering::Relaxed) as usize % self.known.len();
        self.known[place].store(version, Ordering::Relaxed);
    }
}

/// What an object remembers of its class: the version in which the methods were ours.
pub(crate) struct Ours(AtomicU32);

/// No class has it.
const NONE: u32 = u32::MAX;

impl Ours {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(NONE))
    }

    /// Whether the class of `object`, which this is part of, has ours.
    #[inline(always)]
    pub(crate) fn in_class(&self, object: &Bound<'_, PyAny>, called: &Called) -> bool {
        version(object) == self.0.load(Ordering::Relaxed) || self.look(object, called, |class| called.are_native(class))
    }

    /// As `in_class`, where it takes more than a look at the methods to tell.
    #[inline(always)]
    pub(crate) fn in_class_by(
        &self,
        object: &Bound<'_, PyAny>,
        called: &Called,
        check: impl FnOnce(&Bound<'_, PyType>) -> PyResult<bool>,
    ) -> bool {
        version(object) == self.0.load(Ordering::Relaxed) || self.look(object, called, check)
    }

    /// Whether calling a method of `object`, which this is part of, would call ours.
    #[inline(always)]
    pub(crate) fn in_object(&self, object: &Bound<'_, PyAny>, called: &Called) -> bool {
        self.in_class(object, called) && !(has_attributes(object) && called.are_attributes(object).unwrap_or(true))
    }

    /// Whether `class`, of an object that stands before this one, has what `check` finds in it.
    #[inline(always)]
    pub(crate) fn in_type(&self, class: &Bound<'_, PyType>, check: impl FnOnce() -> PyResult<bool>) -> bool {
        // SAFETY: it is a class.
        let version = || unsafe { version_of(class.as_type_ptr()) };
        let before = version();
        if before == self.0.load(Ordering::Relaxed) {
            return true;
        }
        let is_so = check().unwrap_or(false);
        if is_so && before != 0 && before == version() {
            self.0.store(before, Ordering::Relaxed);
        }
        is_so
    }

    #[cold]
    fn look(
        &self,
        object: &Bound<'_, PyAny>,
        called: &Called,
        check: impl FnOnce(&Bound<'_, PyType>) -> PyResult<bool>,
    ) -> bool {
        let before = version(object);
        let is_known = before != 0 && called.known.iter().any(|known| known.load(Ordering::Relaxed) == before);
        // What raises in a class of classes is as good as another method: the call itself will say so.
        if !is_known && !check(&object.get_type()).unwrap_or(false) {
            return false;
        }
        // The first look gives a class its version, if it has none.
        if before != 0 && before == version(object) {
            if !is_known {
                called.remember(before);
            }
            self.0.store(before, Ordering::Relaxed);
        }
        true
    }
}
