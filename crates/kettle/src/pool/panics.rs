//! Panics of tasks: their message, location and backtrace.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};

use crate::panic::Panic;
use crate::panic::message_of;

thread_local! {
    /// Whether this thread is running a task.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The location of the last panic, and its backtrace.
    static SEEN: RefCell<Option<(Option<String>, Backtrace)>> = const { RefCell::new(None) };
}

/// The panic of a task. Its backtrace is not text yet: the first one in a process reads the program's debug information,
/// which takes a fraction of a second and is not the task's work.
#[derive(Debug)]
pub(super) struct Caught {
    message: String,
    seen: Option<(Option<String>, Backtrace)>,
}

impl Caught {
    pub(super) fn into_panic(self) -> Panic {
        let (location, backtrace) = self.seen.unzip();
        let backtrace = backtrace.map(|backtrace| backtrace.to_string()).unwrap_or_default();
        Panic::told(self.message, location.flatten(), backtrace)
    }
}

/// Records the panics of tasks instead of printing them; they are reported as the outcome. All other panics, including
/// those of threads that a task starts, are printed as before. So are panics that abort the process, which `report` gets
/// before they do.
pub(super) fn watch(report: impl Fn(Caught) + Send + Sync + 'static) {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let location = || info.location().map(ToString::to_string);
        match INSIDE.get() {
            true if cfg!(panic = "abort") => {
                others(info);
                let message = message_of(info.payload()).to_owned();
                report(Caught { message, seen: Some((location(), Backtrace::force_capture())) });
            }
            true => {
                let seen = Some((location(), Backtrace::force_capture()));
                let _ = SEEN.try_with(|place| place.replace(seen));
            }
            false => others(info),
        }
    }));
}

/// Runs a task and catches its panic.
pub(super) fn catch<R>(task: impl FnOnce() -> R) -> Result<R, Caught> {
    INSIDE.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(task));
    INSIDE.set(false);
    // Taken in any case, because the task may have caught a panic itself.
    let seen = SEEN.take();
    result.map_err(|panic| Caught { message: message_of(&*panic).to_owned(), seen })
}
