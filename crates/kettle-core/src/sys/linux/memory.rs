//! Memory shared by descriptor, grown and given back.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use super::descriptor::stat;

/// From the kernel's uapi (6.3); older kernels answer EINVAL, some hardened ones insist on it.
const MFD_NOEXEC_SEAL: libc::c_uint = 8;
/// Programs that close or reuse low descriptors by number should not meet ours there.
const FIRST_DESCRIPTOR: u64 = 100;

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

/// An anonymous file in memory, closed on exec, that cannot be made shorter.
///
/// # Errors
/// What `memfd_create` says: no descriptors left, or the call is forbidden here.
pub fn create(name: &CStr) -> io::Result<OwnedFd> {
    Ok(move_high(create_low(name)?))
}

/// The same under the lowest number that is free.
pub(super) fn create_low(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let make = |flags| {
        // SAFETY: `name` is a terminated string; the kernel copies it.
        check(unsafe { libc::memfd_create(name.as_ptr(), flags) })
    };
    let fd = make(flags | MFD_NOEXEC_SEAL).or_else(|_| make(flags))?;
    // SAFETY: the descriptor was made just now and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // A file that cannot shrink is a file whose mappings cannot raise SIGBUS. Where sealing is not to be had
    // (gVisor), nobody but us has the descriptor, and we never shrink it.
    // SAFETY: fcntl on a live descriptor with an integer.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
    Ok(fd)
}

/// The same file under a high number, closed on exec; as it was if no higher number is to be had.
pub fn move_high(fd: OwnedFd) -> OwnedFd {
    let limit = soft_limit(libc::RLIMIT_NOFILE);
    let floor = FIRST_DESCRIPTOR.min(limit / 2) as libc::c_int;
    // SAFETY: fcntl on a live descriptor with integers; CLOEXEC is set first so that it holds if the move fails.
    let moved = unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
        libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, floor)
    };
    if moved < 0 || moved <= fd.as_raw_fd() {
        if moved >= 0 {
            // SAFETY: this duplicate was made just now and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(moved) });
        }
        return fd;
    }
    // SAFETY: this duplicate was made just now and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(moved) }
}

/// The soft limit of a resource, `u64::MAX` when there is none.
pub(super) fn soft_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit.
    if unsafe { libc::getrlimit(resource, &mut limit) } < 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return u64::MAX;
    }
    limit.rlim_cur
}

/// The length of the file.
///
/// # Errors
/// What `fstat` says when this is no live descriptor.
pub fn length(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(stat(fd.as_raw_fd())?.st_size as u64)
}

/// How many bytes of the file have memory behind them.
///
/// # Errors
/// What `fstat` says when this is no live descriptor.
pub fn resident(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(stat(fd.as_raw_fd())?.st_blocks as u64 * 512)
}

/// Makes the file longer. The new part costs nothing until it is touched.
///
/// # Errors
/// What `ftruncate` says. The caller has looked at [`super::limits::file_size`] first: going beyond it is a signal
/// (SIGXFSZ), not an error.
pub fn grow(fd: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    // SAFETY: ftruncate takes two integers; the file only grows, so no mapping loses its ground.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), length as libc::off_t) }).map(drop)
}

/// Maps a range of the file, shared and left out of core dumps.
///
/// # Errors
/// What `mmap` says: most likely that the address space is limited (`ulimit -v`).
pub fn map(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh mapping at a place of the kernel's choice disturbs nothing that exists.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    mapped(address, len)
}

fn mapped(address: *mut libc::c_void, len: usize) -> io::Result<NonNull<u8>> {
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this range was mapped just now. Advice may be refused, which costs only a larger core dump.
    unsafe { libc::madvise(address, len, libc::MADV_DONTDUMP) };
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// As [`map`], of the file whose beginning is mapped at `beginning`: for when there is no descriptor any more.
///
/// # Errors
/// What `mremap` says: most likely that the address space is limited, which for a moment has to hold the file up to the
/// end of the range.
///
/// # Safety
/// `beginning` is a [`map`] with offset 0.
pub unsafe fn map_again(beginning: NonNull<u8>, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
    let before = usize::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    let all = before.checked_add(len).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    // SAFETY: an old size of 0 leaves a shared mapping as it is, and maps the same file once more at a place of the
    // kernel's choice.
    let address = unsafe { libc::mremap(beginning.as_ptr().cast(), 0, all, libc::MREMAP_MAYMOVE) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the first part of what was mapped just now, which nobody has seen; `before` is a multiple of the page size,
    // as the offset of every segment is.
    unsafe {
        libc::munmap(address, before);
        mapped(address.byte_add(before), len)
    }
}

/// Whether there is a file behind the last page of this mapping, which may have been made longer than the file is: to
/// touch it would be fatal then. Older kernels (before 5.14) cannot tell, and say yes.
pub fn is_there(mapping: NonNull<u8>, len: usize) -> bool {
    const PAGE: usize = 4096;
    // SAFETY: the last page of a mapping; the call looks at it as a read would, and fails where that would be fatal.
    let looked =
        unsafe { libc::madvise(mapping.as_ptr().add(len.saturating_sub(PAGE)).cast(), PAGE, libc::MADV_POPULATE_READ) };
    looked == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Takes back a mapping that nobody uses.
///
/// # Safety
/// `address` and `len` are those of a [`map`], and no reference into it remains.
pub unsafe fn unmap(address: NonNull<u8>, len: usize) {
    // SAFETY: the caller promises that this range is a mapping of ours without users.
    unsafe { libc::munmap(address.as_ptr().cast(), len) };
}

/// Gives the memory behind a range of the file back to the system; the range then reads as zeros.
///
/// # Errors
/// What `fallocate` says where holes are not supported.
pub fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    loop {
        // SAFETY: fallocate takes integers only. Mappings of the range stay valid, and read zeros.
        let r = unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset as libc::off_t, len as libc::off_t) };
        match check(r) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            r => return r.map(drop),
        }
    }
}

/// Writes through the descriptor, which into pages that were never touched is three times as fast as through a
/// mapping: the kernel neither takes a fault per page nor clears what it is about to fill.
///
/// # Errors
/// What `pwrite` says; a part may have been written.
///
/// # Safety
/// Nobody reads or writes this range of the file meanwhile through a mapping.
pub unsafe fn write_at(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads `bytes.len()` bytes from a live slice; the caller has the range to itself.
        let n = unsafe { libc::pwrite(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), offset as libc::off_t) };
        match n {
            n if n > 0 => {
                bytes = &bytes[n as usize..];
                offset += n as u64;
            }
            0 => return Err(io::ErrorKind::WriteZero.into()),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

/// A page of this process's own memory that a forked child finds filled with zeros.
///
/// Some sandboxes (older gVisor) ignore that wish, so the caller wipes it in the fork handlers it has, too.
///
/// # Errors
/// What `mmap` says.
pub fn wiped_on_fork() -> io::Result<NonNull<u8>> {
    const LEN: usize = 1 << 16; // a whole page, whatever the kernel's page size
    // SAFETY: a fresh anonymous mapping at a place of the kernel's choice disturbs nothing that exists.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this range was mapped just now.
    unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) };
    NonNull::new(page.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// A number that nobody can guess, and that no two callers share.
pub fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the kernel writes at most eight bytes into a place of eight.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    let number = u64::from_ne_bytes(bytes);
    if n == 8 && number != 0 {
        return number;
    }
    // Where getrandom is forbidden, time and process still differ from one session to the next.
    (super::clock::now() ^ u64::from(super::process::id()) << 40) | 1
}
