//! One file per session, and the ranges of it that this process has mapped.
//!
//! *Why one file rather than one per segment:* a process inherits a single descriptor, by which it can map every
//! segment that the session will ever have, including those created after it was started. No descriptors need to be
//! sent when the arena grows. The file only grows, and no segment is ever unmapped, so an address stays valid for the
//! life of the process, whatever views still refer to it.
//!
//! *Without the descriptor:* a program may close it, as daemons close everything. The file is therefore created as long
//! as it can ever need to be; parts that were never touched use no memory. Any part can then be mapped through another
//! part that is mapped, and released through its own mapping. Only a process that is started by `exec` needs a
//! descriptor ([`super::reopen`]).

use core::ffi::CStr;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::damage::{self, What};
use crate::sys::descriptor::{DescriptorLost, KnownFd};
use crate::sys::{limits, memory, process};

use crate::arena::error::{ArenaError, InQueues, Shortage};
use crate::arena::layout::header::{HEADER_LEN, Header, LAYOUT, MAGIC, SEGMENTS};
use crate::arena::layout::offset::Off;
use crate::arena::layout::page_map::PAGE;
use crate::arena::limit;
use crate::arena::local_lock::LocalLock;
use crate::sys::futex::Scope;

/// Segments are multiples of every page size of the kernel.
pub(in crate::arena) const GRAIN: u64 = 1 << 16;
pub(in crate::arena) const NAME: &CStr = c"kettle-arena";
/// The default for the free memory that is kept warm.
const WARM_LIMIT: u64 = 64 << 20;
/// The length with which the file is created: more than any machine has memory.
const LONGEST: u64 = 1 << 46;

/// Where a segment is mapped here, with its extent at the time of mapping: later changes to the header have no effect
/// on it.
struct Mapping {
    /// Null if it is not mapped yet. Stored last.
    base: AtomicPtr<u8>,
    len: AtomicU64,
    /// Its position in the file.
    offset: AtomicU64,
}

/// All segments. Forked children inherit both the mappings and this table. The header has length 0 here, so that no
/// offset ever resolves into it.
static MAPPED: [Mapping; SEGMENTS] =
    [const { Mapping { base: AtomicPtr::new(ptr::null_mut()), len: AtomicU64::new(0), offset: AtomicU64::new(0) } };
        SEGMENTS];
/// Held by the thread that maps a segment.
static MAPPING: LocalLock<()> = LocalLock::new(());
/// The session's file. Stored before the header's base, never closed and never freed.
static FILE: AtomicPtr<KnownFd> = AtomicPtr::new(ptr::null_mut());
/// The least length of the file that this process knows of. It is not stored in the arena, whose words are not trusted:
/// touching a page behind the end of the file would be fatal.
static LENGTH: AtomicU64 = AtomicU64::new(0);
/// Held by the thread that begins or joins a session.
pub(in crate::arena) static JOINING: LocalLock<()> = LocalLock::new(());

/// The header, if this process belongs to a session.
#[inline]
pub(in crate::arena) fn header_if_any() -> Option<&'static Header> {
    // Acquire pairs with the release in `install_header`: a thread that sees the base sees FILE and a complete header.
    let base = NonNull::new(MAPPED[0].base.load(Ordering::Acquire))?;
    // SAFETY: it is a mapping of at least HEADER_LEN bytes, page-aligned and never unmapped; every field of a Header is
    // an atomic, for which any bytes are valid.
    Some(unsafe { base.cast::<Header>().as_ref() })
}

/// The session's file. Must only be called after a header was seen.
///
/// # Errors
/// If the program closed the descriptor. Its number may belong to another file by now, so this is checked before each
/// use.
pub(in crate::arena) fn file() -> Result<BorrowedFd<'static>, DescriptorLost> {
    known_file().get()
}

/// The descriptor of the session's file, which may be lost. Must only be called after a header was seen.
pub(in crate::arena) fn known_file() -> &'static KnownFd {
    let file = NonNull::new(FILE.load(Ordering::Acquire));
    let file = file.expect("the arena's file is used only by members of a session");
    // SAFETY: a pointer in FILE came from a box, which is never freed or changed.
    unsafe { file.as_ref() }
}

/// Replaces the lost descriptor of the session's file by another one.
pub(in crate::arena) fn replace_file(fd: OwnedFd) {
    // The previous one may be in use, and is never freed.
    FILE.store(Box::into_raw(Box::new(KnownFd::new(fd, PURPOSE))), Ordering::Release);
}

/// Makes another file the session's. It has this length and is mapped in place of the first.
pub(in crate::arena) fn set_file(fd: OwnedFd, length: u64) {
    LENGTH.store(length, Ordering::Relaxed);
    replace_file(fd);
}

/// Begins a session, unless this process belongs to one. `prepare` runs before, in the thread that holds [`JOINING`].
#[cold]
pub(in crate::arena) fn begin(prepare: fn()) -> Result<&'static Header, ArenaError> {
    let _joining = JOINING.lock();
    if let Some(header) = header_if_any() {
        return Ok(header);
    }
    prepare();
    let limit = limit::from_environment()?;
    if limits::file_size() < HEADER_LEN as u64 {
        let why = Shortage::FileSize(limits::file_size());
        return Err(ArenaError::OutOfMemory { needed: HEADER_LEN as u64, why, in_queues: InQueues::default() });
    }
    let (fd, length) = create()?;
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
    install_header(fd, length, header);
    Ok(header)
}

/// A new empty file, and its length.
pub(in crate::arena) fn create() -> Result<(OwnedFd, u64), ArenaError> {
    let fd = memory::create(NAME).map_err(ArenaError::Create)?;
    let mut length = LONGEST.min(limits::file_size() / GRAIN * GRAIN);
    // If the system refuses such a length, the file grows when more is needed.
    if memory::grow(fd.as_fd(), length).is_err() {
        length = HEADER_LEN as u64;
        memory::grow(fd.as_fd(), length).map_err(ArenaError::Create)?;
    }
    Ok((fd, length))
}

/// Joins the session that the file belongs to. `prepare` runs before, in the thread that holds [`JOINING`].
pub(in crate::arena) fn attach(fd: OwnedFd, prepare: fn()) -> Result<&'static Header, ArenaError> {
    let _joining = JOINING.lock();
    let length = memory::length(fd.as_fd()).map_err(ArenaError::Create)?;
    if length < HEADER_LEN as u64 {
        return Err(ArenaError::NotAnArena);
    }
    let base = memory::map(fd.as_fd(), 0, HEADER_LEN).map_err(ArenaError::Map)?;
    // SAFETY: a mapping of HEADER_LEN bytes of a file at least that long; any bytes are a valid Header. Where the
    // mapping is removed below, the reference is no longer used.
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
            prepare();
            install_header(memory::move_high(fd), length, header);
            return Ok(header);
        }
        Ok(Some(known)) => Ok(known),
        Err(e) => Err(e),
    };
    // SAFETY: the mapping was created above, and `header` is not used from here on.
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

/// Liveness is checked by process ID, so the IDs must mean the same in all processes.
pub(in crate::arena) fn check_namespace(header: &Header) -> Result<(), ArenaError> {
    let theirs = header.namespace.load(Ordering::Relaxed);
    match process::namespace() {
        Some(mine) if theirs != 0 && mine != theirs => Err(ArenaError::OtherPidNamespace),
        _ => Ok(()),
    }
}

const PURPOSE: &str = "Kettle's shared memory";

fn install_header(fd: OwnedFd, length: u64, header: &'static Header) {
    let file = Box::new(KnownFd::new(fd, PURPOSE));
    header.doorbells.join();
    damage::watch(&header.damage);
    FILE.store(Box::into_raw(file), Ordering::Release);
    LENGTH.store(length, Ordering::Relaxed);
    // Release: a thread that sees the base sees the file and the header's beginning.
    MAPPED[0].base.store(ptr::from_ref(header).cast_mut().cast(), Ordering::Release);
}

/// A segment as mapped here.
#[derive(Clone, Copy)]
pub(in crate::arena) struct Extent {
    pub base: NonNull<u8>,
    pub len: u64,
    /// Its position in the file.
    pub offset: u64,
}

impl Mapping {
    #[inline(always)]
    fn extent(&self) -> Option<Extent> {
        // Acquire pairs with the release in `install`: a thread that sees the base sees the rest.
        let base = NonNull::new(self.base.load(Ordering::Acquire))?;
        Some(Extent { base, len: self.len.load(Ordering::Relaxed), offset: self.offset.load(Ordering::Relaxed) })
    }
}

/// The segment that contains `off`, mapped at first access. The header's has length 0.
///
/// # Errors
/// If it cannot be mapped, or there is no such segment.
#[inline]
pub(in crate::arena) fn extent_of(off: Off) -> Result<Extent, ArenaError> {
    match MAPPED.get(off.segment()).and_then(Mapping::extent) {
        Some(extent) => Ok(extent),
        None => map_segment(off.segment()),
    }
}

/// As [`extent_of`], but only if the segment is mapped already.
#[inline(always)]
pub(in crate::arena) fn extent_now(off: Off) -> Option<Extent> {
    MAPPED.get(off.segment()).and_then(Mapping::extent)
}

/// As [`extent_of`], by the segment's number.
pub(in crate::arena) fn extent(segment: usize) -> Result<Extent, ArenaError> {
    match MAPPED.get(segment).and_then(Mapping::extent) {
        Some(extent) => Ok(extent),
        None => map_segment(segment),
    }
}

/// Whether this process has mapped a segment with this number.
pub(in crate::arena) fn is_mapped(segment: usize) -> bool {
    MAPPED.get(segment).is_some_and(|mapping| mapping.extent().is_some())
}

/// The address here of `len` bytes in the arena, all of them inside their segment, which stays mapped.
///
/// # Errors
/// If the segment cannot be mapped here, or the bytes are not all inside it.
#[inline]
pub(in crate::arena) fn resolve(off: Off, len: u64) -> Result<NonNull<u8>, ArenaError> {
    resolve_at_least(off, len).map(|(at, _)| at)
}

/// As [`resolve`], with the number of bytes from there to the segment's end.
#[inline]
pub(in crate::arena) fn resolve_at_least(off: Off, len: u64) -> Result<(NonNull<u8>, u64), ArenaError> {
    let extent = extent_of(off)?;
    let room = extent.len.saturating_sub(off.byte());
    if room < len {
        return Err(damage::mark(Scope::Shared, What::Place, off.to_bits(), extent.len).into());
    }
    // SAFETY: the byte is inside the segment, and the whole segment is mapped at its base.
    Ok((unsafe { extent.base.add(off.byte() as usize) }, room))
}

/// As [`resolve_at_least`], for a caller that calls that if this finds nothing, because the segment is not mapped yet
/// or because of damage.
#[inline(always)]
pub(in crate::arena) fn resolve_now(off: Off, len: u64) -> Option<(NonNull<u8>, u64)> {
    let extent = extent_now(off)?;
    let room = extent.len.checked_sub(off.byte()).filter(|&room| room >= len)?;
    // SAFETY: the byte is inside the segment, and the whole segment is mapped at its base.
    Some((unsafe { extent.base.add(off.byte() as usize) }, room))
}

/// The number of segments listed, including the header.
pub(in crate::arena) fn count(header: &Header) -> Result<usize, ArenaError> {
    let count = header.segment_count.load(Ordering::Acquire) as usize;
    if !(1..=SEGMENTS).contains(&count) {
        return Err(damage::mark(Scope::Shared, What::Segments, 0, count as u64).into());
    }
    Ok(count)
}

#[cold]
fn map_segment(segment: usize) -> Result<Extent, ArenaError> {
    let _mapping = MAPPING.lock();
    if let Some(extent) = MAPPED.get(segment).and_then(Mapping::extent) {
        return Ok(extent);
    }
    let damaged = |value| ArenaError::from(damage::mark(Scope::Shared, What::Segments, (segment as u64) << 48, value));
    // Without a session there are no segments.
    let Some(header) = header_if_any() else { return Err(damaged(segment as u64)) };
    if !(1..count(header)?).contains(&segment) {
        return Err(damaged(segment as u64));
    }
    // Read once and validated: a segment follows the previous one, and the file is never shorter than its segments.
    let listed = |segment: usize| {
        let entry = &header.segments[segment];
        (entry.offset.load(Ordering::Acquire), entry.len.load(Ordering::Acquire))
    };
    let ((before, before_len), (offset, len)) = (listed(segment - 1), listed(segment));
    let end = offset.checked_add(len);
    let is_whole = offset % GRAIN == 0 && len % GRAIN == 0 && len != 0 && offset >= HEADER_LEN as u64;
    if !is_whole || before.checked_add(before_len) != Some(offset) {
        return Err(damaged(offset));
    }
    let Some(end) = end.filter(|end| *end < 1 << 48) else { return Err(damaged(len)) };
    if end > LENGTH.load(Ordering::Relaxed) {
        if let Ok(file) = file() {
            let length = memory::length(file).map_err(ArenaError::Map)?;
            LENGTH.fetch_max(length, Ordering::Relaxed);
            if end > length {
                return Err(damaged(len));
            }
        }
    }
    let base = map_range(offset, len)?;
    // Without a descriptor, only the mapping can tell whether another process made the file so long.
    if end > LENGTH.load(Ordering::Relaxed) && !memory::is_there(base, len as usize) {
        // SAFETY: the range was just mapped, and its address has not been passed on.
        unsafe { memory::unmap(base, len as usize) };
        return Err(damaged(len));
    }
    Ok(install_locked(segment, Extent { base, len, offset }))
}

/// Maps a part of the file behind the header.
///
/// # Errors
/// If it cannot be mapped.
pub(in crate::arena) fn map_range(offset: u64, len: u64) -> Result<NonNull<u8>, ArenaError> {
    let lost = match file() {
        Ok(file) => return memory::map(file, offset, len as usize).map_err(ArenaError::Map),
        Err(lost) => lost,
    };
    let (at, skipped) = mapped_before(offset).ok_or(lost)?;
    // SAFETY: the address is inside a mapped segment; it and the skipped length are multiples of every page size.
    unsafe { memory::map_again(at, skipped as usize, len as usize) }.map_err(ArenaError::Map)
}

/// The address of the last part of the file before `offset` that is mapped here, and its distance to `offset`.
fn mapped_before(offset: u64) -> Option<(NonNull<u8>, u64)> {
    let before = mapped().filter(|&(_, begin, _)| begin < offset);
    let (base, begin, len) = before.max_by_key(|&(_, begin, _)| begin)?;
    let last = len.checked_sub(GRAIN)?;
    // SAFETY: inside the segment, which is mapped at its base as a whole.
    Some((unsafe { base.add(last as usize) }, offset.checked_sub(begin + last)?))
}

/// Ensures that the file is at least this long. `file` finds a descriptor of it.
///
/// # Errors
/// If it must grow and cannot, or there is no descriptor.
pub(in crate::arena) fn lengthen(
    end: u64,
    file: impl FnOnce() -> Result<BorrowedFd<'static>, DescriptorLost>,
) -> Result<(), ArenaError> {
    if end <= LENGTH.load(Ordering::Relaxed) {
        return Ok(());
    }
    let file = file()?;
    if memory::length(file).map_err(ArenaError::Map)? < end {
        memory::grow(file, end).map_err(ArenaError::Map)?;
    }
    LENGTH.fetch_max(end, Ordering::Relaxed);
    Ok(())
}

/// Returns the memory of a part of a segment to the system; the part then reads as zeros.
///
/// # Errors
/// If the system refuses.
///
/// # Safety
/// The part must be inside the segment, and its contents no longer needed.
pub(in crate::arena) unsafe fn give_back(segment: Extent, from: u64, len: u64) -> io::Result<()> {
    if let Ok(file) = file() {
        return memory::punch(file, segment.offset + from, len);
    }
    // SAFETY: the part is inside the segment, which is mapped at its base; the caller no longer needs the contents.
    unsafe { memory::punch_mapped(segment.base.add(from as usize), len as usize) }
}

/// The offset in the file at which the last segment ends.
pub(in crate::arena) fn end(header: &Header) -> Result<u64, ArenaError> {
    match count(header)? {
        1 => Ok(HEADER_LEN as u64),
        count => extent(count - 1).map(|last| last.offset + last.len),
    }
}

/// All mappings of this process, including the header: address, offset in the file, and length.
pub(in crate::arena) fn mapped() -> impl Iterator<Item = (NonNull<u8>, u64, u64)> {
    MAPPED.iter().filter_map(Mapping::extent).map(|Extent { base, len, offset }| {
        // The table has no length for the header, so that no offset resolves to it.
        (base, offset, if offset == 0 { HEADER_LEN as u64 } else { len })
    })
}

/// How many bytes of the arena are backed by memory, if that can be found out.
pub(in crate::arena) fn resident() -> Option<u64> {
    if let Ok(file) = file() {
        return memory::resident(file).ok();
    }
    // SAFETY: these are mappings of this process.
    mapped().try_fold(0, |sum, (base, _, len)| Some(sum + unsafe { memory::resident_in(base, len as usize) }.ok()?))
}

/// Makes a mapping the one that this process uses for a segment. If another thread was first, its mapping stays and
/// this one is removed.
pub(in crate::arena) fn install(segment: usize, extent: Extent) {
    let _mapping = MAPPING.lock();
    if MAPPED[segment].extent().is_some() {
        // SAFETY: no other code has seen its address.
        unsafe { memory::unmap(extent.base, extent.len as usize) };
        return;
    }
    install_locked(segment, extent);
}

fn install_locked(segment: usize, extent: Extent) -> Extent {
    let mapping = &MAPPED[segment];
    mapping.len.store(extent.len, Ordering::Relaxed);
    mapping.offset.store(extent.offset, Ordering::Relaxed);
    // Release: a thread that sees the base sees the rest.
    mapping.base.store(extent.base.as_ptr(), Ordering::Release);
    extent
}

/// Returns the memory of a run to the system, except for its first `keep` pages; returns whether that worked.
pub(in crate::arena) fn cool(at: Off, keep: u64, pages: u32) -> bool {
    let Ok(extent) = extent_of(at) else { return false };
    let from = at.byte() + keep * PAGE;
    let len = (u64::from(pages) - keep) * PAGE;
    // SAFETY: the run is inside the segment, free or about to be, and in our hands.
    len == 0 || unsafe { give_back(extent, from, len) }.is_ok()
}

/// Copies `bytes` to `off`, which is at `to` in this process: through the descriptor if the pages are cold and the
/// descriptor is still ours.
///
/// # Safety
/// There are `bytes.len()` bytes of room at `off` and `to`, which no other code uses and which do not overlap `bytes`.
pub(in crate::arena) unsafe fn copy_in(off: Off, to: NonNull<u8>, cold: bool, bytes: &[u8]) {
    if cold && bytes.len() as u64 >= PAGE {
        if let Ok(extent) = extent_of(off) {
            let offset = extent.offset + off.byte();
            // The limit on file sizes may be lower here than where the segment was created.
            let fits = offset + bytes.len() as u64 <= limits::file_size();
            if let (true, Ok(file)) = (fits, file()) {
                // SAFETY: the caller has exclusive access to this range.
                if unsafe { memory::write_at(file, offset, bytes) }.is_ok() {
                    return;
                }
            }
        }
    }
    // SAFETY: the caller guarantees the room and that it does not overlap.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
}
