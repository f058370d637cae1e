//! Handles: the work for each callback, without Python code.
//!
//! Every unusual case is left to asyncio's own methods: debug mode, a context that is not a `Context`, a program that
//! replaced `Handle._run`, and a Python without a GIL (where another thread may cancel at any moment).

use std::ffi::c_int;
use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::calls;
use super::handle_classes::{CLASSES, Classes, Slots, is_true, put, slot};

/// A scheduled callback: an `asyncio.Handle`.
#[derive(Debug)]
pub(crate) struct Handle(Py<PyAny>);

impl Handle {
    /// Creates a handle that calls `callback(*args)` in `context`, or in a copy of the current context if that is None.
    #[inline(always)]
    pub(crate) fn new(
        event_loop: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = event_loop.py();
        let classes = Classes::get(py)?;
        let context = context.map_or(ptr::null_mut(), Bound::as_ptr);
        // SAFETY: all are alive; the result is a new reference.
        unsafe {
            let made = classes.make(&classes.plain, callback.as_ptr(), args, event_loop.as_ptr(), context)?;
            Ok(Self(Bound::from_owned_ptr(py, made).unbind()))
        }
    }

    /// Creates a handle that does the same at the loop time `when`. It counts as scheduled until
    /// [`set_due`](Self::set_due).
    #[inline(always)]
    pub(crate) fn timer(
        event_loop: &Bound<'_, PyAny>,
        when: Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = event_loop.py();
        let classes = Classes::get(py)?;
        let context = context.map_or(ptr::null_mut(), Bound::as_ptr);
        // SAFETY: all are alive; the result is a new reference to an object of the class with these slots.
        unsafe {
            let made = classes.make(&classes.timer, callback.as_ptr(), args, event_loop.as_ptr(), context)?;
            slot(made, classes.timer_slots.when).write(when.into_ptr());
            slot(made, classes.timer_slots.scheduled).write(ffi::Py_NewRef(ffi::Py_True()));
            Ok(Self(Bound::from_owned_ptr(py, made).unbind()))
        }
    }

    /// A handle of any class, created by the program.
    pub(crate) fn of(object: Bound<'_, PyAny>) -> Self {
        Self(object.unbind())
    }

    #[inline(always)]
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    pub(crate) fn object(&self) -> &Py<PyAny> {
        &self.0
    }

    #[inline(always)]
    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        self.0.into_bound(py)
    }

    /// Whether it was cancelled.
    #[inline(always)]
    pub(crate) fn is_cancelled(&self, py: Python<'_>) -> bool {
        match CLASSES.get(py) {
            // SAFETY: it is of a class with this slot.
            Some(classes) if classes.is_ours(self.0.as_ptr()) => unsafe {
                is_true(self.0.as_ptr(), classes.slots.cancelled)
            },
            _ => self.0.bind(py).getattr(intern!(py, "_cancelled")).is_ok_and(|is| is.is_truthy().unwrap_or(false)),
        }
    }

    /// Cancels it.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let object = self.0.as_ptr();
        match CLASSES.get(py) {
            Some(classes) if classes.is_ours(object) => {
                let cancel = if classes.is_timer(object) { classes.cancel.timer } else { classes.cancel.plain };
                // SAFETY: the interpreter is attached, and it is of the class that has this method, which takes no
                // arguments; the result is a new reference, or NULL with an exception set.
                unsafe { Bound::from_owned_ptr_or_err(py, cancel(object, ptr::null_mut())) }.map(drop)
            }
            _ => calls::call_method(self.0.bind(py), intern!(py, "cancel"), ()).map(drop),
        }
    }

    /// Marks a timer of ours as no longer scheduled.
    #[inline(always)]
    pub(crate) fn set_due(&self, py: Python<'_>) {
        if let Some(classes) = CLASSES.get(py) {
            // SAFETY: only `timer` makes what comes here; False is an object.
            unsafe { put(self.0.as_ptr(), classes.timer_slots.scheduled, ffi::Py_NewRef(ffi::Py_False())) };
        }
    }

    /// Calls the callback in its context. Returns the exception that it raised, if any.
    #[inline(always)]
    pub(crate) fn run(&self, py: Python<'_>) -> PyResult<()> {
        match CLASSES.get(py) {
            Some(classes) if classes.may_run_quickly(self.0.as_ptr()) => {
                // SAFETY: it is of a class with these slots. No other thread touches them meanwhile: this thread has
                // the GIL, and takes references before it calls anything.
                unsafe { run_quickly(py, self.0.as_ptr(), &classes.slots) }
            }
            _ => self.run_by_method(py),
        }
    }

    /// Calls `handle._run()`, which itself reports any exception of the callback.
    pub(crate) fn run_by_method(&self, py: Python<'_>) -> PyResult<()> {
        calls::call(&self.0.bind(py).getattr(intern!(py, "_run"))?).map(drop)
    }
}

/// Up to this many arguments are copied to the stack. Longer argument lists are passed from the tuple.
const FEW: usize = 6;

/// # Safety
/// `handle` is an object of one of our classes, and the interpreter has a GIL, which this thread has.
#[inline(always)]
unsafe fn run_quickly(py: Python<'_>, handle: *mut ffi::PyObject, slots: &Slots) -> PyResult<()> {
    // SAFETY: as promised. References to all three are held during the call: the callback may cancel its handle.
    unsafe {
        let [callback, args, context] = [slots.callback, slots.args, slots.context].map(|offset| *slot(handle, offset));
        if callback.is_null() || args.is_null() || context.is_null() {
            return Err(PyTypeError::new_err("the handle is not whole"));
        }
        let callback = Bound::from_borrowed_ptr(py, callback);
        let args = Bound::from_borrowed_ptr(py, args);
        let context = Bound::from_borrowed_ptr(py, context);
        if ffi::PyContext_CheckExact(context.as_ptr()) == 0 || ffi::PyTuple_CheckExact(args.as_ptr()) == 0 {
            // As in asyncio, whatever the program intends with such a context.
            let run = context.getattr(intern!(py, "run"))?;
            let all: Vec<_> = std::iter::once(Ok(callback)).chain(args.try_iter()?).collect::<PyResult<_>>()?;
            return calls::call_all(&run, &PyTuple::new(py, all)?).map(drop);
        }
        if ffi::PyContext_Enter(context.as_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        let count = ffi::PyTuple_GET_SIZE(args.as_ptr()) as usize;
        let items = (&raw const (*args.as_ptr().cast::<ffi::PyTupleObject>()).ob_item).cast::<*mut ffi::PyObject>();
        let mut few = [ptr::null_mut::<ffi::PyObject>(); FEW + 1];
        let (first, flags) = if count <= FEW {
            ptr::copy_nonoverlapping(items, few.as_mut_ptr().add(1), count);
            // The called function may use the place before the first argument.
            (few.as_ptr().add(1), ffi::PY_VECTORCALL_ARGUMENTS_OFFSET)
        } else {
            (items, 0)
        };
        let result = calls::vectorcall_raw(callback.as_ptr(), first, count | flags);
        let left: c_int = ffi::PyContext_Exit(context.as_ptr());
        if result.is_null() {
            return Err(PyErr::fetch(py));
        }
        calls::let_go(Bound::from_owned_ptr(py, result));
        if left < 0 { Err(PyErr::fetch(py)) } else { Ok(()) }
    }
}
