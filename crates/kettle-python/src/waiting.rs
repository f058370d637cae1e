//! Waiting for several things at once, and doorbells for event loops.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kettle_core::arena::Session;
use kettle_core::damage;
use kettle_core::sys::process;
use kettle_core::sys::socket::{self, Watch};
use kettle_core::wait::{self, Patience, Scope, Stopped, WatchError, sleep_on};
use pyo3::PyClass;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::MutexExt;

use crate::door::{deadline, wait_outside};
use crate::errors;
use crate::parameters;
use crate::primitive::Waitable;
use crate::queue::process::Queue;
use crate::sync::{event, lock, semaphore};

/// A descriptor that any process of the session can make readable; one serves all that an event loop waits for.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Doorbell {
    bell: Mutex<Option<wait::Doorbell>>,
}

fn new_bell() -> PyResult<wait::Doorbell> {
    // Doorbells belong to the session, even if nothing else is shared between processes.
    Session::get().map_err(errors::arena)?;
    wait::Doorbell::new().map_err(errors::os)
}

impl Doorbell {
    /// Held for a few instructions, and never while detached, so no fork finds it held.
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Option<wait::Doorbell>> {
        self.bell.lock_py_attached(py).unwrap_or_else(|e| e.into_inner())
    }

    fn with<T>(&self, py: Python<'_>, use_it: impl FnOnce(&wait::Doorbell) -> T) -> PyResult<T> {
        self.lock(py).as_ref().map(use_it).ok_or_else(|| PyValueError::new_err("this doorbell is closed"))
    }
}

#[pymethods]
impl Doorbell {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self { bell: Mutex::new(Some(new_bell()?)) })
    }

    /// What `_kettle_arm` of a primitive takes.
    #[getter]
    fn door(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |bell| bell.door().to_bits())
    }

    /// The number of its descriptor, which can be polled for reading.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.with(py, wait::Doorbell::as_raw_fd)
    }

    /// Whether it can still ring: the program may have closed its descriptor, whose number then leads elsewhere.
    fn is_ours(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, wait::Doorbell::is_ours)
    }

    /// The keys of the primitives that rang; None when some may have been lost, or there are more: look at all.
    fn drain(&self, py: Python<'_>) -> PyResult<Option<Vec<u32>>> {
        self.with(py, wait::Doorbell::drain)
    }

    /// Makes the descriptor readable until the bell is drained.
    fn ring(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, wait::Doorbell::ring)
    }

    /// Closes it. Closing it again does nothing.
    fn close(&self, py: Python<'_>) {
        self.lock(py).take();
    }
}

thread_local! {
    /// The doorbell of this thread's waits, and the process that it was created in.
    static BELL: RefCell<Option<(u32, wait::Doorbell)>> = const { RefCell::new(None) };
}

/// The doorbell while a wait uses it; a signal handler that waits in turn gets its own.
struct Borrowed(Option<(u32, wait::Doorbell)>);

impl Borrowed {
    fn take() -> Self {
        let me = process::id();
        let kept = BELL.try_with(RefCell::take).ok().flatten();
        let kept = kept.filter(|(pid, bell)| *pid == me && bell.is_ours());
        // Out of descriptors: the wait checks at the end of each slice.
        Self(kept.or_else(|| Some((me, new_bell().ok()?))))
    }

    fn bell(&self) -> Option<&wait::Doorbell> {
        self.0.as_ref().map(|(_, bell)| bell)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(bell) = self.0.take() {
            bell.1.drain();
            let _ = BELL.try_with(|kept| kept.replace(Some(bell)));
        }
    }
}

type Primitive<'a> = &'a (dyn Waitable + Sync);

fn waitable<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Primitive<'a>> {
    fn cast<'a, T>(object: &'a Bound<'_, PyAny>) -> Option<Primitive<'a>>
    where
        T: PyClass<Frozen = True> + Waitable + Sync,
    {
        object.cast::<T>().ok().map(|primitive| primitive.get() as Primitive<'a>)
    }
    cast::<Queue>(object)
        .or_else(|| cast::<lock::process::Lock>(object))
        .or_else(|| cast::<lock::process::RLock>(object))
        .or_else(|| cast::<event::process::Event>(object))
        .or_else(|| cast::<semaphore::process::Semaphore>(object))
        .or_else(|| cast::<lock::thread::Lock>(object))
        .or_else(|| cast::<lock::thread::RLock>(object))
        .or_else(|| cast::<event::thread::Event>(object))
        .or_else(|| cast::<semaphore::thread::Semaphore>(object))
        .ok_or_else(|| match object.repr() {
            Ok(repr) => PyTypeError::new_err(format!("{repr} cannot be waited for")),
            Err(e) => e,
        })
}

/// Registers a doorbell with each primitive, and removes it at the end.
struct Armed<'a, 'b> {
    primitives: &'a [Primitive<'b>],
    bell: Option<&'a wait::Doorbell>,
}

impl Armed<'_, '_> {
    /// A ring removes the registration, so this is done before each check.
    fn arm(&self) {
        if let Some(bell) = self.bell {
            bell.drain();
            for p in self.primitives {
                // Without room for the registration, the check at the end of the slice has to do.
                p.events().leave_door(bell.door().calling(p.call()));
            }
        }
    }
}

impl Drop for Armed<'_, '_> {
    fn drop(&mut self) {
        if let Some(bell) = self.bell {
            for p in self.primitives {
                p.events().take_door(bell.door().calling(p.call()), p.scope());
            }
        }
    }
}

fn ready_ones(primitives: &[Primitive<'_>]) -> Vec<usize> {
    (0..primitives.len()).filter(|&i| primitives[i].ready()).collect()
}

/// Checks the descriptors without waiting.
fn look(watched: &mut [Watch]) -> Result<(), WatchError> {
    loop {
        match socket::poll(watched, Duration::ZERO) {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(WatchError::Io(e)),
        }
    }
}

/// Waits until a primitive is ready, or a descriptor can be read or is at its end, and gives all that are. Two empty
/// lists when `timeout` seconds are over.
#[pyfunction]
#[pyo3(signature = (primitives, fds, timeout=None))]
pub(crate) fn wait_any<'py>(
    py: Python<'py>,
    primitives: Vec<Bound<'py, PyAny>>,
    fds: Vec<i32>,
    #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>,
) -> PyResult<(Vec<Bound<'py, PyAny>>, Vec<i32>)> {
    let waited_for = primitives.iter().map(waitable).collect::<PyResult<Vec<_>>>()?;
    let mut watched: Vec<Watch> = fds.iter().map(|&fd| Watch::readable(fd)).collect();
    // Descriptors alone need no bell, and no session.
    let bell = if waited_for.is_empty() { Borrowed(None) } else { Borrowed::take() };
    if let Some(bell) = bell.bell() {
        watched.push(Watch::readable(bell.as_raw_fd()));
    }
    let (fd_count, deadline) = (fds.len(), deadline(true, timeout));
    let mut until_ready = |patience: &Patience<'_>| {
        let armed = Armed { primitives: &waited_for, bell: bell.bell() };
        let is_shared = waited_for.iter().any(|p| p.scope() == Scope::Shared);
        loop {
            if is_shared && damage::is_marked(Scope::Shared) {
                return Err(WatchError::Stopped(Stopped::Damaged));
            }
            if watched.get(fd_count).is_some_and(Watch::is_ready) && bell.bell().is_some_and(|bell| !bell.is_ours()) {
                // The program closed it; the check at the end of each slice has to do.
                watched.truncate(fd_count);
            }
            armed.arm();
            look(&mut watched)?;
            let ready = ready_ones(&waited_for);
            if !ready.is_empty() || watched[..fd_count].iter().any(Watch::is_ready) {
                return Ok(ready);
            }
            match sleep_on(&mut watched, patience) {
                // What arrived just before the end counts.
                Err(WatchError::Stopped(Stopped::TimedOut)) => {
                    look(&mut watched)?;
                    return Ok(ready_ones(&waited_for));
                }
                other => other?,
            }
        }
    };
    // A look at descriptors alone takes less time than letting another thread run, after which the answer describes a
    // later moment than the one when it was asked for: a child that just now said that it is about to end has ended.
    let result = match waited_for.is_empty() && timeout.is_some_and(|t| t <= 0.0) {
        true => until_ready(&Patience::none()),
        false => wait_outside(py, deadline, until_ready)?,
    };
    let ready = match result {
        Ok(ready) => ready,
        Err(WatchError::Stopped(Stopped::Damaged)) => return Err(errors::session_damaged()),
        Err(WatchError::Stopped(Stopped::NoPart)) => return Err(errors::no_part()),
        Err(WatchError::Stopped(Stopped::TimedOut | Stopped::Interrupted)) => Vec::new(),
        Err(WatchError::Io(e)) => return Err(errors::os(e)),
    };
    let fds = watched[..fd_count].iter().filter(|w| w.is_ready()).map(Watch::fd).collect();
    Ok((ready.into_iter().map(|i| primitives[i].clone()).collect(), fds))
}
