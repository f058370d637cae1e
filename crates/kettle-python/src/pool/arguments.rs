//! Arguments of a call, converted as `function(*args, **kwds)` converts them.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// The arguments of `f(**kwds)`.
pub(super) fn as_dict(kwds: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyDict>> {
    match kwds.cast_into_exact::<PyDict>() {
        Ok(kwds) => Ok(kwds),
        Err(e) => {
            let mapping = e.into_inner();
            Ok(mapping.py().get_type::<PyDict>().call1((mapping,))?.cast_into()?)
        }
    }
}

/// The arguments of `f(*args)`.
pub(super) fn as_tuple(args: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyTuple>> {
    match args.cast_into_exact::<PyTuple>() {
        Ok(args) => Ok(args),
        Err(e) => args_of(e.into_inner()),
    }
}

/// Converts an iterable as `function(*args)` does.
fn args_of(args: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyTuple>> {
    let items = args.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(args.py(), items)
}
