//! Moves a session with a single process to another file, after the program closed the descriptor of the first one. A
//! daemon that forked, closed everything and outlived its parents is such a process, and a child that it starts by
//! `exec` needs a descriptor.
//!
//! All memory in use is copied, and then the new file is mapped in place of the first, at the same addresses. A write
//! between these two steps would be lost, so no other process of the session may live, nor another thread of this one.

use core::ptr::NonNull;
use core::slice;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::damage::What;
use crate::sys::{limits, memory, process};

use crate::arena::allocator::alloc::Allocator;
use crate::arena::allocator::rebuild::Merge;
use crate::arena::error::ArenaError;
use crate::arena::layout::header::{HEADER_LEN, Header};
use crate::arena::layout::page_map::PAGE;
use crate::arena::pages;
use crate::arena::participants;
use crate::arena::segment;

/// Moves the session to a new file, if this process is alone in it, and returns whether it did.
///
/// The caller must not hold a lock of the arena.
pub(in crate::arena) fn to_new_file(header: &'static Header) -> bool {
    if process::thread_count() != Some(1) || !participants::is_alone(header) {
        return false;
    }
    let Ok((file, length)) = copy(header) else { return false };
    // SAFETY: this is the only thread that uses the mappings, and `copy` has made the new file the same as the first.
    let is_switched = unsafe { switch(header, file.as_fd()) }.is_ok();
    if is_switched {
        segment::set_file(file, length);
    }
    is_switched
}

/// A new file with a copy of all memory in use, and its length.
fn copy(header: &'static Header) -> Result<(OwnedFd, u64), ArenaError> {
    // Completes what a dead process left half done, and maps every segment.
    Allocator::lock(header)?.rebuild(Merge::Alike)?;
    let (file, length) = segment::create()?;
    let end = segment::end(header)?;
    let in_use = segment::resident().unwrap_or(end);
    if end > length || end > limits::file_size() || limits::headroom().to_spare() < in_use {
        return Err(ArenaError::Create(io::ErrorKind::OutOfMemory.into()));
    }
    // SAFETY: the whole header is mapped, and no other thread or process uses it.
    unsafe { copy_part(file.as_fd(), 0, NonNull::from(header).cast(), HEADER_LEN) }?;
    pages::walk(header, |at, run| {
        // The contents of free runs do not matter, and a new file reads as zeros.
        if run.is_free() {
            return Ok(());
        }
        let len = u64::from(run.pages) * PAGE;
        let offset = segment::extent_of(at)?.offset + at.byte();
        // SAFETY: the run is inside its segment, which is mapped, and no other thread or process uses it.
        unsafe { copy_part(file.as_fd(), offset, segment::resolve(at, len)?, len as usize) }
    })?;
    Ok((file, length))
}

/// Copies what is mapped at `from`, except for pages of zeros, which a new file has already.
///
/// # Safety
/// All of it must be mapped, and must not be written to meanwhile.
unsafe fn copy_part(file: BorrowedFd<'_>, offset: u64, from: NonNull<u8>, len: usize) -> Result<(), ArenaError> {
    // SAFETY: the caller promises this.
    let bytes = unsafe { slice::from_raw_parts(from.as_ptr(), len) };
    for (at, part) in (offset..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize)) {
        if part.iter().any(|&byte| byte != 0) {
            // SAFETY: the file is new and mapped nowhere.
            unsafe { memory::write_at(file, at, part) }.map_err(ArenaError::Create)?;
        }
    }
    Ok(())
}

/// Maps `file` in place of the first one.
///
/// # Safety
/// No other thread may use the mappings, and `file` must have the same contents.
unsafe fn switch(header: &'static Header, file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the header is a mapping of the start of the file.
    let first = unsafe { memory::map_again(NonNull::from(header).cast(), 0, HEADER_LEN) }?;
    for (base, offset, len) in segment::mapped() {
        // SAFETY: the range is one of our mappings, and the file has the same contents there.
        unsafe { memory::map_over(file, offset, base, len as usize) }?;
    }
    // This process may have made a child that is not registered, by a system call behind the C library's back. For that
    // child the session ends here.
    // SAFETY: the whole header was just mapped; a Header consists of atomics, and is not used after it is unmapped.
    unsafe {
        first.cast::<Header>().as_ref().damage.set(What::Moved, 0, u64::from(process::id()));
        memory::unmap(first, HEADER_LEN);
    }
    Ok(())
}
