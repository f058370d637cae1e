//! The buffer protocol; together with `fast` and `fast_methods`, the only `unsafe` code of this crate.
//!
//! *What is guaranteed.* Python guarantees that the memory of a view stays where it is while the view lives. It does
//! not guarantee that the memory is not written meanwhile by another thread or, for shared memory, by another process.
//! This module only copies such bytes, so with an unsynchronised writer a copy may be a mixture of old and new bytes,
//! as with every other reader of the buffer protocol, and nothing worse.

use std::cell::RefCell;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;
use crate::memory::{Lease, SharedBytes};

/// Copies of at least this many bytes are made while other threads may run.
pub(crate) const LONG_COPY: usize = 256 * 1024;

/// Lends the bytes of a view.
///
/// # Errors
/// BufferError if they are not in one piece; else what `use_them` says.
pub(crate) fn with_bytes<R>(view: &PyUntypedBuffer, use_them: impl FnOnce(&[u8]) -> PyResult<R>) -> PyResult<R> {
    let len = view.len_bytes();
    if len == 0 {
        return use_them(&[]);
    }
    if !view.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer is not contiguous"));
    }
    // SAFETY: a contiguous view is `len` bytes from its pointer on, which stay while `view` is borrowed.
    use_them(unsafe { std::slice::from_raw_parts(view.buf_ptr().cast::<u8>(), len) })
}

/// Copies `bytes` into a view, from byte `offset` on.
///
/// # Errors
/// TypeError if it is read-only or not in one piece.
///
/// # Panics
/// If there is not enough room.
pub(crate) fn copy_into(py: Python<'_>, view: &PyUntypedBuffer, offset: usize, bytes: &[u8]) -> PyResult<()> {
    if view.readonly() || !view.is_c_contiguous() {
        return Err(PyTypeError::new_err("a read-write, contiguous bytes-like object is required"));
    }
    assert!(offset + bytes.len() <= view.len_bytes(), "the view is too short");
    let to = Destination(view.buf_ptr().cast::<u8>());
    // SAFETY: the room was checked, and stays while `view` is borrowed. `bytes` are in a block or buffer of ours.
    copy(py, bytes, move |from| unsafe { to.at(offset).copy_from_nonoverlapping(from.as_ptr(), from.len()) });
    Ok(())
}

/// A `bytes` object with these bytes, copied without letting other threads run.
///
/// # Errors
/// MemoryError, where `PyBytes::new` panics.
#[inline]
pub(crate) fn new_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: so many bytes are there; what comes back is a new `bytes`, or NULL with an exception set.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t);
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// A `bytes` object with these bytes.
///
/// # Errors
/// MemoryError.
pub(crate) fn to_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if bytes.len() < LONG_COPY {
        return new_bytes(py, bytes);
    }
    // SAFETY: a new object of that length, whose content is not read before it is written in the next lines.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), bytes.len() as ffi::Py_ssize_t);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let to = Destination(ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>());
        copy(py, bytes, move |from| to.at(0).copy_from_nonoverlapping(from.as_ptr(), from.len()));
        Ok(object.cast_into_unchecked())
    }
}

/// What a function writes to memory that it is given: how many bytes, from the beginning on. It does not call Python.
type Received = io::Result<usize>;

/// The size of the memory that all connections of a thread share.
const SHARED: usize = 256 * 1024;

thread_local! {
    static ROOM: RefCell<Box<[MaybeUninit<u8>]>> = RefCell::new(Box::new_uninit_slice(SHARED));
}

/// A `bytes` object with at most `most` bytes, copied from shared memory: so a small object is all that is allocated.
///
/// # Errors
/// Those of `receive`, and inside MemoryError.
#[inline]
pub(crate) fn receive_shared<'py>(
    py: Python<'py>,
    most: usize,
    receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> Received,
) -> io::Result<PyResult<Bound<'py, PyBytes>>> {
    ROOM.with_borrow_mut(|room| {
        let room = &mut room[..most.min(SHARED)];
        let count = receive(room)?;
        assert!(count <= room.len(), "more was received than there is room for");
        // SAFETY: so many bytes were written.
        Ok(new_bytes(py, unsafe { std::slice::from_raw_parts(room.as_ptr().cast::<u8>(), count) }))
    })
}

/// A `bytes` object into which at most `size` bytes are received directly.
///
/// # Errors
/// As those of [`receive_shared`].
pub(crate) fn receive_exact<'py>(
    py: Python<'py>,
    size: usize,
    receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> Received,
) -> io::Result<PyResult<Bound<'py, PyBytes>>> {
    // SAFETY: a new object of that length, which no one else has yet; its content is not read before it is written.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as ffi::Py_ssize_t);
        let object = match Bound::from_owned_ptr_or_err(py, object) {
            Ok(object) => object.cast_into_unchecked::<PyBytes>(),
            Err(e) => return Ok(Err(e)),
        };
        let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
        let count = receive(std::slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), size))?;
        assert!(count <= size, "more was received than there is room for");
        match count == size {
            true => Ok(Ok(object)),
            false => Ok(new_bytes(py, std::slice::from_raw_parts(start, count))),
        }
    }
}

/// Receives into a view.
///
/// # Errors
/// TypeError if it is read-only or not in one piece; inside those of `receive`.
pub(crate) fn receive_into(
    view: &PyUntypedBuffer,
    receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> Received,
) -> PyResult<Received> {
    if view.readonly() || !view.is_c_contiguous() {
        return Err(PyTypeError::new_err("a read-write, contiguous bytes-like object is required"));
    }
    let start = view.buf_ptr().cast::<MaybeUninit<u8>>();
    // SAFETY: a contiguous view is so many bytes from its pointer on, which stay while `view` is borrowed; nothing but
    // bytes is written there.
    Ok(receive(unsafe { std::slice::from_raw_parts_mut(start, view.len_bytes()) }))
}

fn copy(py: Python<'_>, bytes: &[u8], write: impl FnOnce(&[u8]) + Send) {
    if bytes.len() < LONG_COPY { write(bytes) } else { py.detach(|| write(bytes)) }
}

/// The destination of a copy.
struct Destination(*mut u8);

// SAFETY: it is used by one thread, while the one that made it waits; see `copy`.
unsafe impl Send for Destination {}

impl Destination {
    /// # Safety
    /// The memory behind it is longer than `offset`, or as long.
    unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { self.0.add(offset) }
    }
}

/// Fills `view` with the bytes at `start`, writable too, which `owner` keeps alive.
///
/// # Safety
/// `view` is null or valid for writing, and the bytes stay while `owner` lives.
unsafe fn export(
    owner: &Bound<'_, PyAny>,
    start: NonNull<u8>,
    len: usize,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    // SAFETY: as the caller promises; the view takes a reference to the owner.
    let r = unsafe {
        ffi::PyBuffer_FillInfo(view, owner.as_ptr(), start.as_ptr().cast(), len as ffi::Py_ssize_t, 0, flags)
    };
    if r < 0 { Err(PyErr::fetch(owner.py())) } else { Ok(()) }
}

#[pymethods]
impl Lease {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        errors::take_part()?;
        let (start, len) = slf.get().bytes();
        // SAFETY: the interpreter gives a view to fill; the lease keeps its bytes for as long as it lives.
        unsafe { export(slf.as_any(), start, len, view, flags) }
    }
}

#[pymethods]
impl SharedBytes {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        errors::take_part()?;
        let (start, len) = slf.get().bytes();
        // SAFETY: the interpreter gives a view to fill; the handle keeps its bytes for as long as it lives.
        unsafe { export(slf.as_any(), start, len, view, flags) }
    }
}
