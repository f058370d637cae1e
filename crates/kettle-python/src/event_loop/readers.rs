//! Callbacks for descriptors.

use std::os::fd::RawFd;

use kettle::event_loop::Direction;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyTuple};

use super::{EventLoop, Parts};
use crate::errors;
use crate::fast::calls;
use crate::fast::handle::Handle;

/// The reader and the writer of a descriptor.
type Handles = (Option<Py<PyAny>>, Option<Py<PyAny>>);

/// A descriptor as a program gives it: a number, or an object with a `fileno()`. -1 if it is closed.
fn number_of(file: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    if file.is_instance_of::<PyInt>() {
        return file.extract();
    }
    let number = calls::call_method(file, intern!(file.py(), "fileno"), ()).and_then(|number| number.extract());
    number.map_err(|_| match file.repr() {
        Ok(repr) => PyValueError::new_err(format!("Invalid file object: {repr}")),
        Err(e) => e,
    })
}

/// The descriptor under which `file` was added. If it has been closed since, it is found by its object.
fn known_number(parts: &Parts, file: &Bound<'_, PyAny>, number: RawFd) -> Option<RawFd> {
    match number {
        0.. => Some(number),
        _ => parts.files.iter().find(|(_, known)| known.is(file)).map(|(number, _)| *number),
    }
}

impl EventLoop {
    /// # Errors
    /// `RuntimeError` if a transport uses the descriptor, as asyncio's.
    fn check_free(slf: &Bound<'_, Self>, file: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        if slf.get().has_its_own_readers() && file.is_exact_instance_of::<PyInt>() {
            // The dict of a `WeakValueDictionary`.
            let used = slf.getattr(intern!(py, "_transports")).and_then(|used| used.getattr(intern!(py, "data")));
            if let Some(used) = used.ok().and_then(|used| used.cast_into_exact::<PyDict>().ok()) {
                if !used.contains(file)? {
                    return Ok(());
                }
            }
        }
        calls::call_method(slf, intern!(py, "_ensure_fd_no_transport"), (file,)).map(drop)
    }

    /// Calls `watch`, or the method `name` that the program has put in its place.
    fn add<'py>(
        slf: &Bound<'py, Self>,
        file: &Bound<'py, PyAny>,
        direction: Direction,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        Self::check_free(slf, file)?;
        if slf.get().has_its_own_readers() {
            return Self::watch(slf, file, direction, callback, args).map(drop);
        }
        let name = match direction {
            Direction::Read => intern!(slf.py(), "_add_reader"),
            Direction::Write => intern!(slf.py(), "_add_writer"),
        };
        let given = [file.clone(), callback.clone()].into_iter().chain(args.iter());
        let given = PyTuple::new(slf.py(), given.collect::<Vec<_>>())?;
        calls::call_all(&slf.getattr(name)?, &given).map(drop)
    }

    fn remove<'py>(
        slf: &Bound<'py, Self>,
        file: &Bound<'py, PyAny>,
        direction: Direction,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        Self::check_free(slf, file)?;
        if slf.get().has_its_own_readers() {
            let was_there = Self::unwatch(slf, file, direction)?;
            return Ok(PyBool::new(py, was_there).to_owned().into_any());
        }
        let name = match direction {
            Direction::Read => intern!(py, "_remove_reader"),
            Direction::Write => intern!(py, "_remove_writer"),
        };
        calls::call_method(slf, name, (file,))
    }

    fn watch<'py>(
        slf: &Bound<'py, Self>,
        file: &Bound<'py, PyAny>,
        direction: Direction,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_open()?;
        let fd = number_of(file)?;
        if fd < 0 {
            return Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}")));
        }
        let handle = Self::trace(slf, Handle::new(slf, callback, args, None)?)?;
        let poller = this.poller(py)?;
        let mut parts = this.lock(py);
        // This reference is kept, so that a refused handle is not dropped for the last time under the lock.
        let before = parts.slots.set(&poller, fd, direction, handle.clone_ref(py));
        let mut file_before = None;
        if before.is_ok() && !file.is_instance_of::<PyInt>() {
            file_before =
                parts.files.iter().position(|known| known.0 == fd).map(|place| parts.files.swap_remove(place));
            parts.files.push((fd, file.clone().unbind()));
        }
        drop(parts);
        drop(file_before);
        if let Some(before) = before.map_err(errors::os)? {
            before.cancel(py)?;
        }
        Ok(handle.into_bound(py))
    }

    fn unwatch(slf: &Bound<'_, Self>, file: &Bound<'_, PyAny>, direction: Direction) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        if this.is_closed() {
            return Ok(false);
        }
        let number = number_of(file)?;
        let poller = this.poller(py)?;
        let mut parts = this.lock(py);
        let Some(fd) = known_number(&parts, file, number) else { return Ok(false) };
        let handle = parts.slots.unset(&poller, fd, direction);
        let is_over = parts.slots.handles(fd).is_none();
        let place = parts.files.iter().position(|known| is_over && known.0 == fd);
        let file = place.map(|place| parts.files.swap_remove(place));
        drop(parts);
        drop(file);
        match handle {
            Some(handle) => {
                handle.cancel(py)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

#[pymethods]
impl EventLoop {
    /// The reader and the writer of a descriptor; None if it is not waited for.
    fn _kettle_handles(&self, py: Python<'_>, fd: RawFd) -> Option<Handles> {
        let parts = self.lock(py);
        let [reader, writer] = parts.slots.handles(fd)?.map(|one| one.map(|handle| handle.object().clone_ref(py)));
        Some((reader, writer))
    }

    /// Calls `callback(*args)` in each turn in which the descriptor can be read.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        Self::add(slf, fd, Direction::Read, callback, args)
    }

    /// Removes what is called when the descriptor can be read. Gives whether there was something.
    fn remove_reader<'py>(slf: &Bound<'py, Self>, fd: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::remove(slf, fd, Direction::Read)
    }

    /// Calls `callback(*args)` in each turn in which the descriptor takes more.
    #[pyo3(signature = (fd, callback, *args))]
    fn add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        Self::add(slf, fd, Direction::Write, callback, args)
    }

    /// Removes what is called when the descriptor takes more. Gives whether there was something.
    fn remove_writer<'py>(slf: &Bound<'py, Self>, fd: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::remove(slf, fd, Direction::Write)
    }

    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::watch(slf, fd, Direction::Read, callback, args)
    }

    fn _remove_reader(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch(slf, fd, Direction::Read)
    }

    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::watch(slf, fd, Direction::Write, callback, args)
    }

    fn _remove_writer(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::unwatch(slf, fd, Direction::Write)
    }
}
