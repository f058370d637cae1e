//! What happens when a connection has something to read.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

use kettle::event_loop::Room;
use kettle_core::sys::stream;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::stream::Stream;
use crate::buffers;
use crate::errors;
use crate::fast::calls;

const READ_ERROR: &str = "Fatal read error on socket transport";

/// Whether nothing has come after all.
fn is_nothing(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Stream {
    /// Reads once, and hands over what came.
    #[inline(always)]
    pub(crate) fn read_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let fd = self.number(py)?;
        let (protocol, is_buffered, room) = {
            let state = self.lock(py);
            let protocol = match &state.protocol {
                Some(protocol) if state.connection.lost == 0 => protocol.clone_ref(py).into_bound(py),
                _ => return Ok(()),
            };
            (protocol, state.is_buffered, state.connection.incoming.room(fd))
        };
        let read = match is_buffered {
            true => Self::read_into(transport, &protocol, fd),
            false => self.read(transport, &protocol, fd, room),
        };
        calls::let_go(protocol);
        read
    }

    fn read(&self, transport: &Bound<'_, PyAny>, protocol: &Bound<'_, PyAny>, fd: RawFd, room: Room) -> PyResult<()> {
        let py = transport.py();
        let received = match room {
            Room::Shared(most) => buffers::receive_shared(py, most, |to| stream::receive(fd, to)),
            Room::Exact(size) => buffers::receive_exact(py, size, |to| stream::receive(fd, to)),
        };
        let data = match received {
            Ok(Ok(data)) => data,
            Ok(Err(e)) => return Self::fail(transport, e, READ_ERROR),
            Err(e) if is_nothing(&e) => return Ok(()),
            Err(e) => return Self::fail(transport, errors::os(e), READ_ERROR),
        };
        let count = data.as_bytes().len();
        if count == 0 {
            return Self::end(transport);
        }
        self.lock(py).connection.incoming.note(count);
        let done = calls::call_method_one(protocol, intern!(py, "data_received"), &data);
        calls::let_go(data.into_any());
        match done {
            Ok(none) => calls::let_go(none),
            Err(e) => return Self::fail(transport, e, "Fatal error: protocol.data_received() call failed."),
        }
        Ok(())
    }

    /// Reads into the protocol's own memory.
    fn read_into(transport: &Bound<'_, PyAny>, protocol: &Bound<'_, PyAny>, fd: RawFd) -> PyResult<()> {
        const GET: &str = "Fatal error: protocol.get_buffer() call failed.";
        let py = transport.py();
        let hint = PyInt::new(py, -1);
        let buffer = match calls::call_method_one(protocol, intern!(py, "get_buffer"), &hint) {
            Ok(buffer) => buffer,
            Err(e) => return Self::fail(transport, e, GET),
        };
        let view = match PyUntypedBuffer::get(&buffer) {
            Ok(view) if view.len_bytes() == 0 => {
                let e = PyRuntimeError::new_err("get_buffer() returned an empty buffer");
                return Self::fail(transport, e, GET);
            }
            Ok(view) => view,
            Err(e) => return Self::fail(transport, e, GET),
        };
        let count = match buffers::receive_into(&view, |to| stream::receive(fd, to)) {
            Ok(Ok(count)) => count,
            Ok(Err(e)) if is_nothing(&e) => return Ok(()),
            Ok(Err(e)) => return Self::fail(transport, errors::os(e), READ_ERROR),
            Err(e) => return Self::fail(transport, e, READ_ERROR),
        };
        // The protocol may resize its buffer from now on.
        drop(view);
        calls::let_go(buffer);
        if count == 0 {
            return Self::end(transport);
        }
        match calls::call_method_one(protocol, intern!(py, "buffer_updated"), &PyInt::new(py, count)) {
            Ok(none) => calls::let_go(none),
            Err(e) => return Self::fail(transport, e, "Fatal error: protocol.buffer_updated() call failed."),
        }
        Ok(())
    }

    /// The peer sends nothing more.
    fn end(transport: &Bound<'_, PyAny>) -> PyResult<()> {
        calls::call_method(transport, intern!(transport.py(), "_read_ready__on_eof"), ()).map(drop)
    }
}
