//! `Condition`, between processes and between threads.

pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::stats::ConditionStatistics;
use pyo3::prelude::*;

use crate::primitive;

pub(super) fn condition_statistics<'py>(py: Python<'py>, s: &ConditionStatistics) -> PyResult<Bound<'py, PyAny>> {
    let fields = [("waiting", s.waiting.into()), ("notified", s.notified.into())];
    primitive::record(py, "ConditionStatistics", &fields)
}
