//! Whether a method that others call through the object is still ours.
//!
//! In the standard library `Queue.put_nowait` says `self.put(...)`, and the end of a semaphore's `with` block
//! `self.release()`. A subclass may have another one; a test or a tracer may put one into the class, or into one object,
//! at any time. What does it natively instead looks here first.
//!
//! A class has a version, which its interpreter changes with every change of the class or of one of its bases. The
//! version for which it was found that nothing was replaced is kept in the object, so that ordinarily one comparison
//! tells. Attributes of its own an object has rarely; whether it has any tells what stands in front of it and behind it.
//! That is no promise of the interpreter's, so it is tried at the start.

#[cfg(Py_3_14)]
use std::sync::atomic::AtomicU8;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use crate::threads::event::Event;

/// Whether the interpreter keeps the attributes of an object where `seems_to_have_attributes` looks.
static IS_LAYOUT_KNOWN: AtomicBool = AtomicBool::new(false);

/// The word that is `words` words in front of `object`.
///
/// # Safety
/// That is within what was allocated for it.
#[inline(always)]
unsafe fn word_before(object: *mut ffi::PyObject, words: usize) -> *mut u8 {
    // SAFETY: as promised; another thread may write the pointer at the same time, so it is read in one piece.
    unsafe { AtomicPtr::from_ptr(object.cast::<*mut u8>().sub(words)).load(Ordering::Relaxed) }
}

/// How many attributes stand in an array of values: the byte before the last before it.
///
/// # Safety
/// It is one of an object's in CPython 3.11 or 3.12.
#[cfg(not(Py_3_13))]
#[inline(always)]
unsafe fn are_values(values: *mut u8) -> bool {
    // SAFETY: as promised.
    unsafe { *values.sub(2) != 0 }
}

/// Whether attributes stand behind what else is in an object: their number is the second byte there. An object that has
/// a dictionary may have none there.
///
/// # Safety
/// Its class is written in Python; the interpreter is CPython 3.14.
#[cfg(Py_3_14)]
#[inline(always)]
unsafe fn has_values_behind(object: *mut ffi::PyObject) -> bool {
    /// `Py_TPFLAGS_INLINE_VALUES`: the objects of the class have room for them.
    const INLINE_VALUES: std::ffi::c_ulong = 1 << 2;
    // SAFETY: such a class has a size; with that flag its objects are longer by values. Another thread may set an
    // attribute at the same time, so the byte is read in one piece.
    unsafe {
        let class = ffi::Py_TYPE(object);
        if ffi::PyType_HasFeature(class, INLINE_VALUES) == 0 {
            return false;
        }
        let number = object.byte_offset((*class).tp_basicsize).cast::<u8>().add(1);
        AtomicU8::from_ptr(number).load(Ordering::Relaxed) != 0
    }
}

/// Whether an object has attributes, or a dictionary at least, by what stands in front of it, and behind it.
///
/// # Safety
/// Its class is written in Python, on top of one of ours; the interpreter is CPython 3.11 to 3.14.
#[inline(always)]
unsafe fn seems_to_have_attributes(object: *mut ffi::PyObject) -> bool {
    // SAFETY: in these versions the two words before the collector's two, or one word without a GIL, are for this.
    unsafe {
        #[cfg(not(Py_3_12))]
        {
            let (dictionary, values) = (word_before(object, 3), word_before(object, 4));
            !dictionary.is_null() || !values.is_null() && are_values(values)
        }
        // One or the other; of values, the address less one.
        #[cfg(all(Py_3_12, not(Py_3_13)))]
        {
            let either = word_before(object, 3);
            !either.is_null() && (either.addr() & 1 == 0 || are_values(either.add(1)))
        }
        // Values are only in objects that have nothing else in them, so not in ours.
        #[cfg(all(Py_3_13, not(Py_3_14)))]
        {
            !word_before(object, if cfg!(Py_GIL_DISABLED) { 1 } else { 3 }).is_null()
        }
        #[cfg(Py_3_14)]
        {
            !word_before(object, if cfg!(Py_GIL_DISABLED) { 1 } else { 3 }).is_null() || has_values_behind(object)
        }
    }
}

/// Tries whether attributes are where they are looked for.
pub(crate) fn learn_layout(py: Python<'_>) -> PyResult<()> {
    if !(py.version_info() >= (3, 11) && py.version_info() < (3, 15)) {
        return Ok(());
    }
    let class = py.get_type::<PyType>().call1(("Probe", (py.get_type::<Event>(),), PyDict::new(py)))?;
    let (probe, other) = (class.call0()?, class.call0()?);
    // SAFETY: they are of such a class.
    let has_some = |object: &Bound<'_, PyAny>| unsafe { seems_to_have_attributes(object.as_ptr()) };
    let before = has_some(&probe);
    probe.setattr("x", 1)?;
    let after = has_some(&probe);
    probe.getattr("__dict__")?;
    let with_dictionary = has_some(&probe);
    let is_known = !before && after && with_dictionary && !has_some(&other);
    IS_LAYOUT_KNOWN.store(is_known, Ordering::Relaxed);
    Ok(())
}

/// Whether attributes are found where they are; else each object is taken for one that has some.
#[pyfunction]
pub(crate) fn is_layout_known() -> bool {
    IS_LAYOUT_KNOWN.load(Ordering::Relaxed)
}

/// Whether `object` has attributes of its own, or may have.
#[inline(always)]
fn has_attributes(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: it is of a class in Python on top of one of ours, as all that have the methods that ask for this; such a
    // one was tried.
    !IS_LAYOUT_KNOWN.load(Ordering::Relaxed) || unsafe { seems_to_have_attributes(object.as_ptr()) }
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

/// What it takes beside the methods.
type Check = fn(&Bound<'_, PyType>) -> PyResult<bool>;

/// Nothing.
pub(crate) fn nothing_else(_: &Bound<'_, PyType>) -> PyResult<bool> {
    Ok(true)
}

/// What an object remembers of its class: the version in which the methods were ours.
pub(crate) struct Ours(AtomicU32);

/// No class has it.
const NONE: u32 = u32::MAX;

impl Ours {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(NONE))
    }

    /// Whether the class of `object`, which this is part of, has ours, and what `check` finds in it.
    #[inline(always)]
    pub(crate) fn in_class(&self, object: &Bound<'_, PyAny>, called: &Called, check: Check) -> bool {
        version(object) == self.0.load(Ordering::Relaxed) || self.look(object, called, check)
    }

    /// The same, and whether the object has none of its own.
    #[inline(always)]
    pub(crate) fn in_object(&self, object: &Bound<'_, PyAny>, called: &Called, check: Check) -> bool {
        self.in_class(object, called, check)
            && !(has_attributes(object) && called.are_attributes(object).unwrap_or(true))
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
    fn look(&self, object: &Bound<'_, PyAny>, called: &Called, check: Check) -> bool {
        let before = version(object);
        let is_known = before != 0 && called.known.iter().any(|known| known.load(Ordering::Relaxed) == before);
        // What raises in a class of classes is as good as another method: the call itself will say so.
        let class = object.get_type();
        if !is_known && !called.are_native(&class).and_then(|native| Ok(native && check(&class)?)).unwrap_or(false) {
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
