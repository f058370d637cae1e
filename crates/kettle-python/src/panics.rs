//! Panics as ordinary exceptions.
//!
//! A panic says that Kettle has a fault. PyO3 catches it and raises its `PanicException`, which is no `Exception`: a
//! program that logs and goes on after any error of a task would end at this one. So whatever makes a `PanicException`
//! gets an [`InternalError`] instead. The class is this extension's own; other extensions made with PyO3 have theirs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::create_exception;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::KettleError;

create_exception!(
    kettle,
    InternalError,
    KettleError,
    "Kettle itself has a fault, which ended this call. What it was about to do is not done, or not wholly.\n\n\
     Please report it, with what was printed to the standard error stream."
);

fn error(message: &str) -> PyErr {
    InternalError::new_err(format!("Kettle has a fault; please report it: {message}"))
}

/// What stands in the place of `PanicException.__new__`.
#[pyfunction]
#[pyo3(signature = (_cls, *args))]
fn internal_error(_cls: &Bound<'_, PyAny>, args: &Bound<'_, PyTuple>) -> Py<PyAny> {
    match args.get_item(0) {
        // Before Python 3.12 the interpreter asks twice: the first answer is no instance of the class that it asked.
        Ok(made) if made.is_instance_of::<InternalError>() => made.unbind(),
        message => {
            let message = message.and_then(|message| message.extract::<String>());
            error(message.as_deref().unwrap_or("it panicked")).into_value(args.py()).into_any()
        }
    }
}

/// Has every panic of this extension that PyO3 catches raise [`InternalError`] from now on.
pub(crate) fn become_errors(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Looked up in the class when an instance is to be made; what it gives is raised, whatever class that is of.
    module.py().get_type::<PanicException>().setattr("__new__", wrap_pyfunction!(internal_error, module)?)
}

/// Runs `body` where C waits for the answer, through which no panic may pass.
///
/// # Errors
/// [`InternalError`] if it panics.
#[inline(always)]
pub(crate) fn caught<R>(body: impl FnOnce() -> R) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(body)).map_err(described)
}

/// What is raised for a panic.
#[cold]
pub(crate) fn described(payload: Box<dyn Any + Send>) -> PyErr {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    error(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked"))
}
