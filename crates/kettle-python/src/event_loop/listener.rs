//! Accepting connections.

use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, RawFd};

use kettle::event_loop;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::errors;

/// An address as Python's sockets have it.
fn address(py: Python<'_>, address: SocketAddr) -> PyResult<Py<PyAny>> {
    match address {
        SocketAddr::V4(v4) => (v4.ip().to_string(), v4.port()).into_py_any(py),
        SocketAddr::V6(v6) => (v6.ip().to_string(), v6.port(), v6.flowinfo(), v6.scope_id()).into_py_any(py),
    }
}

/// Accepts a connection. Returns its descriptor, which belongs to the caller, and for an internet socket the address of
/// the peer; or None if no connection waits.
#[pyfunction]
pub(crate) fn accept(py: Python<'_>, listener: RawFd) -> PyResult<Option<(RawFd, Option<Py<PyAny>>)>> {
    let Some(accepted) = event_loop::accept(listener).map_err(errors::os)? else { return Ok(None) };
    let peer = accepted.peer.map(|peer| address(py, peer)).transpose()?;
    Ok(Some((accepted.fd.into_raw_fd(), peer)))
}
