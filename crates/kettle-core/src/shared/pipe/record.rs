//! The format of messages in the stream.
//!
//! A record begins with a slot of fixed length, which is received at once. A short message is padded with zeros; the
//! rest of a longer one follows in a block that begins with its own length:
//!
//! ```text
//! inline     [ 1 | tag | 0 0 | length: 32 | bytes … ]          [ 3 | 0 0 0 | length: 32 | 0: 64 | rest … ]
//! announced  [ 2 | 0 | 0 0 | number in the queue: 32 | bytes sent so far, with these: 64 ]
//! backlog    [ 4 | 0 | 0 0 | number in the queue: 32 | number of the backlog: 64 | mark: 64 ]
//! ```
//!
//! A record is sent by one call, which the kernel executes as a whole. A receiver that dies after it has received the
//! slot leaves a rest; the next receiver finds it in place of a record, and drops it. A rest is never shorter than a
//! slot.

use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::crash_point;
use crate::sys::socket::{self, Watch};

/// The longest message that is sent in a record.
pub const IN_RECORD: usize = 16 * 1024;
/// The offset of the bytes in an inline record.
pub const RECORD_HEADER: usize = 8;

const INLINE: u8 = 1;
const ANNOUNCED: u8 = 2;
const REST: u8 = 3;
const BACKLOG: u8 = 4;
/// With the kernel's own bookkeeping it fits into a kilobyte of kernel memory.
pub(super) const SLOT: usize = 704;
/// The number of message bytes in the slot of an inline record.
pub(super) const IN_SLOT: usize = SLOT - RECORD_HEADER;
/// The part of a record that shows whether it stands for a backlog.
const BACKLOG_HEADER: usize = RECORD_HEADER + 16;
/// Distinguishes such a record from bytes that the program wrote.
const MARK: u64 = u64::from_le_bytes(*b"\0backlog");
const REST_HEADER: usize = 16;
const ZEROS: [u8; SLOT] = [0; SLOT];

/// The content of a record that stands for a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BacklogRecord {
    /// The number of the backlog.
    pub(super) number: u64,
    /// The number in the queue of its first message.
    pub(super) first: u32,
}

/// What is at the front of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// No data, or the end of the stream.
    Nothing,
    Backlog(BacklogRecord),
    /// Another record, or bytes that are not a record.
    Other,
}

fn header<const N: usize>(kind: u8, tag: u8, number: u32) -> [u8; N] {
    let mut header = [0; N];
    header[..2].copy_from_slice(&[kind, tag]);
    header[4..8].copy_from_slice(&number.to_ne_bytes());
    header
}

fn number(header: &[u8]) -> usize {
    u32::from_ne_bytes(core::array::from_fn(|i| header[4 + i])) as usize
}

/// The length of the block that holds `rest` bytes.
fn block_of(rest: usize) -> usize {
    (REST_HEADER + rest).max(SLOT)
}

/// Sends a message of at most [`IN_RECORD`] bytes.
pub(super) fn send_inline(fd: BorrowedFd<'_>, tag: u8, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() <= IN_SLOT {
        return send_slot(fd, &slot(INLINE, tag, bytes.len() as u32, bytes));
    }
    let first = header::<RECORD_HEADER>(INLINE, tag, bytes.len() as u32);
    let (in_slot, rest) = bytes.split_at(IN_SLOT);
    let second = header::<REST_HEADER>(REST, 0, rest.len() as u32);
    let zeros = &ZEROS[..block_of(rest.len()) - REST_HEADER - rest.len()];
    send_whole(fd, &[&first, in_slot, &second, rest, zeros])
}

/// Announces the message with this number in the queue.
pub(super) fn send_announcement(fd: BorrowedFd<'_>, number: u32, sum: u64) -> io::Result<()> {
    send_slot(fd, &slot(ANNOUNCED, 0, number, &sum.to_ne_bytes()))
}

/// Announces a backlog. The record is sent even though the socket is full.
pub(super) fn send_backlog(fd: BorrowedFd<'_>, backlog: BacklogRecord) -> io::Result<()> {
    let mut words = [0; 16];
    words[..8].copy_from_slice(&backlog.number.to_ne_bytes());
    words[8..].copy_from_slice(&MARK.to_ne_bytes());
    let slot = slot(BACKLOG, 0, backlog.first, &words);
    match socket::send_into_spare_room(fd, &slot)? {
        SLOT => Ok(()),
        sent => send_remainder(fd, &slot[sent..]),
    }
}

/// A slot with this header, followed by `bytes`, at most [`IN_SLOT`] of them.
#[inline(always)]
fn slot(kind: u8, tag: u8, number: u32, bytes: &[u8]) -> [u8; SLOT] {
    let mut slot: [u8; SLOT] = header(kind, tag, number);
    slot[RECORD_HEADER..][..bytes.len()].copy_from_slice(bytes);
    slot
}

#[inline(always)]
fn send_slot(fd: BorrowedFd<'_>, slot: &[u8; SLOT]) -> io::Result<()> {
    match socket::send_slice(fd, slot)? {
        SLOT => Ok(()),
        sent => send_remainder(fd, &slot[sent..]),
    }
}

fn send_whole<const N: usize>(fd: BorrowedFd<'_>, parts: &[&[u8]; N]) -> io::Result<()> {
    let sent = socket::send_parts(fd, parts)?;
    match sent == parts.iter().map(|part| part.len()).sum() {
        true => Ok(()),
        false => send_remainder(fd, &parts.concat()[sent..]),
    }
}

/// Some systems that emulate Linux accept part of a record where Linux waits for room for all of it.
#[cold]
fn send_remainder(fd: BorrowedFd<'_>, mut remainder: &[u8]) -> io::Result<()> {
    while !remainder.is_empty() {
        match socket::send(fd, remainder, &[]) {
            Ok(sent) => remainder = &remainder[sent..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let _ = socket::poll(&mut [Watch::writable(fd.as_raw_fd())], A_MOMENT);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Receives `wanted` bytes and appends them to the buffer; fewer at the end of the stream, or if they do not belong to
/// a record. Returns the number of bytes.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>, wanted: usize) -> io::Result<usize> {
    let got = socket::receive(fd, buffer, wanted)?;
    if got == wanted || got == 0 { Ok(got) } else { receive_remainder(fd, buffer, wanted, got) }
}

/// The counterpart of [`send_remainder`].
#[cold]
fn receive_remainder(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>, wanted: usize, mut got: usize) -> io::Result<usize> {
    let is_record = matches!(buffer[0], INLINE | ANNOUNCED | REST | BACKLOG);
    while is_record && got < wanted {
        match socket::receive(fd, buffer, wanted - got) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if let Ok(0) = socket::poll(&mut [Watch::readable(fd.as_raw_fd())], A_MOMENT) {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// How long the rest of a message in flight may take to arrive, or to be sent.
pub(super) const A_MOMENT: Duration = Duration::from_secs(1);

/// A record without its padding.
pub(super) enum Record {
    /// Its tag; the bytes follow [`RECORD_HEADER`] in the buffer.
    Inline(u8),
    /// The number and the sum of an announcement.
    Announced(u32, u64),
    /// A record that stands for a backlog.
    Backlog,
    /// Not a record.
    Foreign,
}

/// Interprets a received slot. `rest` receives the given number of further bytes.
pub(super) fn read(
    buffer: &mut Vec<u8>,
    mut rest: impl FnMut(&mut Vec<u8>, usize) -> io::Result<usize>,
) -> io::Result<Record> {
    let &[kind, tag, ..] = buffer.as_slice() else { return Ok(Record::Foreign) };
    if buffer.len() != SLOT {
        return Ok(Record::Foreign);
    }
    let len = number(buffer);
    match kind {
        INLINE if len <= IN_SLOT => {}
        INLINE if len <= IN_RECORD => {
            // The header of the rest overwrites the slot's last bytes, so that the message becomes contiguous once they
            // are restored.
            let last: [u8; REST_HEADER] = core::array::from_fn(|i| buffer[SLOT - REST_HEADER + i]);
            buffer.truncate(SLOT - REST_HEADER);
            let wanted = block_of(len - IN_SLOT);
            crash_point("pipe.receive.slot");
            let got = rest(buffer, wanted)?;
            let header = buffer
                .get_mut(SLOT - REST_HEADER..SLOT)
                .filter(|header| got == wanted && header[0] == REST && number(header) == len - IN_SLOT);
            match header {
                Some(header) => header.copy_from_slice(&last),
                None => return Ok(Record::Foreign),
            }
        }
        BACKLOG if backlog(buffer).is_some() => return Ok(Record::Backlog),
        ANNOUNCED => {
            let sum = u64::from_ne_bytes(core::array::from_fn(|i| buffer[RECORD_HEADER + i]));
            return Ok(Record::Announced(len as u32, sum));
        }
        _ => return Ok(Record::Foreign),
    }
    buffer.truncate(RECORD_HEADER + len);
    Ok(Record::Inline(tag))
}

/// The content of a record that stands for a backlog, from its first bytes.
fn backlog(bytes: &[u8]) -> Option<BacklogRecord> {
    let words: &[u8; BACKLOG_HEADER] = bytes.first_chunk()?;
    let word = |i: usize| u64::from_ne_bytes(core::array::from_fn(|byte| words[RECORD_HEADER + 8 * i + byte]));
    (words[0] == BACKLOG && word(1) == MARK).then(|| BacklogRecord { number: word(0), first: number(words) as u32 })
}

/// What is at the front of the stream, without consuming it.
pub(super) fn front(fd: BorrowedFd<'_>) -> io::Result<Front> {
    let mut bytes = [0; BACKLOG_HEADER];
    match socket::peek(fd, &mut bytes) {
        Ok(0) => Ok(Front::Nothing),
        Ok(got) => Ok(backlog(&bytes[..got]).map_or(Front::Other, Front::Backlog)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Front::Nothing),
        // Reported once if the other end was closed with messages unread; what it sent is still there.
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted) => front(fd),
        Err(e) => Err(e),
    }
}

/// Drops the record that stands for a backlog from the front of the stream.
pub(super) fn drop_backlog(fd: BorrowedFd<'_>) {
    let _ = receive(fd, &mut Vec::new(), SLOT);
}

/// Drops a rest that is in place of a record. Returns whether there was one.
pub(super) fn drop_lost_rest(fd: BorrowedFd<'_>) -> bool {
    let mut first = [0; 1];
    if !matches!(socket::peek(fd, &mut first), Ok(1)) || first[0] != REST {
        return false;
    }
    let mut buffer = Vec::new();
    let _ = receive(fd, &mut buffer, SLOT);
    if let Some(more) = of_lost_rest(&buffer).filter(|&more| more != 0) {
        let _ = receive(fd, &mut Vec::new(), more);
    }
    true
}

/// If the buffer holds a rest without its slot: the number of bytes still to be received.
pub(super) fn of_lost_rest(buffer: &[u8]) -> Option<usize> {
    let len = number(buffer.get(..RECORD_HEADER)?);
    (buffer.len() == SLOT && buffer[0] == REST && len <= IN_RECORD).then(|| block_of(len) - SLOT)
}
