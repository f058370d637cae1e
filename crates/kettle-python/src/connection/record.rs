//! Connections over our own pipes: a message is a record.

use kettle_core::arena::Block;
use kettle_core::queue::{Body, Parcel, Taken};
use kettle_core::shared::{Channel, IN_RECORD, PipeEnd, RECORD_HEADER, ReceiveError, Received, SendError};
use kettle_core::wait::{Deadline, Patience, Stopped};
use pyo3::exceptions::{PyEOFError, PyKeyboardInterrupt, PyOSError};
use pyo3::prelude::*;

use super::descriptor::{InUse, closed};
use super::incoming::{Incoming, Scratch};
use crate::door::wait_outside;
use crate::errors;
use crate::message::{self, LONG_COPY};
use crate::pickle::{self, Encoded, Tag};

/// A socket in use, and its end of the channel if it has one.
pub(super) struct Records<'a> {
    pub(super) socket: &'a InUse<'a>,
    pub(super) channel: Option<&'a Channel>,
}

impl Records<'_> {
    fn end(&self) -> PipeEnd<'_> {
        PipeEnd { socket: self.socket.known(), channel: self.channel }
    }

    pub(super) fn has_room(&self) -> bool {
        self.end().has_room()
    }

    /// Whether the readable data is no message but was left by a process that died; it is dropped.
    pub(super) fn drop_leavings(&self, py: Python<'_>) -> bool {
        let end = self.end();
        end.may_have_leavings() && py.detach(|| end.drop_leavings())
    }

    pub(super) fn send(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = obj.py();
        let encoded = pickle::encode_or_explain(obj)?;
        let (tag, bytes) = match &encoded {
            Encoded::Word(tag, word, len) => (*tag, &word[..*len]),
            Encoded::Bytes(b) => (Tag::Bytes, b.as_bytes()),
            Encoded::Str(s) => (Tag::Str, s.to_str()?.as_bytes()),
            Encoded::Compact(compact) => (Tag::Compact, compact.as_bytes()),
            Encoded::Pickle(pickle, buffers, names) if buffers.is_empty() && names.is_empty() => {
                (Tag::Pickle, pickle.as_bytes(py))
            }
            Encoded::Pickle(..) => {
                let Some(channel) = self.channel else {
                    // Without a channel, everything is sent in one piece.
                    return pickle::send_off(obj, |bytes| self.send_bytes(py, Tag::Pickle, bytes));
                };
                return message::with_parcel(py, &encoded, |parcel| {
                    self.sent(wait_outside(py, Deadline::NEVER, |p| self.end().send_through(channel, parcel, p))?)
                });
            }
        };
        self.send_bytes(py, tag, bytes)
    }

    pub(super) fn send_bytes(&self, py: Python<'_>, tag: Tag, bytes: &[u8]) -> PyResult<()> {
        let end = self.end();
        if !end.takes_short(bytes.len()) {
            return self.send_block(py, tag, bytes);
        }
        // Usually there is room, and the thread need not detach.
        match end.send(tag as u8, bytes, &Patience::instant()) {
            Err(SendError::Stopped(Stopped::TimedOut)) => {
                self.sent(wait_outside(py, Deadline::NEVER, |p| end.send(tag as u8, bytes, p))?)
            }
            other => self.sent(other),
        }
    }

    fn send_block(&self, py: Python<'_>, tag: Tag, bytes: &[u8]) -> PyResult<()> {
        let Some(channel) = self.channel else {
            return Err(PyOSError::new_err((
                libc::EMSGSIZE,
                format!(
                    "this pipe's descriptor came without its shared memory, so at most {IN_RECORD} bytes can be sent; \
                     send or inherit the connection itself"
                ),
            )));
        };
        let send = |patience: &Patience<'_>| {
            let parcel = Parcel::blocks(tag as u8, Body::Block(Block::copy_of(bytes)?), Vec::new());
            Ok(self.end().send_through(channel, parcel, patience))
        };
        if bytes.len() < LONG_COPY {
            match send(&Patience::instant()).map_err(errors::arena)? {
                Err(SendError::Stopped(Stopped::TimedOut)) => {}
                other => return self.sent(other),
            }
        }
        self.sent(wait_outside(py, Deadline::NEVER, send)?.map_err(errors::arena)?)
    }

    fn sent(&self, result: Result<(), SendError>) -> PyResult<()> {
        result.map_err(|e| match e {
            _ if self.socket.is_closed() => closed(),
            SendError::Closed => errors::os(std::io::Error::from_raw_os_error(libc::EPIPE)),
            SendError::Stopped(Stopped::Damaged) => errors::session_damaged(),
            SendError::Stopped(Stopped::NoPart) => errors::no_part(),
            // The signal handler's own exception takes precedence over this one.
            SendError::Stopped(Stopped::TimedOut | Stopped::Interrupted) => PyKeyboardInterrupt::new_err(()),
            SendError::Exhausted(e) => errors::exhausted(e),
            SendError::Io(e) => errors::os(e),
        })
    }

    pub(super) fn receive(&self, py: Python<'_>) -> PyResult<Incoming> {
        let end = self.end();
        let mut scratch = Scratch::take();
        let buffer: &mut Vec<u8> = &mut scratch;
        let posted = end.posted();
        let received = match end.try_receive(buffer).transpose() {
            Some(result) => result,
            None => {
                // A process outside the session cannot take the receivers' lock, so it found nothing.
                if self.channel.is_some() {
                    errors::take_part()?;
                }
                wait_outside(py, Deadline::NEVER, |p| end.receive(buffer, posted, p))?
            }
        };
        match received.map_err(|e| self.not_received(e))? {
            Received::Inline(tag) => {
                let taken = Taken { tag, block: None, parts: Vec::new() };
                Ok(Incoming::new(taken, scratch, RECORD_HEADER))
            }
            Received::Announced(taken) => Ok(Incoming::new(taken, scratch, 0)),
        }
    }

    fn not_received(&self, e: ReceiveError) -> PyErr {
        match e {
            _ if self.socket.is_closed() => closed(),
            ReceiveError::End => PyEOFError::new_err(()),
            ReceiveError::Stopped(Stopped::Damaged) => errors::session_damaged(),
            ReceiveError::Stopped(Stopped::NoPart) => errors::no_part(),
            ReceiveError::Unmapped(e) => errors::exhausted(e),
            ReceiveError::Stopped(Stopped::TimedOut | Stopped::Interrupted) => PyKeyboardInterrupt::new_err(()),
            ReceiveError::NoChannel => PyOSError::new_err(
                "this message is in shared memory, which the pipe's bare descriptor cannot reach; \
                 send or inherit the connection itself",
            ),
            ReceiveError::Foreign => PyOSError::new_err("what arrived on this pipe is no message of a connection"),
            ReceiveError::Io(e) => errors::os(e),
        }
    }
}
