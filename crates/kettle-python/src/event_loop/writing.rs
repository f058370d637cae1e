//! What a program writes to a connection.

use kettle::event_loop::Refused;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::stream::Stream;
use crate::buffers;
use crate::errors;
use crate::fast::calls;

const WRITE_ERROR: &str = "Fatal write error on socket transport";

/// How far a write got.
enum Sent {
    /// Everything was sent, or there is nothing to do.
    All,
    /// So many bytes were sent, and whether nothing else waits to be sent before the others.
    Part(usize, bool),
    Refused(Refused),
    Failed(PyErr),
}

/// The bytes of an object, which nothing can change: of the class `bytes` itself, or a copy.
fn owned(data: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(bytes.clone().into());
    }
    let view = PyUntypedBuffer::get(data)?;
    if !view.is_c_contiguous() {
        return owned(&calls::call_method(data, intern!(data.py(), "tobytes"), ())?);
    }
    buffers::with_bytes(&view, |bytes| Ok(buffers::to_bytes(data.py(), bytes)?.into()))
}

impl Stream {
    /// Sends what the socket accepts now, and keeps the rest.
    #[inline(always)]
    pub(crate) fn write(&self, transport: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(bytes) = data.cast_exact::<PyBytes>() else { return self.write_any(transport, data) };
        match self.send(transport.py(), bytes.as_bytes())? {
            Sent::All => Ok(()),
            Sent::Part(sent, was_empty) => self.keep(transport, bytes.clone().into(), sent, was_empty),
            Sent::Refused(refused) => Self::refuse(transport, refused, "write"),
            Sent::Failed(e) => Self::fail(transport, e, WRITE_ERROR),
        }
    }

    /// Everything else can change, so what is kept is a copy.
    #[inline(never)]
    fn write_any(&self, transport: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let is_view = data.is_instance_of::<PyMemoryView>();
        if !is_view && !data.is_instance_of::<PyByteArray>() && !data.is_instance_of::<PyBytes>() {
            let class = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!("data argument must be a bytes-like object, not '{class}'")));
        }
        let view = PyUntypedBuffer::get(data)?;
        if !view.is_c_contiguous() {
            return self.write(transport, &calls::call_method(data, intern!(py, "tobytes"), ())?);
        }
        let (sent, rest) = buffers::with_bytes(&view, |bytes| {
            let sent = self.send(py, bytes)?;
            let rest = match sent {
                Sent::Part(sent, _) => Some(buffers::to_bytes(py, &bytes[sent..])?),
                _ => None,
            };
            Ok((sent, rest))
        })?;
        // The program may resize what it has given as soon as its protocol is called.
        drop(view);
        match (sent, rest) {
            (Sent::Part(_, was_empty), Some(rest)) => self.keep(transport, rest.into(), 0, was_empty),
            (Sent::Refused(refused), _) => Self::refuse(transport, refused, "write"),
            (Sent::Failed(e), _) => Self::fail(transport, e, WRITE_ERROR),
            _ => Ok(()),
        }
    }

    /// Sends several pieces, with one system call if there are few.
    pub(crate) fn write_lines(&self, transport: &Bound<'_, PyAny>, pieces: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let pieces: Vec<_> = pieces.try_iter()?.map(|piece| owned(&piece?)).collect::<PyResult<_>>()?;
        let fd = self.number(py)?;
        let mut state = self.lock(py);
        match state.connection.check() {
            Err(Refused::Lost) | Ok(()) if pieces.iter().all(|piece| piece.is_empty()) => return Ok(()),
            Err(refused) => {
                drop(state);
                return Self::refuse(transport, refused, "writelines");
            }
            Ok(()) => {}
        }
        let was_empty = state.connection.outgoing.is_empty();
        // Under the lock: see `write_ready`.
        let sent = state.connection.send_all(fd, pieces);
        drop(state);
        match sent {
            Ok(()) if self.unsent(py) == 0 => Ok(()),
            Ok(()) => Self::wait(transport, was_empty),
            Err(e) => Self::fail(transport, errors::os(e), WRITE_ERROR),
        }
    }

    #[inline(always)]
    fn send(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<Sent> {
        let fd = self.number(py)?;
        let state = self.lock(py);
        match state.connection.check() {
            Err(Refused::Lost) | Ok(()) if bytes.is_empty() => return Ok(Sent::All),
            Err(refused) => return Ok(Sent::Refused(refused)),
            Ok(()) => {}
        }
        let sent = state.connection.send(fd, bytes);
        let was_empty = state.connection.outgoing.is_empty();
        drop(state);
        Ok(match sent {
            Ok(sent) if sent == bytes.len() => Sent::All,
            Ok(sent) => Sent::Part(sent, was_empty),
            Err(e) => Sent::Failed(errors::os(e)),
        })
    }

    #[cold]
    fn refuse(transport: &Bound<'_, PyAny>, refused: Refused, method: &str) -> PyResult<()> {
        match refused {
            Refused::Ended => Err(PyRuntimeError::new_err(format!("Cannot call {method}() after write_eof()"))),
            Refused::Lent => Err(PyRuntimeError::new_err(format!("unable to {method}; sendfile is in progress"))),
            Refused::Lost => calls::call_method(transport, intern!(transport.py(), "_kettle_lost_write"), ()).map(drop),
        }
    }

    /// Keeps what waits to be sent, from byte `sent` on.
    #[cold]
    fn keep(&self, transport: &Bound<'_, PyAny>, bytes: PyBackedBytes, sent: usize, was_empty: bool) -> PyResult<()> {
        self.lock(transport.py()).connection.outgoing.push(bytes, sent);
        Self::wait(transport, was_empty)
    }

    /// Waits until the socket accepts more.
    #[cold]
    fn wait(transport: &Bound<'_, PyAny>, was_empty: bool) -> PyResult<()> {
        let py = transport.py();
        if was_empty {
            calls::call_method(transport, intern!(py, "_kettle_watch"), ())?;
        }
        calls::call_method(transport, intern!(py, "_maybe_pause_protocol"), ()).map(drop)
    }

    /// Sends more of what was kept.
    pub(crate) fn write_ready(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = transport.py();
        let fd = self.number(py)?;
        let sent = {
            let mut state = self.lock(py);
            if state.connection.lost != 0 {
                return Ok(());
            }
            // Under the lock: the pieces are of the class `bytes` itself, which drops them without running any code.
            state.connection.outgoing.flush(fd)
        };
        match sent {
            Ok(0) if self.unsent(py) > 0 => return Ok(()),
            Ok(_) => calls::call_method(transport, intern!(py, "_maybe_resume_protocol"), ())?,
            Err(e) => {
                let told = (errors::os(e), WRITE_ERROR);
                return calls::call_method(transport, intern!(py, "_kettle_write_failed"), told).map(drop);
            }
        };
        // Resumed, the protocol may have written more.
        match self.unsent(py) {
            0 => calls::call_method(transport, intern!(py, "_kettle_drained"), ()).map(drop),
            _ => Ok(()),
        }
    }
}
