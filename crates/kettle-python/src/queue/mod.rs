//! The queues, between processes and between threads.

pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::stats::QueueStatistics;
use pyo3::prelude::*;

use crate::primitive;

/// Wherever the queue is stored. `size` is passed separately, because items may be elsewhere.
pub(super) fn queue_statistics<'py>(py: Python<'py>, size: u64, s: &QueueStatistics) -> PyResult<Bound<'py, PyAny>> {
    primitive::record(
        py,
        "QueueStatistics",
        &[
            ("size", size),
            ("maxsize", s.maxsize.into()),
            ("put", s.put.into()),
            ("got", s.got.into()),
            ("unfinished", s.unfinished.into()),
            ("getters_waiting", s.getters_waiting.into()),
            ("putters_waiting", s.putters_waiting.into()),
            ("shut_down", s.shut_down.into()),
            ("owners_died", s.owners_died.into()),
            ("bytes", s.bytes),
        ],
    )
}
