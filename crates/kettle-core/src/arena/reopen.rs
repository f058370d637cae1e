//! Another descriptor of the session's file, after the program closed the first one.
//!
//! A process needs none for itself ([`super::segment`]), but must pass one to each process that it starts by `exec`.
//! Root may open what is mapped; the other processes of the session have descriptors of their own; and a process that
//! is alone can move the session to a new file ([`super::relocate`]).

use core::ptr::NonNull;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use crate::sys::descriptor::{DescriptorLost, KnownFd};
use crate::sys::{memory, reopen};

use crate::arena::layout::header::Header;
use crate::arena::local_lock::LocalLock;
use crate::arena::participants;
use crate::arena::segment;

/// A process that is ending, such as the parent of a daemon, lives for a moment after its descriptors were closed.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Held by the thread that searches for another descriptor.
static REOPENING: LocalLock<()> = LocalLock::new(());

/// As [`segment::file`], with another descriptor if the program closed the last one.
///
/// # Errors
/// If no other descriptor can be opened.
pub(in crate::arena) fn file(header: &'static Header) -> Result<BorrowedFd<'static>, DescriptorLost> {
    segment::file().or_else(|_| find_another(header, |_| false))
}

/// As [`file()`], for a caller that holds no lock of the arena. `or_else` is the last resort: it moves the session to a
/// new file, and returns whether it did.
///
/// # Errors
/// If this is not possible either.
pub(in crate::arena) fn file_or_else(
    header: &'static Header,
    or_else: fn(&'static Header) -> bool,
) -> Result<BorrowedFd<'static>, DescriptorLost> {
    segment::file().or_else(|_| find_another(header, or_else))
}

#[cold]
fn find_another(
    header: &'static Header,
    or_else: fn(&'static Header) -> bool,
) -> Result<BorrowedFd<'static>, DescriptorLost> {
    let _reopening = REOPENING.lock();
    let known = segment::known_file();
    if let Ok(file) = known.get() {
        return Ok(file);
    }
    for _ in 0..ATTEMPTS {
        let found = reopen::by_mapping(known, NonNull::from(header).cast());
        match found.or_else(|| of_another_process(header, known)) {
            Some(fd) => segment::replace_file(memory::move_high(fd)),
            None if or_else(header) => {}
            // Waiting would change nothing.
            None if participants::others(header).next().is_none() => break,
            None => {
                thread::sleep(PAUSE);
                continue;
            }
        }
        return segment::file();
    }
    Err(known.lost())
}

fn of_another_process(header: &'static Header, known: &KnownFd) -> Option<OwnedFd> {
    let name = segment::NAME.to_str().ok()?;
    participants::others(header).find_map(|pid| reopen::of_process(known, pid, name))
}
