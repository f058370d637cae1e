//! The handle classes: subclasses of `asyncio.Handle` and `asyncio.TimerHandle` that add no attributes.
//!
//! asyncio's classes keep their attributes in *slots*: pointers at offsets that the class itself reports ([`Slots`]).
//! So `repr`, comparisons, `get_context()` and everything else are inherited from asyncio, in every version of Python.

use std::ffi::{CStr, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::spare::Spare;

/// The offsets of the slots in an object, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    pub(crate) callback: isize,
    pub(crate) args: isize,
    pub(crate) cancelled: isize,
    pub(crate) event_loop: isize,
    pub(crate) source_traceback: isize,
    pub(crate) repr: isize,
    pub(crate) context: isize,
}

/// The additional slots of a `TimerHandle`.
#[derive(Clone, Copy)]
pub(crate) struct TimerSlots {
    pub(crate) scheduled: isize,
    pub(crate) when: isize,
}

/// The functions behind `cancel` of the two classes.
#[derive(Clone, Copy)]
pub(crate) struct CancelMethods {
    pub(crate) plain: ffi::PyCFunction,
    pub(crate) timer: ffi::PyCFunction,
}

pub(crate) struct Classes {
    pub(crate) plain: Py<PyType>,
    pub(crate) timer: Py<PyType>,
    pub(crate) slots: Slots,
    pub(crate) timer_slots: TimerSlots,
    pub(crate) cancel: CancelMethods,
    /// asyncio's own `_run`, as it was when it was first seen.
    run: Py<PyAny>,
    base: Py<PyType>,
}

pub(crate) static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();
static SPARE_PLAIN: Spare = Spare::new();
static SPARE_TIMERS: Spare = Spare::new();
/// Whether the program has replaced asyncio's `Handle._run`.
static IS_RUN_REPLACED: AtomicBool = AtomicBool::new(false);

/// The offset of the slot `name`, which `class` itself defines.
pub(crate) fn offset(class: &Bound<'_, PyType>, name: &str) -> PyResult<isize> {
    let member = class.getattr(name)?;
    // SAFETY: the type of such an object says what it is, and its definition lives as long as the class.
    let (kind, offset) = unsafe {
        if ffi::Py_IS_TYPE(member.as_ptr(), &raw mut ffi::PyMemberDescr_Type) == 0 {
            return Err(PyTypeError::new_err(format!(
                "{name} of {class:?} is not kept in a slot: this Python is not known"
            )));
        }
        let definition = (*member.as_ptr().cast::<ffi::PyMemberDescrObject>()).d_member;
        ((*definition).type_code, (*definition).offset)
    };
    match kind {
        ffi::Py_T_OBJECT_EX if offset > 0 => Ok(offset),
        _ => Err(PyTypeError::new_err(format!("{name} of {class:?} is not an object: this Python is not known"))),
    }
}

/// Creates a subclass of `base` that has no attributes of its own and cannot be subclassed.
fn make_class<'py>(
    base: &Bound<'py, PyType>,
    name: &'static CStr,
    cancel: ffi::PyCFunction,
) -> PyResult<Bound<'py, PyType>> {
    let doc = c"cancel($self, /)\n--\n\nHas the callback not be called.";
    // Both live as long as the class, which is until the process ends.
    let methods = Box::leak(Box::new([
        PyMethodDef {
            ml_name: c"cancel".as_ptr(),
            ml_meth: PyMethodDefPointer { PyCFunction: cancel },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: doc.as_ptr(),
        },
        PyMethodDef::zeroed(),
    ]));
    let end = ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() };
    let mut slots = [ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.as_mut_ptr().cast() }, end, end];
    if !cfg!(Py_GIL_DISABLED) {
        slots[1] = ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: deallocate as *mut c_void };
    }
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as c_uint,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the interpreter is attached; a size of zero is that of the base; the list of slots ends with a zero. What
    // comes back is a new reference or NULL with an exception set.
    let class = unsafe {
        let made = ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr());
        Bound::from_owned_ptr_or_err(base.py(), made)?
    };
    Ok(class.cast_into::<PyType>()?)
}

/// Works as the interpreter's own function for classes with slots, without support for what these classes do not have:
/// finalizers, dictionaries and subclasses.
unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: there is no reference any more. The object is of one of our classes, which have no subclasses; each
    // object has a reference to its class.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::PyObject_ClearWeakRefs(object);
        let Some(classes) = CLASSES.get(Python::assume_attached()) else { return };
        let slots = &classes.slots;
        let clear = |offset| ffi::Py_XDECREF(slot(object, offset).replace(ptr::null_mut()));
        clear(slots.callback);
        clear(slots.args);
        clear(slots.context);
        clear(slots.event_loop);
        clear(slots.cancelled);
        clear(slots.source_traceback);
        clear(slots.repr);
        if class == classes.timer.as_ptr().cast() {
            clear(classes.timer_slots.when);
            clear(classes.timer_slots.scheduled);
        }
        if !classes.spare(class).keep(Python::assume_attached(), object) {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// The content of a slot, borrowed, or NULL if it is empty.
///
/// # Safety
/// `object` is of a class with a slot at `offset`, and the interpreter is attached.
#[inline(always)]
pub(crate) unsafe fn slot(object: *mut ffi::PyObject, offset: isize) -> *mut *mut ffi::PyObject {
    // SAFETY: as promised.
    unsafe { object.byte_offset(offset).cast() }
}

/// Replaces the content of a slot with `value`, whose reference is taken over.
///
/// # Safety
/// As of [`slot`]; `value` is an object.
#[inline(always)]
pub(crate) unsafe fn put(object: *mut ffi::PyObject, offset: isize, value: *mut ffi::PyObject) {
    // SAFETY: as promised; the old value goes after the new one is in place, since that may run anything.
    unsafe {
        let before = slot(object, offset).replace(value);
        ffi::Py_XDECREF(before);
    }
}

/// Whether a slot contains True.
///
/// # Safety
/// As of [`slot`].
#[inline(always)]
pub(crate) unsafe fn is_true(object: *mut ffi::PyObject, offset: isize) -> bool {
    // SAFETY: as promised.
    unsafe { *slot(object, offset) == ffi::Py_True() }
}

impl Classes {
    /// Creates the two classes from asyncio's.
    pub(crate) fn create(
        handle: Bound<'_, PyType>,
        timer_handle: &Bound<'_, PyType>,
        cancel: CancelMethods,
    ) -> PyResult<Self> {
        let slots = Slots {
            callback: offset(&handle, "_callback")?,
            args: offset(&handle, "_args")?,
            cancelled: offset(&handle, "_cancelled")?,
            event_loop: offset(&handle, "_loop")?,
            source_traceback: offset(&handle, "_source_traceback")?,
            repr: offset(&handle, "_repr")?,
            context: offset(&handle, "_context")?,
        };
        let timer_slots =
            TimerSlots { scheduled: offset(timer_handle, "_scheduled")?, when: offset(timer_handle, "_when")? };
        Ok(Self {
            plain: make_class(&handle, c"kettle.asyncio.Handle", cancel.plain)?.unbind(),
            timer: make_class(timer_handle, c"kettle.asyncio.TimerHandle", cancel.timer)?.unbind(),
            slots,
            timer_slots,
            cancel,
            run: handle.getattr("_run")?.unbind(),
            base: handle.unbind(),
        })
    }

    #[inline(always)]
    pub(crate) fn get(py: Python<'_>) -> PyResult<&'static Self> {
        CLASSES.get(py).ok_or_else(|| PyTypeError::new_err("import kettle.asyncio first"))
    }

    /// Whether it can be run without asyncio's own method.
    #[inline(always)]
    pub(crate) fn may_run_quickly(&self, object: *mut ffi::PyObject) -> bool {
        !cfg!(Py_GIL_DISABLED) && self.is_ours(object) && !IS_RUN_REPLACED.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn is_ours(&self, object: *mut ffi::PyObject) -> bool {
        // SAFETY: an object has a class.
        let class = unsafe { ffi::Py_TYPE(object) };
        class == self.plain.as_ptr().cast() || class == self.timer.as_ptr().cast()
    }

    /// Whether one of ours is a timer.
    #[inline(always)]
    pub(crate) fn is_timer(&self, object: *mut ffi::PyObject) -> bool {
        // SAFETY: an object has a class.
        unsafe { ffi::Py_TYPE(object) == self.timer.as_ptr().cast() }
    }

    /// Spare objects of `class`, one of the two.
    #[inline(always)]
    fn spare(&self, class: *mut ffi::PyTypeObject) -> &'static Spare {
        if class == self.timer.as_ptr().cast() { &SPARE_TIMERS } else { &SPARE_PLAIN }
    }

    /// A new object of `class`, one of the two.
    ///
    /// # Safety
    /// `event_loop` is an object, `context` one or NULL, and `args` a tuple whose reference is taken over.
    #[inline(always)]
    pub(crate) unsafe fn make(
        &self,
        class: &Py<PyType>,
        callback: *mut ffi::PyObject,
        args: Bound<'_, PyTuple>,
        event_loop: *mut ffi::PyObject,
        context: *mut ffi::PyObject,
    ) -> PyResult<*mut ffi::PyObject> {
        let (py, class) = (args.py(), class.as_ptr().cast::<ffi::PyTypeObject>());
        // SAFETY: it is such a class, all of whose slots are NULL in a new object; None and the others are alive.
        unsafe {
            let context = if context.is_null() || context == ffi::Py_None() {
                let copy = ffi::PyContext_CopyCurrent();
                if copy.is_null() {
                    return Err(PyErr::fetch(py));
                }
                copy
            } else {
                ffi::Py_NewRef(context)
            };
            let object = match self.spare(class).take(py) {
                Some(object) => {
                    ffi::PyObject_Init(object, class);
                    ffi::PyObject_GC_Track(object.cast());
                    object
                }
                None => ffi::PyType_GenericAlloc(class, 0),
            };
            if object.is_null() {
                ffi::Py_DECREF(context);
                return Err(PyErr::fetch(py));
            }
            let fill = |offset, value| slot(object, offset).write(value);
            fill(self.slots.callback, ffi::Py_NewRef(callback));
            fill(self.slots.args, args.into_ptr());
            fill(self.slots.cancelled, ffi::Py_NewRef(ffi::Py_False()));
            fill(self.slots.event_loop, ffi::Py_NewRef(event_loop));
            fill(self.slots.source_traceback, ffi::Py_NewRef(ffi::Py_None()));
            fill(self.slots.repr, ffi::Py_NewRef(ffi::Py_None()));
            fill(self.slots.context, context);
            Ok(object)
        }
    }
}

/// Checks whether the program has replaced asyncio's way to run a handle.
pub(crate) fn look_for_replacements(py: Python<'_>) -> PyResult<()> {
    let classes = Classes::get(py)?;
    let is_ours = classes.base.bind(py).getattr(intern!(py, "_run"))?.is(&classes.run);
    IS_RUN_REPLACED.store(!is_ours, Ordering::Relaxed);
    Ok(())
}
