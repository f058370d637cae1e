//! The session: its arena, its processes, and what happens to both at a fork and at exit.

use std::cell::{Cell, RefCell};
use std::hint;

use kettle_core::arena::{self, Session, Ticket, participants};
use kettle_core::sys::{descriptor, signal};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::os::fd::{AsFd, AsRawFd};

use crate::fast::descriptors::{Given, Lent};
use crate::fast::forks;
use crate::{door, errors};

fn ticket(bits: u64) -> PyResult<Ticket> {
    Ticket::from_bits(bits).ok_or_else(|| PyValueError::new_err(format!("{bits} is no child's ticket")))
}

/// A random number in hexadecimal digits that tells this session from others. Begins one if there is none.
#[pyfunction]
pub(crate) fn session_id() -> PyResult<String> {
    Ok(format!("{:016x}", Session::get().map_err(errors::arena)?.id()))
}

/// The arena's descriptor, for an exec'ed child to inherit. Begins a session if there is none.
#[pyfunction]
pub(crate) fn session_fd() -> PyResult<i32> {
    let descriptor = Session::get().and_then(|session| session.descriptor());
    Ok(descriptor.map_err(errors::arena)?.as_raw_fd())
}

/// For tests that write over them: the fields of the arena's header, with place and length in bytes.
#[pyfunction]
pub(crate) fn arena_layout() -> Vec<(&'static str, usize, usize)> {
    Session::layout()
}

/// The numbers of the descriptors that the core keeps in this process and that are still its own.
#[pyfunction]
pub(crate) fn descriptors() -> Vec<i32> {
    descriptor::kept()
}

/// In an exec'ed child: joins the session whose arena is `fd`, as the participant that `ticket` reserved.
#[pyfunction]
#[pyo3(signature = (fd, ticket))]
pub(crate) fn attach(fd: Given, ticket: u64) -> PyResult<()> {
    let ticket = self::ticket(ticket)?;
    Session::attach(fd.take()).map_err(errors::arena)?;
    participants::adopt(ticket).map_err(errors::arena)
}

/// Keeps a place for a child that is about to be started.
#[pyfunction]
pub(crate) fn reserve_child() -> PyResult<u64> {
    Ok(participants::reserve_child().map_err(errors::arena)?.to_bits())
}

/// Gives the place back: the child could not be started.
#[pyfunction]
pub(crate) fn release_child(ticket: u64) -> PyResult<()> {
    participants::release(self::ticket(ticket)?);
    Ok(())
}

/// Whether the process that took the place has ended.
#[pyfunction]
pub(crate) fn child_is_dead(ticket: u64) -> PyResult<bool> {
    Ok(self::ticket(ticket)?.participant().is_dead())
}

/// Tells which process took the place.
#[pyfunction]
pub(crate) fn child_started(ticket: u64, pid: u32) -> PyResult<()> {
    participants::child_started(self::ticket(ticket)?, pid);
    Ok(())
}

/// The parent reaped the child: what it held is freed, what it owned is broken.
#[pyfunction]
pub(crate) fn child_gone(ticket: u64) -> PyResult<()> {
    participants::child_gone(self::ticket(ticket)?);
    Ok(())
}

/// The forks that a thread is making. There may be several: hooks of a fork that are written in Python are interrupted by
/// signal handlers, which may fork.
#[derive(Default)]
struct Forks {
    /// The number of calls of [`fork`] that have not returned.
    calls: Cell<u32>,
    /// The children of forks whose hooks in the parent have not run yet, the innermost last.
    next: RefCell<Vec<Option<Ticket>>>,
    /// The child that was forked last.
    last: Cell<Option<Ticket>>,
}

thread_local! {
    static FORKS: Forks = Forks::default();
}

/// For `os.register_at_fork(before=)`.
#[pyfunction]
pub(crate) fn before_fork() {
    let ticket = arena::before_fork();
    FORKS.with(|forks| forks.next.borrow_mut().push(ticket));
    merge_free_memory();
}

/// Makes the C library merge the small blocks that were freed since the last fork. It does that when a larger block is
/// allocated, and a child, which soon allocates one, would have to copy each page that has such a block.
fn merge_free_memory() {
    const LARGER: usize = 4096;
    drop(hint::black_box(Vec::<u8>::with_capacity(LARGER)));
}

/// For `os.register_at_fork(after_in_parent=)`.
#[pyfunction]
pub(crate) fn after_fork_in_parent() {
    FORKS.with(|forks| {
        let mut next = forks.next.borrow_mut();
        forks.last.set(next.pop().flatten());
        if let Some(outer) = next.last() {
            // The fork that this one was nested in may be still to come.
            arena::is_about_to_fork(*outer);
        }
    });
}

/// For `os.register_at_fork(after_in_child=)`.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    descriptor::close_private();
    door::forked();
    let ticket = FORKS.with(|forks| {
        forks.last.set(None);
        forks.next.take().pop().flatten()
    });
    if let Some(ticket) = ticket {
        // If the place was released in the meantime, this process registers anew when it first needs to.
        let _ = arena::after_fork_child(ticket);
    }
}

/// Like `os.fork`; returns the child's process id, and its ticket if there is a session.
///
/// A signal handler may call this while its thread is inside another call of it, in one of the hooks that run before and
/// after a fork, also in the child. Hooks acquire plain locks, for example that of `concurrent.futures.thread`, so those of
/// the parent must not run again: the thread would wait for itself. What they acquired protects this fork too.
#[pyfunction]
pub(crate) fn fork(py: Python<'_>) -> PyResult<(i32, Option<u64>)> {
    let (is_nested, last) = FORKS.with(|forks| (forks.calls.replace(forks.calls.get() + 1) > 0, forks.last.take()));
    let pid = if is_nested && !cfg!(Py_GIL_DISABLED) {
        nested_fork(py)
    } else {
        py.import(intern!(py, "os")).and_then(|os| os.call_method0(intern!(py, "fork"))?.extract())
    };
    let ticket = FORKS.with(|forks| {
        // A child never returns to the calls in which the fork was nested.
        let is_child = matches!(pid, Ok(0));
        forks.calls.set(if is_child { 0 } else { forks.calls.get() - 1 });
        forks.last.replace(if is_child { None } else { last })
    });
    Ok((pid?, ticket.map(Ticket::to_bits)))
}

/// A fork in a thread that has run the hooks already.
fn nested_fork(py: Python<'_>) -> PyResult<i32> {
    py.import(intern!(py, "sys"))?.call_method1(intern!(py, "audit"), (intern!(py, "os.fork"),))?;
    let import = py.import(intern!(py, "_imp"))?;
    import.call_method0(intern!(py, "acquire_lock"))?;
    before_fork();
    let pid = forks::fork(py);
    if matches!(pid, Ok(0)) {
        return Ok(0);
    }
    after_fork_in_parent();
    import.call_method0(intern!(py, "release_lock"))?;
    Ok(pid?)
}

/// `fd` is the read end of a pipe whose only write end the parent holds: SIGKILL ends this process when that closes,
/// also in the middle of a C call. At once if it is closed already.
#[pyfunction]
pub(crate) fn die_with(fd: Lent) -> PyResult<()> {
    signal::die_with(fd.as_fd()).map_err(errors::os)
}

/// Limits the memory of the whole session, in bytes; None: only what the system has.
#[pyfunction]
#[pyo3(signature = (limit))]
pub(crate) fn set_limit(limit: Option<u64>) -> PyResult<()> {
    Session::get().map_err(errors::arena)?.set_limit(limit);
    Ok(())
}

/// Frees what processes that ended had left behind, and gives what is free back to the system; says how many objects
/// and bytes the former were, and how many bytes the system has back.
#[pyfunction]
pub(crate) fn reclaim<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let found = match Session::current() {
        Some(session) => py.detach(|| session.reclaim()).map_err(errors::arena)?,
        None => Default::default(),
    };
    let result = PyDict::new(py);
    result.set_item("objects", found.objects)?;
    result.set_item("bytes", found.bytes)?;
    result.set_item("given_back", found.given_back)?;
    Ok(result)
}

/// How the arena is; all zeros if there is none.
#[pyfunction]
pub(crate) fn arena_statistics<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
    let s = Session::current().map(|session| session.statistics()).transpose().map_err(errors::arena)?;
    let field = |get: fn(&arena::Statistics) -> u64| s.as_ref().map_or(0, get);
    let result = PyDict::new(py);
    for (name, value) in [
        ("file_bytes", field(|s| s.file_bytes)),
        ("resident_bytes", field(|s| s.resident_bytes)),
        ("header_bytes", field(|s| s.header_bytes)),
        ("segments", field(|s| s.segments as u64)),
        ("allocated_bytes", field(|s| s.allocated_bytes)),
        ("warm_bytes", field(|s| s.warm_bytes)),
        ("cold_bytes", field(|s| s.cold_bytes)),
        ("objects", field(|s| s.objects)),
        ("queued_bytes", field(|s| s.in_queues.all.bytes)),
        ("queued_messages", field(|s| s.in_queues.all.messages)),
        ("pinned", field(|s| s.pinned)),
        ("participants", field(|s| s.participants as u64)),
        ("limit", field(|s| s.limit.unwrap_or(0))),
    ] {
        result.set_item(name, value)?;
    }
    Ok(result)
}

/// Whether this build has the named crash points (test builds only).
#[pyfunction]
pub(crate) fn crash_points() -> bool {
    cfg!(feature = "crash-points")
}

/// Has this process killed at the crash point `spec` (`name` or `name:visits`); None takes that back.
#[pyfunction]
#[pyo3(signature = (spec))]
pub(crate) fn arm_crash_point(spec: Option<&str>) -> PyResult<()> {
    #[cfg(feature = "crash-points")]
    {
        match spec {
            Some(spec) => kettle_core::arm_crash_point(spec),
            None => kettle_core::disarm_crash_point(),
        }
        Ok(())
    }
    #[cfg(not(feature = "crash-points"))]
    match spec {
        Some(_) => Err(pyo3::exceptions::PyRuntimeError::new_err(
            "this build has no crash points; build with the feature crash-points",
        )),
        None => Ok(()),
    }
}
