//! The conversion of the core's errors to Python's exceptions.

use kettle_core::arena::{ArenaError, TokenError, participants};
use kettle_core::damage;
use kettle_core::queue::{Exhausted, Loss};
use kettle_core::sys::Owner;
use kettle_core::sys::descriptor::DescriptorLost;
use kettle_core::sys::futex::Scope;
use kettle_core::wait::Stopped;
use pyo3::exceptions::{PyAttributeError, PyException, PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::{create_exception, intern};

create_exception!(kettle, KettleError, PyException, "What Kettle raises of its own; the base of its exceptions.");
create_exception!(
    kettle,
    OwnerDied,
    KettleError,
    "The process that held this died with it. `pid` and `tid` say who; what it protects may be half changed.\n\n\
     `reset()` makes the lock usable again."
);
create_exception!(
    kettle,
    ConsumerDied,
    KettleError,
    "A process died with items that it had taken and not finished. `pid` says who, `unfinished` how many.\n\n\
     They count as done from now on: put them again if they must be."
);

create_exception!(
    kettle,
    SessionDamaged,
    KettleError,
    "Something was found in the memory that the processes share which cannot be: one of them wrote where it must not.\n\n\
     All calls of all processes that use this memory raise this from then on. End the program's processes and start it \
     again."
);

/// The session is marked as damaged.
#[cold]
pub(crate) fn session_damaged() -> PyErr {
    SessionDamaged::new_err(damage::marked().to_string())
}

/// Raises if this process does not belong to the session and cannot join it: a forked child for which there was no
/// room, or one in a pid namespace of its own. Locks that it inherited are not held on its behalf, and anything it
/// acquired would have no owner.
#[inline]
pub(crate) fn take_part() -> PyResult<()> {
    if participants::is_registered() { Ok(()) } else { register() }
}

#[cold]
fn register() -> PyResult<()> {
    participants::try_me().map(drop).map_err(arena)
}

/// A queue between threads cannot grow.
#[cold]
pub(crate) fn no_memory_for_an_item() -> PyErr {
    PyMemoryError::new_err("no memory for one more item in the queue")
}

/// The error for a process that does not belong to the session.
pub(crate) fn no_part() -> PyErr {
    register().err().unwrap_or_else(|| {
        PyOSError::new_err("there was no room for this process in the session; now there is: try again")
    })
}

/// Raises if this process cannot join the session, or if the session is marked as damaged. For methods that would not
/// notice otherwise.
#[inline]
pub(crate) fn check() -> PyResult<()> {
    if participants::is_registered() && !damage::is_marked(Scope::Shared) { Ok(()) } else { check_slow() }
}

#[cold]
fn check_slow() -> PyResult<()> {
    if damage::is_marked(Scope::Shared) { Err(session_damaged()) } else { register() }
}

/// Returns `error`, unless damage is its cause: for example, a lock that could not be reacquired cannot be released.
pub(crate) fn unless_damaged(error: PyErr) -> PyErr {
    if damage::is_marked(Scope::Shared) { session_damaged() } else { error }
}

/// Whether a wait succeeded; False on timeout.
pub(crate) fn in_time(result: Result<(), Stopped>) -> PyResult<bool> {
    match result {
        Ok(()) => Ok(true),
        // An interruption raises the signal handler's exception.
        Err(Stopped::TimedOut | Stopped::Interrupted) => Ok(false),
        Err(Stopped::Damaged) => Err(session_damaged()),
        Err(Stopped::NoPart) => Err(no_part()),
    }
}

/// Raised once in every waiting thread.
pub(crate) fn consumer_died(py: Python<'_>, loss: Loss) -> PyErr {
    let pid = participants::pid_of(loss.consumer).unwrap_or(0);
    let text = format!(
        "a consumer (pid {pid}) died with {} item(s) taken and not finished; they count as done from now on",
        loss.unfinished
    );
    with_attributes(py, ConsumerDied::new_err(text), &[("pid", pid), ("unfinished", loss.unfinished)])
}

/// The error for a lock whose holder is gone.
pub(crate) fn owner_died(py: Python<'_>, owner: Owner, what: &str) -> PyErr {
    let pid = participants::pid_of(owner).unwrap_or(0);
    let who = if pid == 0 { "a process".to_owned() } else { format!("pid {pid}, thread {}", owner.thread()) };
    let text = format!("{who} died holding this {what}; what it protects may be half changed. reset() frees it");
    with_attributes(py, OwnerDied::new_err(text), &[("pid", pid), ("tid", owner.thread())])
}

fn with_attributes(py: Python<'_>, e: PyErr, attributes: &[(&str, u32)]) -> PyErr {
    for (name, value) in attributes {
        if let Err(e) = e.value(py).setattr(*name, *value) {
            return e;
        }
    }
    e
}

/// A module of the standard library, even if the program has replaced it by a stub.
fn standard<'py>(py: Python<'py>, module: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("kettle._genuine")?.getattr(intern!(py, "find"))?.call1((module,))
}

/// A class of such a module.
pub(crate) fn standard_class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    let class = cell.get_or_try_init(py, || {
        let class = standard(py, module)?.getattr(name)?;
        PyResult::Ok(class.cast_into::<PyType>()?.unbind())
    })?;
    Ok(class.bind(py))
}

/// A class of the module `queue`: code that catches `queue.Empty` must catch ours.
fn of_queue(py: Python<'_>, cell: &'static PyOnceLock<Py<PyType>>, name: &str) -> PyErr {
    match standard_class(py, cell, "queue", name) {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(e) => e,
    }
}

static EMPTY: PyOnceLock<Py<PyType>> = PyOnceLock::new();

pub(crate) fn empty_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    standard_class(py, &EMPTY, "queue", "Empty")
}

pub(crate) fn empty(py: Python<'_>) -> PyErr {
    of_queue(py, &EMPTY, "Empty")
}

pub(crate) fn full(py: Python<'_>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    of_queue(py, &CLASS, "Full")
}

/// A shortage that the Rust library reports.
pub(crate) fn out_of_memory(e: kettle::OutOfMemory) -> PyErr {
    match e.descriptor_lost() {
        _ if damage::is_marked(Scope::Shared) => session_damaged(),
        Some(lost) => descriptor_lost(lost),
        None => PyMemoryError::new_err(e.to_string()),
    }
}

/// A descriptor that the program closed.
pub(crate) fn descriptor_lost(lost: DescriptorLost) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Python::attach(|py| match CLASS.import(py, "kettle._errors", "DescriptorLost") {
        Ok(class) => PyErr::from_type(class.clone(), (lost.to_string(), lost.number)),
        Err(e) => e,
    })
}

/// Whether the error means that there is nothing to get.
pub(crate) fn is_empty_or_shut_down(py: Python<'_>, e: &PyErr) -> PyResult<bool> {
    Ok(e.is_instance(py, empty_class(py)?) || e.is_instance(py, shut_down_class(py)?))
}

static SHUT_DOWN: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// `queue.ShutDown` where the interpreter has it, otherwise a class of the same name.
pub(crate) fn shut_down_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let class = SHUT_DOWN.get_or_try_init(py, || -> PyResult<Py<PyType>> {
        match standard(py, "queue")?.getattr(intern!(py, "ShutDown")) {
            Ok(class) => Ok(class.cast_into::<PyType>()?.unbind()),
            Err(_) => PyErr::new_type(
                py,
                c"kettle.ShutDown",
                Some(c"Raised when an item is put into, or got from, a queue that was shut down."),
                None,
                None,
            ),
        }
    })?;
    Ok(class.bind(py))
}

/// The module's `ShutDown`, looked up on first use: a starting child does not need the module `queue` yet.
#[pyfunction(name = "__getattr__")]
pub(crate) fn late_attribute<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    match name {
        "ShutDown" => shut_down_class(py).cloned(),
        _ => Err(PyAttributeError::new_err(format!("module 'kettle._native' has no attribute '{name}'"))),
    }
}

pub(crate) fn shut_down(py: Python<'_>) -> PyErr {
    match shut_down_class(py) {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(e) => e,
    }
}

pub(crate) fn broken_barrier_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    standard_class(py, &CLASS, "threading", "BrokenBarrierError")
}

pub(crate) fn broken_barrier(py: Python<'_>) -> PyErr {
    match broken_barrier_class(py) {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(e) => e,
    }
}

/// No memory, or no session.
pub(crate) fn arena(e: ArenaError) -> PyErr {
    match e {
        ArenaError::OutOfMemory { .. } => PyMemoryError::new_err(e.to_string()),
        ArenaError::DescriptorLost(lost) => descriptor_lost(lost),
        ArenaError::Damaged(damage) => SessionDamaged::new_err(damage.to_string()),
        ArenaError::OtherPidNamespace => PyRuntimeError::new_err(e.to_string()),
        e => PyOSError::new_err(e.to_string()),
    }
}

/// An error of the operating system, as the matching subclass of OSError, with its `errno`.
pub(crate) fn os(e: std::io::Error) -> PyErr {
    if let Some(lost) = DescriptorLost::from_io(&e) {
        return descriptor_lost(lost);
    }
    match e.raw_os_error() {
        Some(code) => {
            let text = e.to_string();
            // Python has a separate field for the number.
            let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text).to_owned();
            PyOSError::new_err((code, text))
        }
        None => PyOSError::new_err(e.to_string()),
    }
}

/// A handle whose object does not exist.
pub(crate) fn token(e: TokenError) -> PyErr {
    match e {
        TokenError::Arena(e) => arena(e),
        e => PyValueError::new_err(e.to_string()),
    }
}

pub(crate) fn exhausted(e: Exhausted) -> PyErr {
    match e {
        Exhausted::DescriptorLost(lost) => descriptor_lost(lost),
        Exhausted::Memory(text) => PyMemoryError::new_err(text),
        Exhausted::NoPart => no_part(),
    }
}
