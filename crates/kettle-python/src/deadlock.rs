//! Deadlocks, as Python sees them: what a waiter reports about itself, and what is raised.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kettle_core::arena::Off;
use kettle_core::deadlock::{self, Deadlock, Policy, Teller, Text, Wanted};
use kettle_core::sync::Home;
use kettle_core::wait::Patience;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

use crate::fast::calls::call_method;
use crate::fast::{CallSite, scopes};
use crate::parameters;

/// The policy of this process, and the threshold in seconds; first sets what is given.
#[pyfunction]
#[pyo3(signature = (policy=None, threshold=None))]
pub(crate) fn deadlock_policy(
    #[pyo3(from_py_with = parameters::policy)] policy: Option<String>,
    threshold: Option<f64>,
) -> PyResult<(&'static str, f64)> {
    let policy = match policy.as_deref() {
        None => None,
        Some("raise") => Some(Policy::Raise),
        Some("report") => Some(Policy::Report),
        Some("off") => Some(Policy::Off),
        Some(other) => {
            let text = format!("the policy must be \"raise\", \"report\" or \"off\", not {other:?}");
            return Err(PyValueError::new_err(text));
        }
    };
    if let Some(threshold) = threshold {
        let threshold = Duration::try_from_secs_f64(threshold).map_err(|e| PyValueError::new_err(e.to_string()))?;
        deadlock::set_threshold(threshold);
    }
    policy.into_iter().for_each(deadlock::set_policy);
    let now = match deadlock::policy() {
        Policy::Raise => "raise",
        Policy::Report => "report",
        Policy::Off => "off",
    };
    Ok((now, deadlock::threshold().as_secs_f64()))
}

/// Where a lock was created.
#[derive(Default)]
pub(crate) struct CreationSite(OnceLock<Place>);

enum Place {
    Here(CallSite),
    /// In another process, which reported it.
    There(FileAndLine),
}

pub(crate) type FileAndLine = (String, Option<u32>);

impl CreationSite {
    /// The Python code that called us.
    pub(crate) fn here(py: Python<'_>) -> Self {
        Self(CallSite::of_caller(py).map(|site| Place::Here(site).into()).unwrap_or_default())
    }

    /// As reported by another process.
    pub(crate) fn set_there(&self, place: FileAndLine) {
        // A site that is known here does not come from another process.
        let _ = self.0.set(Place::There(place));
    }

    /// As file and line.
    pub(crate) fn file_and_line(&self, py: Python<'_>) -> PyResult<Option<FileAndLine>> {
        match self.0.get() {
            None => Ok(None),
            Some(Place::Here(site)) => site.file_and_line(py).map(Some),
            Some(Place::There(place)) => Ok(Some(place.clone())),
        }
    }
}

/// A lock that is identified by a number.
pub(crate) trait Numbered {
    /// Its address, in this process or in the arena.
    fn number(&self) -> u64;
}

/// The number of a lock in the arena, the same in every process: no heap address is that high.
pub(crate) fn shared_number(off: Off) -> u64 {
    1 << 63 | off.to_bits()
}

/// Says which lock is waited for through an object, or released at the end of a `with` block on it: its number, if it
/// is one of ours.
pub(crate) type Recognize = fn(&Bound<'_, PyAny>) -> Option<u64>;

/// The classes of locks wait here, so this module cannot name them: they are made known when Python loads the core.
static RECOGNIZE: OnceLock<Recognize> = OnceLock::new();

/// Sets how locks are recognized.
pub(crate) fn recognize_locks_by(recognize: Recognize) {
    let _ = RECOGNIZE.set(recognize);
}

/// The number of the lock that is waited for through `object`, or released at the end of a `with` block on it.
fn number_of(object: &Bound<'_, PyAny>) -> Option<u64> {
    RECOGNIZE.get()?(object)
}

/// A thread that waits for `lock`.
struct Waiter {
    lock: Py<PyAny>,
    /// An exception that a signal handler raised during a report.
    raised: Mutex<Option<PyErr>>,
}

impl Waiter {
    /// Calls a function of `kettle._deadlock`. None if a signal handler raised; an inner `None` if the call was not
    /// possible.
    fn call<T>(&self, f: impl FnOnce(&Bound<'_, PyModule>) -> PyResult<T>) -> Option<Option<T>> {
        let result = Python::try_attach(|py| {
            let result = py.import("kettle._deadlock").and_then(|module| f(&module));
            match result {
                Ok(value) => Some(Some(value)),
                Err(e) if e.is_instance_of::<PyException>(py) => Some(None),
                Err(e) => {
                    *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                    None
                }
            }
        });
        // Without an interpreter there is nothing to report.
        result.unwrap_or(Some(None))
    }
}

impl Teller for Waiter {
    fn text(&self) -> Option<Text> {
        let told = self.call(|module| {
            call_method(module, "describe", (self.lock.bind(module.py()),))?.extract::<(String, String, String)>()
        })?;
        let (thread, lock, stack) = told.unwrap_or_default();
        Some(Text { thread, lock, stack })
    }

    fn report(&self, found: &Deadlock) -> bool {
        self.call(|module| {
            let text = with_cure(found, self.lock.bind(module.py()))?;
            call_method(module, "report", (text, found.ended.is_some())).map(drop)
        })
        .is_some()
    }

    /// A `with` block in a generator marks the lock, too.
    fn trusts_marks(&self) -> bool {
        false
    }

    fn wants(&self) -> u64 {
        Python::try_attach(|py| number_of(self.lock.bind(py))).flatten().unwrap_or(0)
    }

    fn scopes(&self) -> Vec<u64> {
        Python::try_attach(|py| scopes::entered(py).iter().filter_map(|block| number_of(&block.manager)).collect())
            .unwrap_or_default()
    }

    /// A handler may leave the block by an exception, or release its lock.
    fn may_be_interrupted(&self) -> bool {
        let may = self.call(|module| call_method(module, "may_be_interrupted", ())?.is_truthy());
        may.flatten().unwrap_or(true)
    }

    fn has_handlers(&self) -> bool {
        let has = self.call(|module| call_method(module, "has_handlers", ())?.is_truthy());
        has.flatten().unwrap_or(true)
    }

    fn main_thread_waits(&self) -> Option<u64> {
        self.call(|module| call_method(module, "main_thread_waits", ())?.extract()).flatten().flatten()
    }
}

/// Waits for a lock with `wait`, and raises if the wait could never end.
///
/// `wait` detaches from the interpreter and runs the closure that it is given.
pub(crate) fn wait_watched<H: Home, T: Send>(
    lock: &Bound<'_, PyAny>,
    wanted: Wanted<'_>,
    acquire: impl FnOnce(&Patience<'_>) -> T + Send,
    wait: impl FnOnce(Outside<'_, T>) -> PyResult<Result<T, Deadlock>>,
) -> PyResult<T> {
    let waiter = Waiter { lock: lock.clone().unbind(), raised: Mutex::new(None) };
    let (teller, wanted) = (&waiter, &wanted);
    let result = wait(Box::new(move |patience| deadlock::watch::<H, T>(wanted, teller, patience, acquire)));
    if let Some(raised) = waiter.raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(raised);
    }
    result?.map_err(|found| error(&found, lock))
}

/// The report, extended by a remedy if a thread waits for a lock that it acquired itself.
fn with_cure(found: &Deadlock, lock: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = found.to_string();
    if found.ended.is_some() || found.members.len() != 1 {
        return Ok(text);
    }
    let py = lock.py();
    let number = number_of(lock);
    let outer = scopes::entered(py).into_iter().find(|block| number_of(&block.manager) == number);
    let place = outer.map(|block| (block.code, block.line));
    let cure: String = call_method(py.import("kettle._deadlock")?.as_any(), "cure", (lock, place))?.extract()?;
    Ok(format!("{text}\n\n{cure}"))
}

/// The closure to run while detached.
pub(crate) type Outside<'a, T> = Box<dyn FnOnce(&Patience<'_>) -> Result<T, Deadlock> + Send + 'a>;

fn error(found: &Deadlock, lock: &Bound<'_, PyAny>) -> PyErr {
    let py = lock.py();
    let cycle: Vec<_> =
        (found.members.iter()).map(|m| (m.pid, m.tid, &m.thread, &m.waits_for, &m.holds, &m.stack)).collect();
    let make = || -> PyResult<Bound<'_, PyAny>> {
        let ended = found.ended.as_ref().map(|ended| (ended.pid, ended.tid));
        py.import("kettle._deadlock")?.getattr("error")?.call1((with_cure(found, lock)?, ended, cycle))
    };
    make().map_or_else(|e| e, PyErr::from_value)
}
