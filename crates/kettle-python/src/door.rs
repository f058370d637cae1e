//! The one way to detach from the interpreter: let other threads run, wait, check for signals, convert the result.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use kettle_core::sys::process;
use kettle_core::wait::{Deadline, Patience};
use pyo3::prelude::*;

/// How long the main thread may sleep before it checks for signals: a signal that arrives between the last check and
/// the start of the sleep is noticed that much later.
const SIGNAL_SLICE: Duration = Duration::from_millis(50);

/// The deadline of a wait of `timeout` seconds; `block=False` means no wait.
pub(crate) fn deadline(block: bool, timeout: Option<f64>) -> Deadline {
    if block { Deadline::after_seconds(timeout) } else { Deadline::NOW }
}

/// Runs `wait` detached, so that other threads can run. On the main thread an exception from a signal handler ends it:
/// `wait` must give up when its patience returns `Interrupted`, and must not have taken anything then.
///
/// As in the standard library, other threads are not interrupted. They do not attach again before their wait is over,
/// which keeps them out of the interpreter's way while it shuts down.
pub(crate) fn wait_outside<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    wait: impl FnOnce(&Patience<'_>) -> T + Send,
) -> PyResult<T> {
    wait_outside_in_slices(py, deadline, SIGNAL_SLICE, wait)
}

/// Like [`wait_outside`], with slices of another length: for frequent and long waits that need not notice a signal
/// within milliseconds.
pub(crate) fn wait_outside_in_slices<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    slice: Duration,
    wait: impl FnOnce(&Patience<'_>) -> T + Send,
) -> PyResult<T> {
    let (result, raised) = py.detach(|| {
        let patience = Patience::until(deadline);
        if !is_main_thread() {
            return (wait(&patience), None);
        }
        let raised = RefCell::new(None);
        let look_for_signals = || {
            Python::attach(|py| match py.check_signals() {
                Ok(()) => false,
                Err(e) => {
                    *raised.borrow_mut() = Some(e);
                    true
                }
            })
        };
        let result = wait(&patience.interrupted_by(slice, &look_for_signals));
        (result, raised.into_inner())
    });
    match raised {
        Some(e) => Err(e),
        None => Ok(result),
    }
}

/// Runs `wait` detached. On the main thread it ends as `Interrupted` where others would check for signals. This is for
/// a caller that has to release something before a handler may run; the caller then checks for signals itself.
pub(crate) fn wait_outside_until_signal<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    wait: impl FnOnce(&Patience<'_>) -> T + Send,
) -> T {
    py.detach(|| {
        let patience = Patience::until(deadline);
        match is_main_thread() {
            true => wait(&patience.interrupted_by(SIGNAL_SLICE, &|| true)),
            false => wait(&patience),
        }
    })
}

thread_local! {
    /// Whether this is the main thread, if that has been determined.
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

fn is_main_thread() -> bool {
    IS_MAIN.get().unwrap_or_else(|| {
        let is_main = process::thread_id() == process::id();
        IS_MAIN.set(Some(is_main));
        is_main
    })
}

/// In a forked child, the thread that forked becomes the main one.
pub(crate) fn forked() {
    IS_MAIN.set(None);
}
