//! The replacement of `builtins.__import__` while names are redirected (`kettle.install()`).
//!
//! It is native for two reasons: every import statement of the program passes through it, and a Python function would
//! add a line of ours to each traceback of an error during an import.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString};

use crate::fast::calls;

/// Passes imports on to `standard`, except those that concern the packages `names`, which go to `redirected`. Both are
/// called as `__import__` is.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Importer {
    standard: Py<PyAny>,
    redirected: Py<PyAny>,
    /// Top-level names of packages.
    names: Py<PySet>,
}

#[pymethods]
impl Importer {
    #[new]
    fn new(standard: Py<PyAny>, redirected: Py<PyAny>, names: Py<PySet>) -> Self {
        Self { standard, redirected, names }
    }

    #[pyo3(signature = (name, globals = None, locals = None, fromlist = None, level = 0))]
    fn __call__<'py>(
        &self,
        name: &Bound<'py, PyString>,
        globals: Option<&Bound<'py, PyAny>>,
        locals: Option<&Bound<'py, PyAny>>,
        fromlist: Option<&Bound<'py, PyAny>>,
        level: u32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        let concerned = if level == 0 {
            self.is_named(name)?
        } else {
            // A module inside one of the packages may be importing its neighbour.
            package_of(globals)?.map_or(Ok(false), |package| self.is_named(&package))?
        };
        let import = if concerned { &self.redirected } else { &self.standard };
        // A daemon thread may still be importing when the interpreter ends.
        calls::call_all(import.bind(py), &(name, globals, locals, fromlist, level).into_pyobject(py)?)
    }
}

impl Importer {
    /// Whether `module` is one of the packages or inside one.
    fn is_named(&self, module: &Bound<'_, PyString>) -> PyResult<bool> {
        let name = module.to_str()?;
        let top = name.split_once('.').map_or(name, |(top, _)| top);
        self.names.bind(module.py()).contains(top)
    }
}

/// The package of the module with these globals, as far as they name it.
fn package_of<'py>(globals: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyString>>> {
    let Some(globals) = globals.and_then(|globals| globals.cast::<PyDict>().ok()) else { return Ok(None) };
    let package = globals.get_item(intern!(globals.py(), "__package__"))?;
    Ok(package.and_then(|package| package.cast_into::<PyString>().ok()))
}
