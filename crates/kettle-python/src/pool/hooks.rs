//! The Python side of a pool: starts workers, makes exceptions, runs callbacks.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::fast::calls;

/// An object whose methods are the hooks.
pub(super) struct Hooks(Py<PyAny>);

impl Hooks {
    pub(super) fn new(object: Py<PyAny>) -> Self {
        Self(object)
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        &self.0
    }

    /// Calls a hook. If the calling thread is a daemon thread, this may not return.
    pub(super) fn call<'py>(
        &self,
        py: Python<'py>,
        hook: &Bound<'py, PyString>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        calls::call_method(self.0.bind(py), hook, args)
    }

    /// Calls a hook that makes an error. If the hook fails, returns the hook's own exception.
    pub(super) fn error<'py>(
        &self,
        py: Python<'py>,
        hook: &Bound<'py, PyString>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
    ) -> Py<PyAny> {
        self.call(py, hook, args).map_or_else(|e| e.into_value(py).into_any(), Bound::unbind)
    }
}
