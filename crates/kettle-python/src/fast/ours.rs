//! Checks whether a method that is called through the object is still ours.
//!
//! In the standard library `Queue.put_nowait` calls `self.put(...)`, and the end of a semaphore's `with` block calls
//! `self.release()`. A subclass may override these methods; a test or a tracer may replace one in the class, or in one
//! object, at any time. A native shortcut for such a call checks for that first.
//!
//! A class has a version, which the interpreter changes with every change of the class or of one of its bases. An
//! object remembers the version for which no replacement was found, so that normally one comparison suffices. An object
//! rarely has attributes of its own, or always has the same ones. Whether it has any, and up to CPython 3.12 which, is
//! determined from the words before it and after it in memory. The interpreter does not guarantee this layout, so it is
//! tested at startup.

#[cfg(Py_3_14)]
use std::sync::atomic::AtomicU8;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

/// Whether the interpreter keeps an object's attributes where `attributes_around` expects them.
static IS_LAYOUT_KNOWN: AtomicBool = AtomicBool::new(false);

/// The word at `words` words before `object`.
///
/// # Safety
/// That is within what was allocated for it.
#[inline(always)]
unsafe fn word_before(object: *mut ffi::PyObject, words: usize) -> *mut u8 {
    // SAFETY: as promised; another thread may write the pointer at the same time, so it is read in one piece.
    unsafe { AtomicPtr::from_ptr(object.cast::<*mut u8>().sub(words)).load(Ordering::Relaxed) }
}

/// The result of `attributes_of` for an object that has none.
const NO_ATTRIBUTES: u64 = 0;
/// The result for an object whose attributes cannot be identified: they are in a dictionary, or there are too many.
const UNTOLD: u64 = 1;

/// Which attributes stand in an array of values. The bytes before it are its own size, how many there are, and the
/// number of each among the names of the class, the last one first; the numbers of a class stay.
///
/// # Safety
/// It is one of an object's in CPython 3.11 or 3.12.
#[cfg(not(Py_3_13))]
#[inline(always)]
unsafe fn attributes_in(values: *mut u8) -> u64 {
    // SAFETY: as promised. There are eight such bytes at least, and none is written without the GIL.
    let word = u64::from_le_bytes(unsafe { values.sub(8).cast::<[u8; 8]>().read() });
    match word >> 48 & 0xff {
        0 => NO_ATTRIBUTES,
        1..=6 => word,
        _ => UNTOLD,
    }
}

/// Whether attributes are stored after the rest of an object: their number is the second byte there. For an object that
/// has a dictionary there may be none.
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

/// Which attributes an object has, judged by the words before it and after it: `NO_ATTRIBUTES`, `UNTOLD`, or a number
/// that differs for different attributes as long as the class is the same.
///
/// # Safety
/// Its class is written in Python, on top of one of ours; the interpreter is CPython 3.11 to 3.14.
#[inline(always)]
unsafe fn attributes_around(object: *mut ffi::PyObject) -> u64 {
    // SAFETY: in these versions the two words before the collector's two, or one word without a GIL, are for this.
    unsafe {
        #[cfg(not(Py_3_12))]
        {
            let (dictionary, values) = (word_before(object, 3), word_before(object, 4));
            match (dictionary.is_null(), values.is_null()) {
                (false, _) => UNTOLD,
                (true, true) => NO_ATTRIBUTES,
                (true, false) => attributes_in(values),
            }
        }
        // One or the other; of values, the address less one.
        #[cfg(all(Py_3_12, not(Py_3_13)))]
        {
            let either = word_before(object, 3);
            match (either.is_null(), either.addr() & 1) {
                (true, _) => NO_ATTRIBUTES,
                (false, 0) => UNTOLD,
                (false, _) => attributes_in(either.add(1)),
            }
        }
        // Values are only in objects that have nothing else in them, so not in ours.
        #[cfg(all(Py_3_13, not(Py_3_14)))]
        {
            let dictionary = word_before(object, if cfg!(Py_GIL_DISABLED) { 1 } else { 3 });
            if dictionary.is_null() { NO_ATTRIBUTES } else { UNTOLD }
        }
        #[cfg(Py_3_14)]
        {
            let dictionary = word_before(object, if cfg!(Py_GIL_DISABLED) { 1 } else { 3 });
            if dictionary.is_null() && !has_values_behind(object) { NO_ATTRIBUTES } else { UNTOLD }
        }
    }
}

/// Tests whether attributes are where they are expected, in a subclass of `native`, a class of ours.
pub(crate) fn learn_layout(native: &Bound<'_, PyType>) -> PyResult<()> {
    let py = native.py();
    if !(py.version_info() >= (3, 11) && py.version_info() < (3, 15)) {
        return Ok(());
    }
    let class = py.get_type::<PyType>().call1(("Probe", (native,), PyDict::new(py)))?;
    let (probe, other) = (class.call0()?, class.call0()?);
    // SAFETY: they are of such a class.
    let look = |object: &Bound<'_, PyAny>| unsafe { attributes_around(object.as_ptr()) };
    let before = look(&probe);
    probe.setattr("x", 1)?;
    let x = look(&probe);
    probe.setattr("y", 1)?;
    let x_and_y = look(&probe);
    probe.delattr("x")?;
    let y = look(&probe);
    probe.getattr("__dict__")?;
    let with_dictionary = look(&probe);
    let all = [x, x_and_y, y];
    let are_told = all.iter().all(|a| *a > UNTOLD) && x != x_and_y && x_and_y != y && x != y;
    let is_known = before == NO_ATTRIBUTES
        && (are_told || all == [UNTOLD; 3])
        && with_dictionary == UNTOLD
        && look(&other) == NO_ATTRIBUTES;
    IS_LAYOUT_KNOWN.store(is_known, Ordering::Relaxed);
    Ok(())
}

/// Whether attributes are where they are expected; otherwise every object is assumed to have some.
#[pyfunction]
pub(crate) fn is_layout_known() -> bool {
    IS_LAYOUT_KNOWN.load(Ordering::Relaxed)
}

/// Which attributes of its own `object` has, as defined by `attributes_around`.
#[inline(always)]
fn attributes_of(object: &Bound<'_, PyAny>) -> u64 {
    if !IS_LAYOUT_KNOWN.load(Ordering::Relaxed) {
        return UNTOLD;
    }
    // SAFETY: it is of a class in Python on top of one of ours, as all that have the methods that ask for this; such a
    // one was tried.
    unsafe { attributes_around(object.as_ptr()) }
}

/// The version of a class, or 0 if it has none at present.
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

/// A group of methods that are called through the object.
pub(crate) struct Called {
    names: &'static [&'static str],
    interned: PyOnceLock<Vec<Py<PyString>>>,
    /// Versions of classes that have our methods, the most recent few.
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

    /// Whether a class has our methods: ours are native, and replacements are not.
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

    /// Whether one of them is overridden in the object itself, whose class has ours.
    #[cold]
    fn are_attributes(&self, object: &Bound<'_, PyAny>, are_told: bool) -> PyResult<bool> {
        if are_told { self.are_found_in(object) } else { self.are_in_dictionary_of(object) }
    }

    /// The same, by looking up each one. This spares the object a dictionary, which it would get at the first access to
    /// one.
    fn are_found_in(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
        let class = object.get_type();
        for name in self.interned(object.py()) {
            let ours = class.getattr(name)?.call_method1(intern!(object.py(), "__get__"), (object,))?;
            if !object.getattr(name)?.eq(ours)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn are_in_dictionary_of(&self, object: &Bound<'_, PyAny>) -> PyResult<bool> {
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

    /// Whether the class of `object` is known to have our methods.
    pub(crate) fn is_known(&self, object: &Bound<'_, PyAny>) -> bool {
        let version = version(object);
        version != 0 && self.known.iter().any(|known| known.load(Ordering::Relaxed) == version)
    }

    fn remember(&self, version: u32) {
        let place = self.next.fetch_add(1, Ordering::Relaxed) as usize % self.known.len();
        self.known[place].store(version, Ordering::Relaxed);
    }
}

/// The additional condition beside the methods.
type Check = fn(&Bound<'_, PyType>) -> PyResult<bool>;

/// No condition.
pub(crate) fn nothing_else(_: &Bound<'_, PyType>) -> PyResult<bool> {
    Ok(true)
}

/// What an object remembers: the version of its class in which the methods were ours, and the attributes of the object
/// with which they were ours too.
pub(crate) struct Ours {
    version: AtomicU32,
    attributes: AtomicU64,
}

/// No class has this version.
const NONE: u32 = u32::MAX;

impl Ours {
    pub(crate) const fn new() -> Self {
        Self { version: AtomicU32::new(NONE), attributes: AtomicU64::new(NO_ATTRIBUTES) }
    }

    /// Whether this was established before for the present class of `object`, which this is part of.
    #[inline(always)]
    pub(crate) fn is_known(&self, object: &Bound<'_, PyAny>) -> bool {
        version(object) == self.version.load(Ordering::Relaxed)
    }

    /// Whether the class of `object`, which this is part of, has our methods and meets the condition `check`.
    #[inline(always)]
    pub(crate) fn in_class(&self, object: &Bound<'_, PyAny>, called: &Called, check: Check) -> bool {
        version(object) == self.version.load(Ordering::Relaxed) || self.look(object, called, check)
    }

    /// The same, and whether the object itself overrides none.
    #[inline(always)]
    pub(crate) fn in_object(&self, object: &Bound<'_, PyAny>, called: &Called, check: Check) -> bool {
        if !self.in_class(object, called, check) {
            return false;
        }
        let attributes = attributes_of(object);
        attributes == NO_ATTRIBUTES
            || attributes == self.attributes.load(Ordering::Relaxed)
            || self.look_at_attributes(object, attributes, called)
    }

    #[cold]
    fn look_at_attributes(&self, object: &Bound<'_, PyAny>, attributes: u64, called: &Called) -> bool {
        let are_told = attributes != UNTOLD;
        // If this lookup raises, the call itself will raise too.
        let are_ours = !called.are_attributes(object, are_told).unwrap_or(true);
        // The lookups may have run user code.
        if are_ours && are_told && attributes == attributes_of(object) {
            self.attributes.store(attributes, Ordering::Relaxed);
        }
        are_ours
    }

    /// Whether `class`, that of an object before this one, meets the condition `check`.
    #[inline(always)]
    pub(crate) fn in_type(&self, class: &Bound<'_, PyType>, check: impl FnOnce() -> PyResult<bool>) -> bool {
        // SAFETY: it is a class.
        let version = || unsafe { version_of(class.as_type_ptr()) };
        let before = version();
        if before == self.version.load(Ordering::Relaxed) {
            return true;
        }
        let is_so = check().unwrap_or(false);
        if is_so && before != 0 && before == version() {
            self.version.store(before, Ordering::Relaxed);
        }
        is_so
    }

    #[cold]
    fn look(&self, object: &Bound<'_, PyAny>, called: &Called, check: Check) -> bool {
        let before = version(object);
        let is_known = called.is_known(object);
        // If a lookup in a metaclass raises, the method counts as replaced: the call itself will raise too.
        let class = object.get_type();
        let is_ours = || Ok::<_, PyErr>(check(&class)? && called.are_native(&class)?);
        if !is_known && !is_ours().unwrap_or(false) {
            return false;
        }
        // The first lookup gives a class a version, if it has none.
        if before != 0 && before == version(object) {
            if !is_known {
                called.remember(before);
            }
            // In another class the same number denotes other attributes.
            self.attributes.store(NO_ATTRIBUTES, Ordering::Relaxed);
            self.version.store(before, Ordering::Relaxed);
        }
        true
    }
}
