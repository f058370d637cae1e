//! One file per session, and the ranges of it that this process has mapped.
//!
//! *Why one file and not one per segment:* a process inherits exactly one descriptor, and with it can map every
//! segment that the session will ever have, also those made after it was started. Nothing needs to be passed round
//! when the arena grows. The file only ever becomes longer, and no segment is ever unmapped, so an address once
//! given out stays good for the life of the process, whatever views still point there.

use core::ffi::CStr;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::descriptor::{DescriptorLost, KnownFd};
use crate::sys::{limits, memory, process};

use super::error::{ArenaError, Shortage};
use super::fork;
use super::header::{HEADER_LEN, Header, LAYOUT, MAGIC, SEGMENTS};
use super::limit;
use super::local::LocalLock;
use super::offset::Off;
use super::waiting::InQueues;

const NAME: &CStr = c"kettle-arena";
/// Free runs kept warm unless the session says otherwise.
const WARM_LIMIT: u64 = 64 << 20;

/// Where each segment is mapped here; null: not yet. Forked children inherit mappings and table alike.
static BASES: [AtomicPtr<u8>; SEGMENTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENTS];
/// The session's file. Stored before `BASES[0]`, never closed and never freed.
static FILE: AtomicPtr<KnownFd> = AtomicPtr::new(ptr::null_mut());
/// Held by the thread that begins or joins a session.
pub(super) static JOINING: LocalLock<()> = LocalLock::new(());

/// The header, if this process belongs to a session.
#[inline]
pub(super) fn header_if_any() -> Option<&'static Header> {
    // Acquire pairs with the release in `install_header`: whoever sees the base sees FILE and a complete header.
    let base = NonNull::new(BASES[0].load(Ordering::Acquire))?;
    // SAFETY: BASES[0] is a mapping of at least HEADER_LEN bytes, page-aligned and never unmapped; every field of a
    // Header is an atomic, for which any bytes are valid.
    Some(unsafe { base.cast::<Header>().as_ref() })
}

/// The header; begins a session if there is none yet.
#[inline]
pub(super) fn header() -> Result<&'static Header, ArenaError> {
    match header_if_any() {
        Some(header) => Ok(header),
        None => begin(),
    }
}

/// The session's file. Only to be called where a header was seen.
///
/// # Errors
/// When the program closed the descriptor. Its number may be that of a file of the program's by now, so this is asked
/// before each use.
pub(super) fn file() -> Result<BorrowedFd<'static>, DescriptorLost> {
    let file = NonNull::new(FILE.load(Ordering::Acquire));
    let file = file.expect("the arena's file is used only by members of a session");
    // SAFETY: what is in FILE came out of a box, and is never freed or changed.
    unsafe { file.as_ref() }.get()
}

#[cold]
fn begin() -> Result<&'static Header, ArenaError> {
    let _joining = JOINING.lock();
    if let Some(header) = header_if_any() {
        return Ok(header);
    }
    fork::install_handlers();
    let limit = limit::from_environment()?;
    if limits::file_size() < HEADER_LEN as u64 {
        let why = Shortage::FileSize(limits::file_size());
        return Err(ArenaError::OutOfMemory { needed: HEADER_LEN as u64, why, in_queues: InQueues::default() });
    }
    let fd = memory::create(NAME).map_err(ArenaError::Create)?;
    memory::grow(fd.as_fd(), HEADER_LEN as u64).map_err(ArenaError::Create)?;
    let base = memory::map(fd.as_fd(), 0, HEADER_LEN).map_err(ArenaError::Map)?;
    // SAFETY: a fresh mapping of HEADER_LEN zero bytes, which is a valid Header, and never unmapped from here on.
    let header = unsafe { base.cast::<Header>().as_ref() };
    header.layout.store(LAYOUT, Ordering::Relaxed);
    header.session.store(memory::random(), Ordering::Relaxed);
    header.doorbells.begin();
    header.namespace.store(process::namespace().unwrap_or(0), Ordering::Relaxed);
    header.limit.store(limit.unwrap_or(0), Ordering::Relaxed);
    header.warm_limit.store(WARM_LIMIT, Ordering::Relaxed);
    header.segments[0].len.store(HEADER_LEN as u64, Ordering::Relaxed);
    header.segment_count.store(1, Ordering::Relaxed);
    header.magic.store(MAGIC, Ordering::Release);
    install_header(fd, header);
    Ok(header)
}

/// Joins the session whose file this is.
pub(super) fn attach(fd: OwnedFd) -> Result<&'static Header, ArenaError> {
    let _joining = JOINING.lock();
    if memory::length(fd.as_fd()).map_err(ArenaError::Create)? < HEADER_LEN as u64 {
        return Err(ArenaError::NotAnArena);
    }
    let base = memory::map(fd.as_fd(), 0, HEADER_LEN).map_err(ArenaError::Map)?;
    // SAFETY: a mapping of HEADER_LEN bytes of a file at least that long; any bytes are a valid Header. Where the
    // mapping is taken back below, the reference is not used any more.
    let header: &'static Header = unsafe { base.cast::<Header>().as_ref() };
    let joined = check(header).and_then(|()| match header_if_any() {
        None => Ok(None),
        Some(known) if known.session.load(Ordering::Relaxed) == header.session.load(Ordering::Relaxed) => {
            Ok(Some(known))
        }
        Some(_) => Err(ArenaError::OtherSession),
    });
    let known = match joined {
        Ok(None) => {
            fork::install_handlers();
            install_header(memory::move_high(fd), header);
            return Ok(header);
        }
        Ok(Some(known)) => Ok(known),
        Err(e) => Err(e),
    };
    // SAFETY: the mapping was made above, and `header` is not used from here on.
    unsafe { memory::unmap(base, HEADER_LEN) };
    known
}

fn check(header: &Header) -> Result<(), ArenaError> {
    if header.magic.load(Ordering::Acquire) != MAGIC {
        return Err(ArenaError::NotAnArena);
    }
    let found = header.layout.load(Ordering::Relaxed);
    if found != LAYOUT {
        return Err(ArenaError::OtherVersion { found, expected: LAYOUT });
    }
    check_namespace(header)
}

/// Liveness is asked by process number, so all must mean the same by one.
pub(super) fn check_namespace(header: &Header) -> Result<(), ArenaError> {
    let theirs = header.namespace.load(Ordering::Relaxed);
    match process::namespace() {
        Some(mine) if theirs != 0 && mine != theirs => Err(ArenaError::OtherPidNamespace),
        _ => Ok(()),
    }
}

fn install_header(fd: OwnedFd, header: &'static Header) {
    let file = Box::new(KnownFd::new(fd, "Kettle's shared memory"));
    header.doorbells.join();
    FILE.store(Box::into_raw(file), Ordering::Release);
    // Release: whoever sees the base sees the file and the header's beginning.
    BASES[0].store(ptr::from_ref(header).cast_mut().cast(), Ordering::Release);
}

/// The address here of a place in the arena, mapping its segment at the first touch.
///
/// # Safety
/// `off` lies inside a segment that the header lists.
#[inline]
pub(super) unsafe fn resolve(off: Off) -> Result<NonNull<u8>, ArenaError> {
    let base = BASES[off.segment()].load(Ordering::Acquire);
    let base = match NonNull::new(base) {
        Some(base) => base,
        None => map_segment(off.segment())?,
    };
    // SAFETY: the caller promises that the byte lies inside the segment, all of which is mapped at `base`.
    Ok(unsafe { base.add(off.byte() as usize) })
}

#[cold]
fn map_segment(segment: usize) -> Result<NonNull<u8>, ArenaError> {
    let header = header()?;
    let (offset, len) = extent(header, segment);
    let base = match file() {
        Ok(file) => memory::map(file, offset, len as usize).map_err(ArenaError::Map)?,
        // What others put there arrives all the same.
        Err(lost) => {
            // SAFETY: the header is mapped at the beginning of the file.
            let again = unsafe { memory::map_again(NonNull::from(header).cast(), offset, len as usize) };
            again.map_err(|_| lost)?
        }
    };
    Ok(install(segment, base, len))
}

/// Where in the file a listed segment lies, and how long it is.
pub(super) fn extent(header: &Header, segment: usize) -> (u64, u64) {
    let entry = &header.segments[segment];
    (entry.offset.load(Ordering::Acquire), entry.len.load(Ordering::Acquire))
}

/// Makes a mapping the one that this process uses for a segment. If another thread was first, its mapping stays and
/// this one goes.
pub(super) fn install(segment: usize, base: NonNull<u8>, len: u64) -> NonNull<u8> {
    match BASES[segment].compare_exchange(ptr::null_mut(), base.as_ptr(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => base,
        Err(first) => {
            // SAFETY: our mapping lost the race, so nobody has seen its address.
            unsafe { memory::unmap(base, len as usize) };
            NonNull::new(first).unwrap_or(base)
        }
    }
}
