//! Panics as ordinary exceptions.
//!
//! A panic means that Kettle has a fault. PyO3 catches it and raises its `PanicException`, which is not an `Exception`:
//! a program that logs any error of a task and continues would end at this one. So every attempt to create a
//! `PanicException` returns an [`InternalError`] instead. The class belongs to this extension; other extensions made
//! with PyO3 have their own.

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

/// The replacement for `PanicException.__new__`.
#[pyfunction]
#[pyo3(signature = (_cls, *args))]
fn internal_error(_cls: &Bound<'_, PyAny>, args: &Bound<'_, PyTuple>) -> Py<PyAny> {
    match args.get_item(0) {
        // Before Python 3.12 the interpreter asks twice, because the first answer is not an instance of the class it
        // asked.
        Ok(made) if made.is_instance_of::<InternalError>() => made.unbind(),
        message => {
            let message = message.and_then(|message| message.extract::<String>());
            error(message.as_deref().unwrap_or("it panicked")).into_value(args.py()).into_any()
        }
    }
}

/// Makes every panic of this extension that PyO3 catches raise [`InternalError`] from now on.
pub(crate) fn become_errors(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // It is looked up in the class when an instance is created; the returned exception is raised, whatever its class.
    module.py().get_type::<PanicException>().setattr("__new__", wrap_pyfunction!(internal_error, module)?)
}

/// Runs `body` on behalf of a C caller, through which no panic may unwind.
///
/// # Errors
/// [`InternalError`] if it panics.
#[inline(always)]
pub(crate) fn caught<R>(body: impl FnOnce() -> R) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(body)).map_err(described)
}

/// The exception for a panic.
#[cold]
pub(crate) fn described(payload: Box<dyn Any + Send>) -> PyErr {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    error(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked"))
}
