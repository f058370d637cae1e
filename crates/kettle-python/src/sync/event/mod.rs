//! `Event`, between processes and between threads.

pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::stats::EventStatistics;
use pyo3::prelude::*;

use crate::primitive;

pub(super) fn event_statistics<'py>(py: Python<'py>, s: &EventStatistics) -> PyResult<Bound<'py, PyAny>> {
    primitive::record(py, "EventStatistics", &[("is_set", s.is_set.into()), ("waiting", s.waiting.into())])
}
