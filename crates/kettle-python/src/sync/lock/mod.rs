//! `Lock` and `RLock`, between processes and between threads.

pub(crate) mod process;
pub(crate) mod thread;

use kettle_core::sync;
use pyo3::prelude::*;

use crate::primitive;

/// The state of a lock that `owner` holds: a process and a thread in the kernel's numbering.
pub(super) fn lock_statistics<'py>(
    py: Python<'py>,
    lock: &sync::Lock,
    owner: Option<(u32, u32)>,
) -> PyResult<Bound<'py, PyAny>> {
    let s = lock.statistics();
    let (pid, thread) = owner.unwrap_or((0, 0));
    primitive::record(
        py,
        "LockStatistics",
        &[
            ("locked", u64::from(owner.is_some())),
            ("broken", u64::from(s.broken)),
            ("owner_pid", pid.into()),
            ("owner_tid", thread.into()),
            ("waiting", s.waiting.into()),
            ("contended", s.contended.into()),
            ("owners_died", s.owners_died.into()),
        ],
    )
}
