//! Creation of objects without arguments in one step, without calling an `__init__` that would do nothing.
//!
//! Calling a class goes through `type.__call__`, which calls `__new__` and then `__init__`; for a PyO3 class this costs
//! more than creating a lock. A class may define its own function for being called instead. Ours creates the object
//! directly if there are no arguments and both methods are still the native ones; otherwise it works like
//! `type.__call__`.

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::fast::vectorcall::{answer, object_or_null};
use crate::parameters;
use crate::sync::between_threads::set_name;
use crate::sync::lock::thread::Lock;

/// Lets `cls`, a subclass of `T`, create objects in one step, unless it overrides the methods for that.
pub(super) fn install<T: PyTypeInfo>(cls: &Bound<'_, PyType>) {
    // SAFETY: it is a class, no other thread calls it yet, and a function of this kind is what the field is for.
    unsafe {
        if is_plain::<T>(cls.py(), cls.as_type_ptr()) {
            (*cls.as_type_ptr()).tp_vectorcall = Some(call::<T>);
        }
    }
}

/// Whether `__new__` and `__init__` of `cls` are those of `T`.
///
/// # Safety
/// `cls` is a class, and the interpreter is attached.
unsafe fn is_plain<T: PyTypeInfo>(py: Python<'_>, cls: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: as promised; classes of PyO3 stay for ever.
    let (this, native) = unsafe { (&*cls, &*T::type_object_raw(py)) };
    let new = |class: &ffi::PyTypeObject| class.tp_new.map(|new| new as usize);
    let init = |class: &ffi::PyTypeObject| class.tp_init.map(|init| init as usize);
    new(this) == new(native) && init(this) == init(native)
}

/// Creates an object of `cls`, a subclass of `T`, as the `__new__` of `T` does.
fn make<'py, T: PyTypeInfo>(cls: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = cls.py();
    // SAFETY: classes of PyO3 stay for ever.
    let new = unsafe { (*T::type_object_raw(py)).tp_new };
    let new = new.ok_or_else(|| PySystemError::new_err("a class that cannot be instantiated"))?;
    let none = PyTuple::empty(py);
    // SAFETY: `cls` is a subclass, there are no arguments; what comes back is a new reference or NULL with an
    // exception.
    unsafe { Bound::from_owned_ptr_or_err(py, new(cls.as_type_ptr(), none.as_ptr(), std::ptr::null_mut())) }
}

unsafe extern "C" fn call<T: PyTypeInfo>(
    cls: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter is attached, since it called us for a class that has this function.
    unsafe {
        answer(|| {
            let py = Python::assume_attached();
            let class = Bound::from_borrowed_ptr(py, cls).cast_into_unchecked::<PyType>();
            let nargs = ffi::PyVectorcall_NARGS(nargsf);
            let made = if nargs == 0 && kwnames.is_null() && is_plain::<T>(py, class.as_type_ptr()) {
                make::<T>(&class)
            } else {
                call_type(&class, args, nargs, kwnames)
            };
            object_or_null(py, made)
        })
    }
}

/// `type.__call__`.
///
/// # Safety
/// The arguments are those of a vectorcall that is under way.
unsafe fn call_type<'py>(
    class: &Bound<'py, PyType>,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: as promised, there are so many objects, and then one for each name.
    let given = |place: ffi::Py_ssize_t| unsafe { Bound::from_borrowed_ptr(py, *args.offset(place)) };
    let positional = PyTuple::new(py, (0..nargs).map(given).collect::<Vec<_>>())?;
    let keywords = PyDict::new(py);
    // SAFETY: as promised, it is a tuple or NULL.
    if let Some(names) = unsafe { Bound::from_borrowed_ptr_or_opt(py, kwnames) } {
        for (place, name) in names.cast_into::<PyTuple>()?.iter().enumerate() {
            keywords.set_item(name, given(nargs + place as ffi::Py_ssize_t))?;
        }
    }
    // Not `PyObject_Call`, which would end up here again.
    // SAFETY: what has a vectorcall of its own as a class has a class with `__call__`; all are alive; what comes back
    // is a new reference or NULL with an exception set.
    unsafe {
        let call = (*class.get_type_ptr()).tp_call;
        let call = call.ok_or_else(|| PySystemError::new_err("a class that cannot be called"))?;
        Bound::from_owned_ptr_or_err(py, call(class.as_ptr(), positional.as_ptr(), keywords.as_ptr()))
    }
}

/// Stands in for `threading.Lock` where that is not a class: creates an object of a class that is not meant to be
/// called.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct LockMaker {
    class: Py<PyType>,
}

#[pymethods]
impl LockMaker {
    #[new]
    fn new(kind: &Bound<'_, PyType>) -> PyResult<Self> {
        if !kind.is_subclass_of::<Lock>()? {
            return Err(PyTypeError::new_err("not a class of locks between threads"));
        }
        Ok(Self { class: kind.clone().unbind() })
    }

    #[pyo3(signature = (*args, name=None))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        name: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        parameters::no_positional("Lock", args)?;
        let lock = make::<Lock>(self.class.bind(py))?;
        set_name(&lock, name)?;
        Ok(lock)
    }
}
