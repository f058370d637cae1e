//! `Semaphore` and `BoundedSemaphore`, between processes and between threads.

pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::stats::SemaphoreStatistics;
use pyo3::prelude::*;

use crate::primitive;

pub(super) fn semaphore_statistics<'py>(py: Python<'py>, s: &SemaphoreStatistics) -> PyResult<Bound<'py, PyAny>> {
    primitive::record(
        py,
        "SemaphoreStatistics",
        &[
            ("value", s.value.into()),
            ("limit", s.limit.into()),
            ("waiting", s.waiting.into()),
            ("recovered", s.recovered.into()),
        ],
    )
}
