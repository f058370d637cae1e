//! The one way out of the interpreter: let other threads run, wait, look for signals, translate.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use kettle_core::sys::process;
use kettle_core::wait::{Deadline, Patience};
use pyo3::prelude::*;

/// How long the main thread may sleep before it looks for signals: a signal that comes between its last look and its
/// falling asleep is seen that much later.
const SIGNAL_SLICE: Duration = Duration::from_millis(50);

/// When a wait of `timeout` seconds ends; `block=False` is at once.
pub(crate) fn deadline(block: bool, timeout: Option<f64>) -> Deadline {
    if block { Deadline::after_seconds(timeout) } else { Deadline::NOW }
}

/// Runs `wait` with other threads let run. On the main thread a signal handler that raises ends it: `wait` must give
/// up when its patience says `Interrupted`, and must not have taken anything then.
///
/// Other threads are not interrupted, as in the standard library; they do not come back for the interpreter before
/// they have what they wait for, which keeps them out of its way while it shuts down.
pub(crate) fn wait_outside<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    wait: impl FnOnce(&Patience<'_>) -> T + Send,
) -> PyResult<T> {
    wait_outside_in_slices(py, deadline, SIGNAL_SLICE, wait)
}

/// As [`wait_outside`], with slices of another length: for those who wait often and for long, and to whom a signal is
/// not a matter of milliseconds.
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

/// Runs `wait` with other threads let run. On the main thread it ends as `Interrupted` where others would look for
/// signals: for a caller that has to let go of something before a handler may run, which it then sees to by itself.
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
    /// Whether this is the main thread, once that was asked.
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

fn is_main_thread() -> bool {
    IS_MAIN.get().unwrap_or_else(|| {
        let is_main = process::thread_id() == process::id();
        IS_MAIN.set(Some(is_main));
        is_main
    })
}

/// In a forked child: the thread that forked is the main one now.
pub(crate) fn forked() {
    IS_MAIN.set(None);
}
