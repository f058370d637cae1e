//! Memory shared by descriptor, grown and released.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use super::descriptor::stat;

/// From the kernel's uapi (6.3); older kernels answer EINVAL, some hardened ones require it.
const MFD_NOEXEC_SEAL: libc::c_uint = 8;
/// Programs that close or reuse low descriptors by number should not hit ours.
const FIRST_DESCRIPTOR: u64 = 100;

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

/// Creates an anonymous file in memory, close-on-exec, that cannot shrink.
///
/// # Errors
/// Those of `memfd_create`: no descriptors left, or the call is forbidden.
pub fn create(name: &CStr) -> io::Result<OwnedFd> {
    Ok(move_high(create_low(name)?))
}

/// The same, at the lowest free number.
pub(super) fn create_low(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let make = |flags| {
        // SAFETY: `name` is a NUL-terminated string; the kernel copies it.
        check(unsafe { libc::memfd_create(name.as_ptr(), flags) })
    };
    let fd = make(flags | MFD_NOEXEC_SEAL).or_else(|_| make(flags))?;
    // SAFETY: created above, and unknown to other code.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // If a file cannot shrink, its mappings cannot raise SIGBUS. Where sealing is unavailable (gVisor), no other code
    // has the descriptor, and this crate never shrinks the file.
    // SAFETY: fcntl on a live descriptor with an integer.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
    Ok(fd)
}

/// The same file at a high number, close-on-exec; unchanged if no higher number is available.
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
            // SAFETY: this duplicate was created above, and is unknown to other code.
            drop(unsafe { OwnedFd::from_raw_fd(moved) });
        }
        return fd;
    }
    // SAFETY: this duplicate was created above, and is unknown to other code.
    unsafe { OwnedFd::from_raw_fd(moved) }
}

/// The type in which C libraries name resources.
#[cfg(target_env = "gnu")]
pub(super) type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub(super) type Resource = libc::c_int;

/// The soft limit of a resource; `u64::MAX` if there is none.
pub(super) fn soft_limit(resource: Resource) -> u64 {
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
/// Those of `fstat`, if this is not a live descriptor.
pub fn length(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(stat(fd.as_raw_fd())?.st_size as u64)
}

/// The number of bytes of the file that are backed by memory.
///
/// # Errors
/// Those of `fstat`, if this is not a live descriptor.
pub fn resident(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(stat(fd.as_raw_fd())?.st_blocks as u64 * 512)
}

/// Extends the file. The new part costs nothing until it is touched.
///
/// # Errors
/// Those of `ftruncate`. The caller must check [`super::limits::file_size`] first: exceeding it raises a signal
/// (SIGXFSZ) instead of returning an error.
pub fn grow(fd: BorrowedFd<'_>, length: u64) -> io::Result<()> {
    // SAFETY: ftruncate takes two integers; the file only grows, so no mapping loses its backing.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), length as libc::off_t) }).map(drop)
}

/// Maps a range of the file, shared and excluded from core dumps.
///
/// # Errors
/// Those of `mmap`: most likely the address space is limited (`ulimit -v`).
pub fn map(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh mapping at an address chosen by the kernel affects nothing that exists.
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
    // SAFETY: this range has just been mapped. If the advice is refused, the only cost is a larger core dump.
    unsafe { libc::madvise(address, len, libc::MADV_DONTDUMP) };
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// As [`map`], for a part of the file that begins `skipped` bytes behind the page that is mapped at `at`, without a
/// descriptor.
///
/// # Errors
/// Those of `mremap`: most likely the address space is limited. For a moment it has to hold the skipped part, too.
///
/// # Safety
/// `at` must be the start of a page of a [`map`], and `skipped` a multiple of the page size.
pub unsafe fn map_again(at: NonNull<u8>, skipped: usize, len: usize) -> io::Result<NonNull<u8>> {
    let all = skipped.checked_add(len).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    // SAFETY: an old size of 0 leaves a shared mapping unchanged, and maps the same file once more at an address chosen
    // by the kernel.
    let address = unsafe { libc::mremap(at.as_ptr().cast(), 0, all, libc::MREMAP_MAYMOVE) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: unmaps the first part of the fresh mapping, which no other code has seen.
    unsafe {
        if skipped != 0 {
            libc::munmap(address, skipped);
        }
        mapped(address.byte_add(skipped), len)
    }
}

/// Maps a range of another file in place of a [`map`], at the same address.
///
/// # Errors
/// Those of `mmap`.
///
/// # Safety
/// `at` and `len` must be those of a [`map`], and the other file must have the same contents for all code that uses it.
pub unsafe fn map_over(fd: BorrowedFd<'_>, offset: u64, at: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: the range is exactly the mapping that the caller replaces.
    let address = unsafe {
        libc::mmap(
            at.as_ptr().cast(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_FIXED,
            fd.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    mapped(address, len).map(drop)
}

/// Whether the last page of this mapping is backed by the file. The mapping may be longer than the file, and touching
/// it would then be fatal. Kernels before 5.14 cannot tell; for them the answer is yes.
pub fn is_there(mapping: NonNull<u8>, len: usize) -> bool {
    let page = page_size();
    // SAFETY: the last page of a mapping; the call accesses it like a read, and fails where a read would be fatal.
    let looked =
        unsafe { libc::madvise(mapping.as_ptr().add(len.saturating_sub(page)).cast(), page, libc::MADV_POPULATE_READ) };
    looked == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Removes a mapping that is no longer in use.
///
/// # Safety
/// `address` and `len` must be those of a [`map`], and no reference into it may remain.
pub unsafe fn unmap(address: NonNull<u8>, len: usize) {
    // SAFETY: the caller promises that this range is a mapping of ours that is not in use.
    unsafe { libc::munmap(address.as_ptr().cast(), len) };
}

/// Returns the memory behind a range of the file to the system; the range then reads as zeros.
///
/// # Errors
/// Those of `fallocate`, where holes are not supported.
pub fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    loop {
        // SAFETY: fallocate takes integers only. Mappings of the range stay valid, and read as zeros.
        let r = unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset as libc::off_t, len as libc::off_t) };
        match check(r) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            r => return r.map(drop),
        }
    }
}

/// As [`punch`], through a mapping of the range, without a descriptor.
///
/// # Errors
/// Those of `madvise`: the program locks its memory (`mlockall`), or holes are not supported. Also if the range does
/// not consist of whole pages of the kernel.
///
/// # Safety
/// `at` must be inside a [`map`] with at least `len` bytes from there on, whose contents are no longer needed.
pub unsafe fn punch_mapped(at: NonNull<u8>, len: usize) -> io::Result<()> {
    // The kernel rounds the length up, which would clear memory behind the range.
    if (at.as_ptr() as usize | len) % page_size() != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        // SAFETY: the caller no longer needs the contents. The range stays mapped and reads as zeros.
        match check(unsafe { libc::madvise(at.as_ptr().cast(), len, libc::MADV_REMOVE) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            r => return r.map(drop),
        }
    }
}

/// As [`resident`], for the part of the file that is mapped at `at`. Pages in swap are not counted.
///
/// # Errors
/// Those of `mincore`.
///
/// # Safety
/// `at` must be a [`map`] of at least `len` bytes.
pub unsafe fn resident_in(at: NonNull<u8>, len: usize) -> io::Result<u64> {
    let page = page_size();
    let mut pages = vec![0_u8; len.div_ceil(page)];
    // SAFETY: the caller promises the mapping, and there is a byte for each of its pages.
    check(unsafe { libc::mincore(at.as_ptr().cast(), len, pages.as_mut_ptr()) })?;
    Ok(pages.iter().filter(|&&state| state & 1 != 0).count() as u64 * page as u64)
}

/// The size of the kernel's pages.
pub(super) fn page_size() -> usize {
    // SAFETY: takes an integer and only returns a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Writes through the descriptor. For pages that were never touched this is three times as fast as a mapping: the
/// kernel neither takes a page fault per page nor clears what it is about to fill.
///
/// # Errors
/// Those of `pwrite`; a part may have been written.
///
/// # Safety
/// This range of the file must not be accessed through a mapping meanwhile.
pub unsafe fn write_at(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads `bytes.len()` bytes from a live slice; the caller has exclusive access to the range.
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

/// A page of private memory that reads as zeros in a forked child.
///
/// Some sandboxes (older gVisor) ignore that, so the caller also wipes it in its fork handlers.
///
/// # Errors
/// Those of `mmap`.
pub fn wiped_on_fork() -> io::Result<NonNull<u8>> {
    const LEN: usize = 1 << 16; // a whole page, whatever the kernel's page size
    // SAFETY: a fresh anonymous mapping at an address chosen by the kernel affects nothing that exists.
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
    // SAFETY: this range has just been mapped.
    unsafe { libc::madvise(page, LEN, libc::MADV_WIPEONFORK) };
    NonNull::new(page.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// An unpredictable number that differs with every call.
pub fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the kernel writes at most eight bytes to a buffer of eight.
    let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    let number = u64::from_ne_bytes(bytes);
    if n == 8 && number != 0 {
        return number;
    }
    // If getrandom is forbidden, time and process at least make sessions differ.
    (super::clock::now() ^ u64::from(std::process::id()) << 40) | 1
}
