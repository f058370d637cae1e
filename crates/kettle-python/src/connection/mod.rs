//! `Connection`: one end of a pipe of ours, or any other descriptor.
//!
//! | file | what it is |
//! |---|---|
//! | `record` | our own pipes: a message is one record in the stream, long ones go through the arena |
//! | `stream` | everything else: the standard library's framing |
//! | `incoming` | a received message, as object or bytes |
//! | `descriptor` | closing a descriptor that other threads may be using |

mod descriptor;
mod incoming;
mod record;
mod stream;

use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kettle_core::arena::Way;
use kettle_core::shared::{self, Channel, PipeError};
use kettle_core::sys::socket::{self, Sort, Watch};
use kettle_core::wait::{Deadline, WatchError, sleep_on};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple, PyType};

use crate::door::{deadline, wait_outside};
use crate::fast::descriptors::Given;
use crate::parameters;
use crate::pickle::{self, Tag};
use crate::primitive::{Arrived, Picklable, Travelling};
use crate::replaced::ThroughConnection;
use crate::{buffers, errors, primitive};
use descriptor::{Descriptor, InUse, closed};
use incoming::Incoming;
use record::Records;
use stream::Stream;

/// One end of a pipe, or a connection over any descriptor that can be read or written. Owns the descriptor.
#[pyclass(subclass, frozen, module = "kettle._native")]
pub(crate) struct Connection {
    descriptor: Descriptor,
    sort: Sort,
    readable: AtomicBool,
    writable: bool,
    channel: OnceLock<Channel>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Connection {
    fn in_use(&self) -> PyResult<InUse<'_>> {
        self.descriptor.enter().ok_or_else(closed)
    }

    fn to_write(&self) -> PyResult<InUse<'_>> {
        let descriptor = self.in_use()?;
        if !self.writable {
            return Err(PyOSError::new_err("connection is read-only"));
        }
        Ok(descriptor)
    }

    fn to_read(&self) -> PyResult<InUse<'_>> {
        let descriptor = self.in_use()?;
        if !self.readable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is write-only"));
        }
        Ok(descriptor)
    }

    fn records<'a>(&'a self, socket: &'a InUse<'a>) -> Option<Records<'a>> {
        (self.sort == Sort::Records).then(|| Records { socket, channel: self.channel.get() })
    }

    fn stream<'a>(&self, descriptor: &'a InUse<'a>) -> Stream<'a> {
        Stream { descriptor, is_socket: self.sort == Sort::Socket }
    }

    /// After a refused message nothing sensible can be read.
    fn bad_length(&self) -> PyErr {
        if self.writable {
            self.readable.store(false, Ordering::Relaxed);
        } else {
            self.descriptor.close();
        }
        PyOSError::new_err("bad message length")
    }

    fn receive(&self, py: Python<'_>, limit: Option<usize>) -> PyResult<Incoming> {
        let descriptor = self.to_read()?;
        let incoming = match self.records(&descriptor) {
            Some(records) => Some(records.receive(py)?),
            None => self.stream(&descriptor).receive(py, limit)?,
        };
        let too_long = |i: &Incoming| limit.zip(i.len()).is_some_and(|(limit, len)| len > limit);
        match incoming.filter(|i| !too_long(i)) {
            Some(incoming) => {
                self.received.fetch_add(1, Ordering::Relaxed);
                Ok(incoming)
            }
            None => Err(self.bad_length()),
        }
    }

    /// A pipe without an arena half needs no session.
    fn take_part(&self) -> PyResult<()> {
        if self.channel.get().is_some() { errors::take_part() } else { Ok(()) }
    }

    fn poll_until(&self, py: Python<'_>, deadline: Deadline) -> PyResult<bool> {
        let descriptor = self.to_read()?;
        let mut watched = [Watch::readable(descriptor.number())];
        let found = socket::poll(&mut watched, Duration::ZERO);
        let is_lost = || self.records(&descriptor).is_some_and(|records| records.drop_leavings(py));
        if watched[0].is_ready() && is_lost() {
            return self.poll_until(py, deadline);
        }
        if deadline == Deadline::NOW || matches!(found, Ok(1..)) {
            return Ok(watched[0].is_ready());
        }
        descriptor.known().get().map_err(errors::descriptor_lost)?;
        let result = wait_outside(py, deadline, |p| {
            while !watched[0].is_ready() {
                sleep_on(&mut watched, p)?;
            }
            Ok(())
        })?;
        match result {
            _ if descriptor.is_closed() => Err(closed()),
            Ok(()) if is_lost() => self.poll_until(py, deadline),
            Ok(()) => Ok(true),
            Err(WatchError::Stopped(_)) => Ok(false),
            Err(WatchError::Io(e)) => Err(errors::os(e)),
        }
    }

    fn send_slice(&self, py: Python<'_>, descriptor: &InUse<'_>, bytes: &[u8]) -> PyResult<()> {
        self.take_part()?;
        match self.records(descriptor) {
            Some(records) => records.send_bytes(py, Tag::Pickle, bytes)?,
            None => self.stream(descriptor).send_bytes(py, bytes)?,
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The bytes from `offset` on: `size` of them, or all.
fn part(bytes: &[u8], offset: i64, size: Option<i64>) -> PyResult<&[u8]> {
    let refused = |text: &'static str| PyValueError::new_err(text);
    let offset = usize::try_from(offset).map_err(|_| refused("offset is negative"))?;
    let rest = bytes.get(offset..).ok_or_else(|| refused("buffer length < offset"))?;
    let Some(size) = size else { return Ok(rest) };
    let size = usize::try_from(size).map_err(|_| refused("size is negative"))?;
    rest.get(..size).ok_or_else(|| refused("buffer length < offset + size"))
}

/// What `recv_bytes_into` raises for a message that does not fit, with the message.
fn too_short(py: Python<'_>, message: &[u8]) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let raise = || {
        PyResult::Ok((
            errors::standard_class(py, &CLASS, "multiprocessing.context", "BufferTooShort")?,
            buffers::to_bytes(py, message)?,
        ))
    };
    match raise() {
        Ok((class, message)) => PyErr::from_type(class.clone(), (message.unbind(),)),
        Err(e) => e,
    }
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (handle, readable=true, writable=true))]
    fn new(handle: Given, readable: bool, writable: bool) -> PyResult<Self> {
        if !readable && !writable {
            return Err(PyValueError::new_err("at least one of `readable` and `writable` must be True"));
        }
        let fd = handle.take();
        Ok(Self {
            sort: socket::sort_of(fd.as_fd()),
            descriptor: Descriptor::new(fd),
            readable: AtomicBool::new(readable),
            writable,
            channel: OnceLock::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        })
    }

    /// The number of its descriptor, which can be polled for reading.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.in_use()?.known().get().map_err(errors::descriptor_lost)?.as_raw_fd())
    }

    /// Closes this end. Closing it again does nothing.
    fn close(&self) {
        self.descriptor.close();
    }

    /// Whether this end was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.descriptor.is_closed()
    }

    /// Whether it can receive.
    #[getter]
    fn readable(&self) -> bool {
        self.readable.load(Ordering::Relaxed)
    }

    /// Whether it can send.
    #[getter]
    fn writable(&self) -> bool {
        self.writable
    }

    /// Sends an object. Returns when it is on its way; what cannot be pickled raises here.
    fn send(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let descriptor = self.to_write()?;
        self.take_part()?;
        let _way = ThroughConnection::begin();
        match self.records(&descriptor) {
            Some(records) => records.send(obj)?,
            None => pickle::send_off(obj, |bytes| self.stream(&descriptor).send_bytes(obj.py(), bytes))?,
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for an object. Raises EOFError when the other end is gone and nothing is left.
    fn recv<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let incoming = self.receive(py, None)?;
        let _way = ThroughConnection::begin();
        incoming.into_object(py)
    }

    /// Sends bytes as one message: all of `buf`, or `size` bytes from `offset` on.
    #[pyo3(signature = (buf, offset=0, size=None))]
    fn send_bytes(
        &self,
        buf: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = parameters::offset)] offset: i64,
        #[pyo3(from_py_with = parameters::size)] size: Option<i64>,
    ) -> PyResult<()> {
        let py = buf.py();
        let descriptor = self.to_write()?;
        if let Ok(bytes) = buf.cast_exact::<PyBytes>() {
            return self.send_slice(py, &descriptor, part(bytes.as_bytes(), offset, size)?);
        }
        let view = parameters::buffer(buf, "buf")?;
        buffers::with_bytes(&view, |bytes| self.send_slice(py, &descriptor, part(bytes, offset, size)?))
    }

    /// Waits for a message, as bytes. One that is longer than `maxlength` raises OSError, and is the last.
    #[pyo3(signature = (maxlength=None))]
    fn recv_bytes<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = parameters::maxlength)] maxlength: Option<i64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.to_read()?;
        let limit = maxlength.map(usize::try_from).transpose();
        let limit = limit.map_err(|_| PyValueError::new_err("negative maxlength"))?;
        let incoming = self.receive(py, limit)?;
        let _way = ThroughConnection::begin();
        let bytes = incoming.into_bytes(py)?;
        // An object is only encoded here, so its length is not known before.
        if limit.is_some_and(|limit| bytes.as_bytes().len() > limit) {
            return Err(self.bad_length());
        }
        Ok(bytes)
    }

    /// Waits for a message and writes it into `buf` from byte `offset` on; says how many bytes it has. Raises
    /// BufferTooShort, with the message, if it does not fit.
    #[pyo3(signature = (buf, offset=0))]
    fn recv_bytes_into(
        &self,
        buf: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = parameters::offset)] offset: i64,
    ) -> PyResult<usize> {
        let py = buf.py();
        self.to_read()?;
        let view = parameters::buffer(buf, "buf")?;
        let offset = usize::try_from(offset).map_err(|_| PyValueError::new_err("negative offset"))?;
        let room = view.len_bytes().checked_sub(offset).ok_or_else(|| PyValueError::new_err("offset too large"))?;
        let incoming = self.receive(py, None)?;
        let _way = ThroughConnection::begin();
        incoming.with_bytes(py, |message| {
            if message.len() > room {
                return Err(too_short(py, message));
            }
            buffers::copy_into(py, &view, offset, message)?;
            Ok(message.len())
        })
    }

    /// Whether a message (or the end) is there, after waiting for it up to `timeout` seconds; None waits for ever.
    #[pyo3(signature = (timeout=Some(0.0)))]
    fn poll(&self, py: Python<'_>, #[pyo3(from_py_with = parameters::timeout)] timeout: Option<f64>) -> PyResult<bool> {
        self.poll_until(py, deadline(true, timeout))
    }

    /// A frozen record: messages sent and received through this object, and bytes of long ones on their way.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        primitive::record(
            py,
            "ConnectionStatistics",
            &[
                ("sent", self.sent.load(Ordering::Relaxed)),
                ("received", self.received.load(Ordering::Relaxed)),
                ("bytes_on_their_way", self.channel.get().map_or(0, Channel::on_their_way)),
            ],
        )
    }

    /// Whether a short message could be sent although the descriptor may not be ready for writing.
    fn _kettle_has_room(&self) -> PyResult<bool> {
        let descriptor = self.to_write()?;
        Ok(self.records(&descriptor).is_some_and(|records| records.has_room()))
    }

    /// The arena half, to be given to `_set_channel` of the end rebuilt in another process.
    fn _channel_token(slf: &Bound<'_, Self>) -> Option<Travelling> {
        slf.get().channel.get().map(|_| Travelling::new(slf))
    }

    #[pyo3(signature = (token))]
    fn _set_channel(&self, token: Option<Arrived>) -> PyResult<()> {
        if let Some(token) = token {
            let channel = Channel::from_tokens(token.as_bytes()).map_err(errors::token)?;
            self.channel.set(channel).map_err(|_| PyValueError::new_err("this connection has its channel already"))?;
        }
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyTuple>) {
        self.close();
    }
}

impl Picklable for Connection {
    fn names(&self, way: Way) -> Vec<u8> {
        self.channel.get().map_or(Vec::new(), |channel| channel.tokens(way).to_vec())
    }
}

/// Two connected ends of class `cls`; with `duplex=False` the first only receives and the second only sends.
#[pyfunction]
#[pyo3(signature = (cls, duplex=true))]
pub(crate) fn pipe<'py>(
    cls: &Bound<'py, PyType>,
    #[pyo3(from_py_with = parameters::truth)] duplex: bool,
) -> PyResult<(Bound<'py, Connection>, Bound<'py, Connection>)> {
    if !cls.is_subclass_of::<Connection>()? {
        return Err(PyTypeError::new_err("cls must be a subclass of Connection"));
    }
    let [a, b] = shared::pipe().map_err(|e| match e {
        PipeError::Arena(e) => errors::arena(e),
        PipeError::Io(e) => errors::os(e),
    })?;
    let end = |(socket, channel): (std::os::fd::OwnedFd, Channel), readable: bool, writable: bool| {
        // From here on the object owns the descriptor.
        let end = cls.call1((socket.into_raw_fd(), readable, writable))?.cast_into::<Connection>()?;
        end.get()
            .channel
            .set(channel)
            .map_err(|_| PyTypeError::new_err("cls made a connection that has a channel already"))?;
        PyResult::Ok(end)
    };
    Ok((end(a, true, duplex)?, end(b, duplex, true)?))
}
