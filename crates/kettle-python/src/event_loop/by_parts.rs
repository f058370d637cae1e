//! The parts of a turn, for programs that replace `_run_once` by their own, such as `nest_asyncio`. `_ready` and
//! `_selector` of the Python half are made of these.

use pyo3::prelude::*;

use super::EventLoop;
use crate::fast::handle::Handle;

#[pymethods]
impl EventLoop {
    /// What runs next, in order: a copy.
    fn _kettle_ready(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.lock(py).ready.iter().map(|handle| handle.object().clone_ref(py)).collect()
    }

    /// How many are ready.
    fn _kettle_count_ready(&self, py: Python<'_>) -> usize {
        self.lock(py).ready.len()
    }

    /// Takes what runs next; None if nothing does.
    fn _kettle_pop_ready<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let handle = self.lock(py).ready.pop()?;
        Some(handle.into_bound(py))
    }

    /// Has a handle run next. If it is a timer of this loop, it is one no longer.
    fn _kettle_push_ready(&self, handle: Bound<'_, PyAny>) {
        let py = handle.py();
        let mut parts = self.lock(py);
        let timer = parts.timers.take(|timer| timer.object().is(&handle));
        match &timer {
            Some(timer) => {
                if timer.is_cancelled(py) {
                    parts.timers.note_cancelled_is_out();
                }
                timer.set_due(py);
                parts.ready.push(timer.clone_ref(py));
            }
            None => parts.ready.push(Handle::of(handle)),
        }
        drop(parts);
    }

    /// Waits until something is ready, at most `timeout` seconds; None for ever. The callbacks of descriptors and of
    /// other threads become ready.
    #[pyo3(signature = (timeout=None))]
    fn _kettle_select(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        self.check_open()?;
        self.drop_cancelled(py);
        py.check_signals()?;
        let limit = if self._kettle_count_ready(py) > 0 { Some(0.0) } else { timeout };
        self.poll(py, limit.map(Self::sleep_of))?;
        py.check_signals()?;
        self.empty_inbox(py);
        Ok(())
    }
}
