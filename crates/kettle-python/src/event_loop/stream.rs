//! `Stream`: the native half of a transport for connections. The other half is asyncio's own transport, whose methods
//! find its attributes here.

use std::os::fd::RawFd;

use kettle::event_loop::Stream as Connection;
use kettle_core::queue::local::Lock;
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::pyclass::PyVisit;

use crate::fast::calls;
use crate::fast::sockets::Socket;
use crate::fast::{Attached, AttachedLock};

/// asyncio's own limit for a read.
const MOST: usize = 256 * 1024;

pub(super) struct State {
    pub(super) connection: Connection<PyBackedBytes>,
    pub(super) protocol: Option<Py<PyAny>>,
    /// Whether the protocol supplies the memory for what is read.
    pub(super) is_buffered: bool,
    socket: Option<Socket>,
    /// The future that is done when everything was sent.
    empty_waiter: Option<Py<PyAny>>,
}

/// The native half of a transport.
#[pyclass(frozen, module = "kettle._native")]
pub(crate) struct Stream {
    state: AttachedLock<State>,
}

impl Stream {
    #[inline(always)]
    pub(super) fn lock<'a>(&'a self, py: Python<'a>) -> impl std::ops::DerefMut<Target = State> + use<'a> {
        self.state.lock(py.into())
    }

    /// The number of the socket's descriptor at the moment; -1 if the program has closed it.
    #[inline(always)]
    pub(super) fn number(&self, py: Python<'_>) -> PyResult<RawFd> {
        let socket = {
            let state = self.lock(py);
            let Some(socket) = &state.socket else { return Ok(-1) };
            if let Some(number) = socket.number() {
                return Ok(number);
            }
            socket.object().clone_ref(py)
        };
        calls::call_method(socket.bind(py), intern!(py, "fileno"), ())?.extract()
    }

    /// Whether the connection ends when everything was sent, or has ended.
    pub(crate) fn is_closing(&self, py: Python<'_>) -> bool {
        self.lock(py).connection.is_closing
    }

    /// How many bytes wait to be sent.
    pub(crate) fn unsent(&self, py: Python<'_>) -> usize {
        self.lock(py).connection.outgoing.size()
    }

    /// Ends the connection because of an error, as asyncio does.
    #[cold]
    pub(super) fn fail(transport: &Bound<'_, PyAny>, e: PyErr, message: &str) -> PyResult<()> {
        let py = transport.py();
        if e.is_instance_of::<PySystemExit>(py) || e.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(e);
        }
        calls::call_method(transport, intern!(py, "_kettle_fail"), (e, message)).map(drop)
    }
}

#[pymethods]
impl Stream {
    #[new]
    fn new(sock: Bound<'_, PyAny>) -> PyResult<Self> {
        let state = State {
            connection: Connection::new(MOST),
            protocol: None,
            is_buffered: false,
            socket: Some(Socket::new(sock)?),
            empty_waiter: None,
        };
        Ok(Self { state: AttachedLock::new(state) })
    }

    /// How many bytes wait to be sent.
    fn __len__(&self, py: Python<'_>) -> usize {
        self.unsent(py)
    }

    /// Drops what waits to be sent.
    fn clear(&self, py: Python<'_>) {
        let unsent = std::mem::take(&mut self.lock(py).connection.outgoing);
        drop(unsent);
    }

    /// The protocol, and whether it supplies the memory for what is read.
    fn connect(&self, py: Python<'_>, protocol: Py<PyAny>, is_buffered: bool) {
        let before = {
            let mut state = self.lock(py);
            state.is_buffered = is_buffered;
            state.protocol.replace(protocol)
        };
        drop(before);
    }

    #[getter]
    fn protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock(py).protocol.as_ref().map(|protocol| protocol.clone_ref(py))
    }

    #[setter]
    fn set_protocol(&self, py: Python<'_>, protocol: Option<Py<PyAny>>) {
        let before = std::mem::replace(&mut self.lock(py).protocol, protocol);
        drop(before);
    }

    #[getter]
    fn sock(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock(py).socket.as_ref().map(|socket| socket.object().clone_ref(py))
    }

    #[setter]
    fn set_sock(&self, py: Python<'_>, sock: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let socket = sock.map(Socket::new).transpose()?;
        let before = std::mem::replace(&mut self.lock(py).socket, socket);
        drop(before);
        Ok(())
    }

    #[getter]
    fn empty_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock(py).empty_waiter.as_ref().map(|waiter| waiter.clone_ref(py))
    }

    #[setter]
    fn set_empty_waiter(&self, py: Python<'_>, waiter: Option<Py<PyAny>>) {
        let before = {
            let mut state = self.lock(py);
            state.connection.is_lent = waiter.is_some();
            std::mem::replace(&mut state.empty_waiter, waiter)
        };
        drop(before);
    }

    #[getter(closing)]
    fn get_closing(&self, py: Python<'_>) -> bool {
        self.is_closing(py)
    }

    #[setter]
    fn set_closing(&self, py: Python<'_>, is: bool) {
        self.lock(py).connection.is_closing = is;
    }

    #[getter]
    fn paused(&self, py: Python<'_>) -> bool {
        self.lock(py).connection.is_paused
    }

    #[setter]
    fn set_paused(&self, py: Python<'_>, is: bool) {
        self.lock(py).connection.is_paused = is;
    }

    #[getter]
    fn eof(&self, py: Python<'_>) -> bool {
        self.lock(py).connection.has_ended
    }

    #[setter]
    fn set_eof(&self, py: Python<'_>, is: bool) {
        self.lock(py).connection.has_ended = is;
    }

    #[getter]
    fn lost(&self, py: Python<'_>) -> u32 {
        self.lock(py).connection.lost
    }

    #[setter]
    fn set_lost(&self, py: Python<'_>, count: u32) {
        self.lock(py).connection.lost = count;
    }

    /// The largest size of a read.
    #[getter]
    fn most(&self, py: Python<'_>) -> usize {
        self.lock(py).connection.incoming.most()
    }

    #[setter]
    fn set_most(&self, py: Python<'_>, most: usize) {
        self.lock(py).connection.incoming.set_most(most);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.state.lock(Attached::by(&visit));
        visit.call(&state.protocol)?;
        visit.call(&state.empty_waiter)?;
        state.socket.as_ref().map_or(Ok(()), |socket| visit.call(socket.object()))
    }

    /// The socket stays, for the destructor of a transport that was not closed.
    fn __clear__(&self, py: Python<'_>) {
        let (protocol, waiter) = {
            let mut state = self.lock(py);
            (state.protocol.take(), state.empty_waiter.take())
        };
        drop((protocol, waiter));
    }
}
