//! Conversion of arguments, and the errors for wrong ones: the parameter's name, what it must be, and what it was. For
//! `from_py_with`.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};

/// Any value, converted to its truth value.
pub(crate) fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_truthy()
}

/// A time limit in seconds; None means no limit.
pub(crate) fn timeout(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    seconds_or_none(value, "timeout")
}

/// The same for the hottest methods, with the conversion inlined.
pub(crate) struct Timeout(pub(crate) Option<f64>);

impl<'py> FromPyObject<'_, 'py> for Timeout {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        timeout(&value).map(Self)
    }
}

/// The time limit of a task.
pub(crate) fn task_timeout(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    let seconds = seconds_or_none(value, "task_timeout")?;
    if seconds.is_some_and(|seconds| seconds < 0.0) {
        return Err(PyValueError::new_err(format!("task_timeout must not be negative, and is {}", shown(value))));
    }
    Ok(seconds)
}

/// Like [`timeout`], for a parameter that does not accept None.
pub(crate) fn seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    value.extract().map_err(|e| refused(value, "timeout", "a number of seconds", e))
}

fn seconds_or_none(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<f64>> {
    if value.is_none() {
        return Ok(None);
    }
    match value.extract::<f64>() {
        Ok(seconds) if seconds.is_nan() => Err(PyValueError::new_err(format!("{name} must be a number, not nan"))),
        Ok(seconds) => Ok(Some(seconds)),
        Err(e) => Err(refused(value, name, "a number of seconds or None", e)),
    }
}

macro_rules! whole_numbers {
    ($($name:ident),*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`, a whole number.")]
            pub(crate) fn $name(value: &Bound<'_, PyAny>) -> PyResult<i64> {
                whole(value, stringify!($name))
            }
        )*
    };
}
whole_numbers!(value, n, parties, max, maxsize, offset);

/// A number of bytes, or None for all.
pub(crate) fn size(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    whole_or_none(value, "size")
}

/// The greatest number of bytes, or None for any.
pub(crate) fn maxlength(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    whole_or_none(value, "maxlength")
}

fn whole_or_none(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<i64>> {
    if value.is_none() {
        return Ok(None);
    }
    value.extract().map(Some).map_err(|e| refused(value, name, "a whole number or None", e))
}

/// What reports call an object; None if it has no name.
pub(crate) fn name(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    text_or_none(value, "name")
}

/// What happens in a deadlock; None for no change.
pub(crate) fn policy(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    text_or_none(value, "policy")
}

/// How the death of a lock's holder is treated.
pub(crate) fn on_owner_death(value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.extract().map_err(|e| refused(value, "on_owner_death", "\"raise\" or \"recover\"", e))
}

fn text_or_none(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    value.extract().map(Some).map_err(|e| refused(value, name, "text or None", e))
}

/// An iterator over an object.
pub(crate) fn iterator<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyIterator>> {
    value.try_iter().map_err(|e| refused(value, name, "an iterable", e))
}

/// What the last party at a barrier calls; None if nothing.
pub(crate) fn action(value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    if value.is_none() {
        return Ok(None);
    }
    callable(value, "action")?;
    Ok(Some(value.clone().unbind()))
}

/// Raises TypeError if the value cannot be called.
pub(crate) fn callable(value: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
    if value.is_callable() {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!("{name} must be a callable (for example a function), not {}", shown(value))))
}

/// The bytes of an object.
pub(crate) fn buffer(value: &Bound<'_, PyAny>, name: &str) -> PyResult<PyUntypedBuffer> {
    PyUntypedBuffer::get(value).map_err(|e| refused(value, name, "a bytes-like object", e))
}

fn whole(value: &Bound<'_, PyAny>, name: &str) -> PyResult<i64> {
    value.extract().map_err(|e| refused(value, name, "a whole number", e))
}

/// The error for a value that could not be converted: for a wrong type, what it must be. If the number is too large, or
/// if the program's own `__float__`, or Ctrl-C in it, raised an exception, that error is returned unchanged.
pub(crate) fn refused(value: &Bound<'_, PyAny>, name: &str, must_be: &str, e: PyErr) -> PyErr {
    match e.is_instance_of::<PyTypeError>(value.py()) {
        true => PyTypeError::new_err(format!("{name} must be {must_be}, not {}", shown(value))),
        false => e,
    }
}

/// Rejects positional arguments.
pub(crate) fn no_positional(function: &str, args: &Bound<'_, PyTuple>) -> PyResult<()> {
    if args.is_empty() {
        return Ok(());
    }
    let text = format!(
        "{function}() takes no positional arguments, and got {}; a name is given by a keyword: {function}(name=...)",
        args.iter().map(|value| shown(&value)).collect::<Vec<_>>().join(", ")
    );
    Err(PyTypeError::new_err(text))
}

/// How a message displays a value.
fn shown(value: &Bound<'_, PyAny>) -> String {
    const MOST: usize = 60;
    match value.repr() {
        Ok(text) if text.len().is_ok_and(|len| len <= MOST) => text.to_string(),
        _ => {
            value.get_type().name().map_or_else(|_| "this".to_owned(), |name| format!("an object of the class {name}"))
        }
    }
}
